"""TODO"""

import csv
import io
from pathlib import Path

from errors import InputError
from files import write_text

COLUMNS = ("id", "video", "bytes", "fps", "width", "height", "frames", "step", "samples", "stereo_layout", "problem")


def read_catalogue(frames_dir):
    """The rows of frames_dir/videos.csv as dicts of strings by id; none where there is no such file."""
    path = Path(frames_dir) / "videos.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(row.keys() != set(COLUMNS) or None in row.values() for row in rows):
        raise InputError(f"{path} is not as frames_extraction writes it; delete it together with the frames")
    return {row["id"]: row for row in rows}


def write_catalogue(frames_dir, rows):
    """Writes frames_dir/videos.csv, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[identity] for identity in sorted(rows))
    write_text(Path(frames_dir) / "videos.csv", text.getvalue())


def assign_ids(videos, rows):
    """An id for each video: the one it has, or else the next free one, so that a new video renames no other."""
    known = {row["video"]: identity for identity, row in rows.items()}
    taken, ids = set(known.values()), {}
    numbers = (f"{number:03d}" for number in range(len(videos) + len(taken)))
    free = (identity for identity in numbers if identity not in taken)
    for video in videos:
        ids[video] = known.get(video.name) or next(free)
    return ids


def describe_video(video, identity, info, shape, count, samples, stereo_layout):
    """The row of the catalogue of a video, of whose frames `count` could be read and `samples` are sampled."""
    cut_short = count < 0.9 * info.frames
    problem = f"{video} was cut short: only {count} of its {info.frames} frames could be read" if cut_short else ""
    height, width = shape
    return dict(zip(COLUMNS, (identity, video.name, video.stat().st_size, f"{info.fps:.6g}", width, height, count,
                              info.step, samples, stereo_layout, problem)))
