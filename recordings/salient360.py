"""Reader of the scanpaths of Salient360! and of its video data set (David et al., A Dataset of Head and Eye Movements
for 360° Videos, MMSys 2018): Videos/{H,HE}/Scanpaths/[L|R/]VIDEO_fixations.csv, Images/.../HEscanpath_1.txt.

Header "# Idx, longitude, latitude, start timestamp, duration, start frame, end frame"; images stop after the timestamp.
One file holds all observers one after the other: Idx begins again at 0. Longitude and latitude are fractions of the
panorama from its top-left corner (README of the salient360Toolbox); frames count from 1, the last one included.
H is head, HE is gaze. Whether the HE videos are mirrored is not known (ATSal mirrors them): see `mirror_gaze`.
"""

import re

import numpy as np

from errors import InputError
from recordings.columns import first_lines, read_columns, split_header
from recordings.samples import make_recording

LONGEST = 10_000    # frames in a row of a file; more is a fault


def recognises(path, lines):
    header = split_header(lines[0]) if lines else []
    return header[:3] == ["idx", "longitude", "latitude"] or (
        path.suffix.lower() == ".csv" and bool(re.search(r"_user_\d+$", path.stem)) and len(header) == 3)


def kind_of(path):
    """"gaze" of a file of eye movements, "head" of others."""
    in_eye_folder = any(part.upper() in ("HE", "L", "R") for part in path.parts[-4:-1])
    return "gaze" if path.name.upper().startswith("HE") or in_eye_folder else "head"


def read(path, options):
    """([recording], lines of rows skipped) of one file. The users are "0", "1", ... in the order of the file. A row
    becomes a sample in each of its frames, of an image in frame 0."""
    lines = first_lines(path)
    header = split_header(lines[0]) if lines else []
    if "idx" not in header:
        return read_sampled(path)
    is_video = len(header) >= 7
    columns = (0, 1, 2, 5, 6) if is_video else (0, 1, 2)
    found = read_columns(path, ",", len(columns) + 2 * is_video, columns, header=True)
    index, a, b, *frames = found.numbers.T
    begins, counted = np.zeros(len(index), bool), np.flatnonzero(np.isfinite(index))
    begins[counted[1:]] = np.diff(index[counted]) <= 0
    user = np.char.mod("%d", np.cumsum(begins)).astype(object)
    start, end = frames if is_video else np.ones((2, len(a)))
    with np.errstate(invalid="ignore"):  # comparisons with NaN are false
        right = np.isfinite(index) & (start >= 1) & (end >= start) & (end - start < LONGEST)
        right &= (abs(a - 0.5) <= 0.5) & (abs(b - 0.5) <= 0.5)
    start, end, a, b, user = (column[right] for column in (start, end, a, b, user))
    length = (end - start + 1).astype(int)
    rows = np.repeat(np.arange(len(a)), length)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(length) - length, length)
    stem = path.stem.removesuffix("_fixations") if is_video else re.sub(r"^H?E?scanpath_", "", path.stem)
    columns = start[rows] - 1 + within, 360 * a[rows] - 180, 90 - 180 * b[rows], user[rows]
    recording, _ = make_recording(stem, kind_of(path), columns)
    eye = path.parent.name.upper() if path.parent.name.upper() in ("L", "R") else ""
    return [recording._replace(eye=eye)], found.lines[~right]


def read_sampled(path):
    """What `read` returns for a file that Romero et al. (TRACK, TPAMI 2022) sampled from a scanpath: longitude,
    latitude, and the mean frame, which counts from 1, of one user; no header."""
    if "_user_" not in path.stem:
        raise InputError(f"{path} does not begin with the names of Salient360!'s columns, Idx, longitude, ...")
    found = read_columns(path, ",", 3, (0, 1, 2))
    a, b, frame = found.numbers.T
    video, _, user = path.stem.partition("_fixations_user_") if "_fixations_user_" in path.stem else (
        path.stem.rpartition("_user_")[0], "", path.stem.rpartition("_")[2])
    recording, chosen = make_recording(video, "head", (np.floor(frame) - 1, 360 * a - 180, 90 - 180 * b, user))
    return [recording], found.lines[~chosen]
