"""Reader of OpenSAL360's viewports, which people moved by mouse: VIDEO/USER.csv. Taken as head.

Columns timestamp (ns), frame (from 1), pitch, yaw, roll in degrees: longitude 270 - yaw, latitude -pitch, both wrapped,
as the project's own quaternions have it. Its maps are ready: see `ready_maps`.
"""

import numpy as np

from errors import InputError
from recordings.columns import first_lines, read_columns, split_header
from recordings.samples import make_recording, wrapped

NEEDED = ("frame", "pitch", "yaw")


def recognises(path, lines):
    return path.suffix.lower() == ".csv" and bool(lines) and set(NEEDED) <= set(split_header(lines[0]))


def read(path, options):
    """([recording], lines of rows skipped) of one file."""
    header = split_header(next(iter(first_lines(path)), ""))
    if not set(NEEDED) <= set(header):
        raise InputError(f"{path} lacks a column frame, pitch or yaw of OpenSAL360's views")
    found = read_columns(path, ",", len(header), [header.index(name) for name in NEEDED], header=True)
    frame, pitch, yaw = found.numbers.T
    with np.errstate(invalid="ignore"):
        columns = frame - 1, wrapped(270 - yaw), wrapped(-pitch), path.stem
    recording, chosen = make_recording(path.parent.name, "head", columns)
    return [recording], found.lines[~chosen]
