"""frames/videos.csv, the catalogue of a folder of videos: which id is which file, and how its frames were sampled."""

import csv
import io
import re
from itertools import count
from pathlib import Path

from checks import plain_name, printable, whole_number
from errors import InputError
from files import read_text, write_text

COLUMNS = ("id", "video", "bytes", "fps", "width", "height", "frames", "step", "samples", "stereo_layout", "projection",
           "problem")  # step 0: the frames at every eighth of a second


def read_catalogue(frames_dir):
    """{id: row} of frames_dir/videos.csv, each row a dict of strings by `COLUMNS`; {} if there is no such file. Raises
    InputError if the file has other columns, or something else in them than `write_catalogue` writes."""
    path = Path(frames_dir) / "videos.csv"
    if not path.exists():
        return {}
    foreign = f"{path} is not as frames_extraction writes it; delete it together with the frames"
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, "frames_extraction writes it"), newline="")))
    except csv.Error:
        raise InputError(foreign) from None
    for row in rows:
        row.setdefault("projection", "equirectangular")  # which earlier versions did not write
    if any(row.keys() != set(COLUMNS) or None in row.values() for row in rows):
        raise InputError(foreign)
    for row in rows:
        check_row(row, path)
    if len({row["id"] for row in rows}) < len(rows):
        raise InputError(foreign)
    return {row["id"]: row for row in rows}


def check_row(row, path):
    """Raises InputError if a row of the catalogue `path` is none that `write_catalogue` writes: ids and videos are
    plain names, and numbers are numbers."""
    plain_name(row["id"], path)
    plain_name(row["video"], path)
    for column in ("bytes", "width", "height", "frames", "step", "samples"):
        whole_number(row[column], f"{path}, {column} of {row['id']}")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,9})?(e[+-]?\d{1,2})?", row["fps"]) or not 0 < float(row["fps"]) <= 1000:
        raise InputError(f"{path}, fps of {row['id']}: {row['fps'][:40]!r} is not a rate in (0, 1000]")


def write_catalogue(frames_dir, rows):
    """Writes the rows, {id: row}, to frames_dir/videos.csv, atomically, sorted by id."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[identity] for identity in sorted(rows))
    write_text(Path(frames_dir) / "videos.csv", text.getvalue())


def title_of(path):
    """What a video file is called in the catalogue and on pages: a plain name, even if the file's own is none."""
    return printable(path.name).replace("\\", "%5C")


def assign_ids(videos, rows, taken=()):
    """{path: id} of the videos: the id that a video has in the catalogue's `rows`, or else the next free one, so that a
    new video changes no other's id. A video whose turn it would be at one of the ids in `taken`, which are not its own,
    gets one that nobody has."""
    known = {row["video"]: identity for identity, row in rows.items()}
    numbers = (f"{number:03d}" for number in range(len(videos) + len(rows)))
    free = (identity for identity in numbers if identity not in rows)
    ids = {video: known.get(title_of(video)) or next(free) for video in videos}
    unused = (f"{number:03d}" for number in count())
    unused = (identity for identity in unused if identity not in {*rows, *ids.values(), *taken})
    return {video: next(unused) if identity in taken else identity for video, identity in ids.items()}


def assign_names(videos, rows):
    """{path: id} of the videos: the id that a video has in the catalogue's `rows`, or else its file's name without the
    ending. Raises InputError naming two files of one name."""
    known = {row["video"]: identity for identity, row in rows.items()}
    ids = {}
    for video in videos:
        identity = known.get(title_of(video)) or title_of(video.with_suffix(""))
        if twin := next((path for path, other in ids.items() if other == identity), None):
            raise InputError(f"{twin} and {video} would both be called {identity}; rename one of them")
        ids[video] = identity
    return ids
