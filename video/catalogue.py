"""frames/videos.csv, the catalogue of a folder of videos: which id is which file, and how its frames were sampled."""

import csv
import io
from pathlib import Path

from errors import InputError
from files import write_text

COLUMNS = ("id", "video", "bytes", "fps", "width", "height", "frames", "step", "samples", "stereo_layout", "problem")


def read_catalogue(frames_dir):
    """{id: row} of frames_dir/videos.csv, each row a dict of strings by `COLUMNS`; {} if there is no such file. Raises
    InputError if the file has other columns."""
    path = Path(frames_dir) / "videos.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(row.keys() != set(COLUMNS) or None in row.values() for row in rows):
        raise InputError(f"{path} is not as frames_extraction writes it; delete it together with the frames")
    return {row["id"]: row for row in rows}


def write_catalogue(frames_dir, rows):
    """Writes the rows, {id: row}, to frames_dir/videos.csv, atomically, sorted by id."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[identity] for identity in sorted(rows))
    write_text(Path(frames_dir) / "videos.csv", text.getvalue())


def assign_ids(videos, rows):
    """{path: id} of the videos: the id that a video has in the catalogue's `rows`, or else the next free one, so that a
    new video changes no other's id."""
    known = {row["video"]: identity for identity, row in rows.items()}
    numbers = (f"{number:03d}" for number in range(len(videos) + len(rows)))
    free = (identity for identity in numbers if identity not in rows)
    return {video: known.get(video.name) or next(free) for video in videos}


def describe_video(video, identity, info, shape, count, samples, stereo_layout):
    """The catalogue's row of a video file. info: its `VideoInfo`; shape: (height, width) of a sampled frame; count: how
    many frames could be read; samples: how many of those were sampled."""
    cut_short = count < 0.9 * info.frames
    problem = f"{video} was cut short: only {count} of its {info.frames} frames could be read" if cut_short else ""
    height, width = shape
    return dict(zip(COLUMNS, (identity, video.name, video.stat().st_size, f"{info.fps:.6g}", width, height, count,
                              info.step, samples, stereo_layout, problem)))
