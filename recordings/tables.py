"""This project's own format of gaze: a CSV table with the columns video, frame, longitude, latitude (degrees, east and
north positive) and, if known, user. Data sets of other formats can be brought into it; fixations are written in it."""

import csv
from pathlib import Path

import numpy as np

from errors import InputError
from files import replacing
from recordings.columns import number_column, read_text, text_column
from recordings.samples import Samples, valid

COLUMNS = ("video", "frame", "longitude", "latitude")


def read_table(path):
    """({video: samples}, number of lines skipped) of a table, its columns in any order. A line is skipped where a value
    is missing, not a number or out of range. Raises InputError naming the columns that the table lacks."""
    lines = [line for line in csv.reader(read_text(path).splitlines()) if any(map(str.strip, line))]
    header = [name.strip().lower() for name in lines[0]] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; its first line must name the columns "
                         f"{', '.join(COLUMNS)} and, where known, user")
    whole = [line for line in lines[1:] if len(line) == len(header)]
    video, frame, longitude, latitude = (header.index(name) for name in COLUMNS)
    names = text_column(whole, video)
    users = text_column(whole, header.index("user")) if "user" in header else np.full(len(whole), "", object)
    samples = Samples(*(number_column(whole, column) for column in (frame, longitude, latitude)), users)
    videos = {name: valid(samples.where(names == name)) for name in dict.fromkeys(names)}
    return videos, len(lines) - 1 - sum(len(part.frame) for part in videos.values())


def write_fixations(path, video, samples):
    """Writes the samples of a video as a table, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, "user"))
        writer.writerows((video, frame, f"{longitude:.4f}", f"{latitude:.4f}", user)
                         for frame, longitude, latitude, user in zip(*samples))


def fixations_file(fixations_dir, gt_dir, video):
    """The path of a video's table of fixations: in fixations_dir, or if that is "", in `fixations` beside gt_dir."""
    return Path(fixations_dir or Path(gt_dir).parent / "fixations", f"{video}.csv")
