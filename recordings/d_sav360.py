"""Reader of D-SAV360's gaze (Bernal-Berdun et al., D-SAV360, TVCG 2023): gaze_data/gaze_video_0002.csv, and what the
authors' script makes of it, fixations_8fps/0002.csv.

Columns by name, in any order: video, frame, u, v, id, and in gaze_data also t, fixation, valid_fix_classification. As
their compute_gt_saliencymaps_DSAV360.py has it, frames count from 0 (OpenCV's POS_FRAMES), u and v are fractions of the
panorama from its top-left corner, and rows with frame 0, u 0.5 and v 0.5 are errors.
"""

import numpy as np

from errors import InputError
from recordings.columns import delimiter_of, first_lines, read_columns, split_header
from recordings.samples import split_videos

NEEDED = ("video", "frame", "u", "v", "id")
LABELS = ("fixation", "valid_fix_classification")
STEP = round(60 / 8)    # frames between those that the authors keep, of 60 a second


def recognises(path, lines):
    return path.suffix.lower() == ".csv" and bool(lines) and set(NEEDED) <= set(split_header(lines[0]))


def video_name(text):
    """The name of a video as its file has it: 4 digits."""
    return f"{int(text):04d}" if text.isdecimal() else text


def is_true(texts):
    """Whether each text says yes: 1, 1.0 or True, as far as the format is known."""
    return np.isin(texts, ("1", "1.0", "True", "true", "TRUE"))


def authors_fixations(frame, user, time, fixation, valid):
    """(indices, frames) of the rows that the authors' script keeps: in every STEP frames from the first one on, of each
    user the first row of every run of rows with one `fixation`, if it is a valid fixation. Its frame is the first of
    the STEP."""
    if not len(frame):
        return np.zeros(0, int), frame
    binned = frame.min() + (frame - frame.min()) // STEP * STEP
    users = np.unique(user.astype(str), return_inverse=True)[1]
    order = np.lexsort((frame, time, users))
    runs = np.stack([binned, users, fixation])[:, order]
    first = np.append(True, (runs[:, 1:] != runs[:, :-1]).any(axis=0))
    chosen = order[first & fixation[order] & valid[order]]
    return chosen, binned[chosen]


def read(path, options):
    """(recordings, lines of rows skipped): gaze, a recording for each video. Raises InputError as `read_rows` does,
    and where `options.fixations` is "recorded" but the labels' columns are not there."""
    lines = first_lines(path)
    header = split_header(lines[0]) if lines else []
    if missing := [name for name in NEEDED if name not in header]:
        raise InputError(f"{path} has no column {', '.join(missing)}, which D-SAV360's files have")
    labelled = set(LABELS) <= set(header)
    numeric, textual = ("frame", "u", "v", *["t"] * ("t" in header)), ("video", "id", *LABELS * labelled)
    found = read_columns(path, delimiter_of(lines[0]), len(header), list(map(header.index, numeric)),
                         list(map(header.index, textual)), exact=True, header=True)
    frame, u, v, *time = found.numbers.T
    video, user, *labels = found.texts
    time = time[0] if time else np.full(len(frame), np.nan)
    right = np.isfinite(frame) & ~((frame == 0) & (u == 0.5) & (v == 0.5))
    if options.fixations == "recorded" and labels:
        rows = np.flatnonzero(right)
        fixation, valid = (is_true(label[rows]) for label in labels)
        kept, frames = authors_fixations(frame[rows], user[rows], time[rows], fixation, valid)
        frame[rows[kept]] = frames
        considered = rows = rows[kept]
    else:
        rows, considered = np.flatnonzero(right), np.arange(len(frame))
    names = np.array([video_name(text) for text in video[rows]], object)
    columns = frame[rows], 360 * u[rows] - 180, 90 - 180 * v[rows], user[rows]
    recordings, chosen = split_videos(names, "gaze", columns)
    return recordings, found.lines[np.setdiff1d(considered, rows[chosen])]
