"""TODO"""

import csv
from pathlib import Path

import numpy as np

from errors import InputError
from files import replacing
from recordings.samples import Samples, valid

COLUMNS = ("video", "frame", "longitude", "latitude")  # of a table; `user` may follow


def read_table(path):
    """({video: samples}, number skipped) of a CSV table, its columns in any order. Raises InputError naming columns
    that are missing."""
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


def read_text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8") from None


def text_column(lines, column):
    return np.array([line[column].strip() for line in lines], object)


def number_column(lines, column):
    """A column as floats, NaN for what is no number."""
    values = np.full(len(lines), np.nan)
    for position, line in enumerate(lines):
        try:
            values[position] = float(line[column])
        except ValueError:
            continue
    return values


def write_fixations(path, video, samples):
    """Writes samples as a table that `read_table` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, "user"))
        writer.writerows((video, frame, f"{longitude:.4f}", f"{latitude:.4f}", user)
                         for frame, longitude, latitude, user in zip(*samples))


def fixations_file(fixations_dir, gt_dir, video):
    """Where a video's fixations are: in fixations_dir, or where that is "", in `fixations` beside gt_dir."""
    return Path(fixations_dir or Path(gt_dir).parent / "fixations", f"{video}.csv")
