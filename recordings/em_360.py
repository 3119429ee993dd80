"""Reader of 360_em (Agtzidis et al., 360-degree Video Gaze Behaviour, ACM MM 2019): SUBJECT_VIDEO.arff.

After "@DATA": time in microseconds, x and y of the gaze in pixels of the panorama (its size is in @METADATA), from the
top-left corner, a confidence (below 0.5 the eye was lost), x_head, y_head, and in ground_truth a label. Columns by the
order of the @ATTRIBUTE lines (README of IoAg/360_em_dataset; EquirectToSpherical.m).
"""

import numpy as np

from errors import InputError
from recordings.columns import first_lines, read_columns
from recordings.samples import make_recording

LEAST_CONFIDENCE = 0.5


def recognises(path, lines):
    return path.suffix.lower() == ".arff" and bool(lines) and lines[0].lower().startswith("@relation")


def read_header(path):
    """({metadata: number}, [attributes]) of an ARFF file. Raises InputError where something is missing."""
    metadata, attributes = {}, []
    for row in (line.split() for line in first_lines(path)):
        key = row[0].lower()
        if key == "%@metadata" and len(row) > 2:
            metadata[row[1].lower()] = row[2]
        elif key == "@attribute" and len(row) > 1:
            attributes.append(row[1].strip("'\"").lower())
    try:
        size = [float(metadata[name]) for name in ("width_px", "height_px")]
    except (KeyError, ValueError):
        size = [0.0, 0.0]
    if min(size) <= 0 or not {"time", "x", "y", "confidence"} <= set(attributes):
        raise InputError(f"{path} lacks width_px, height_px or one of the attributes time, x, y, confidence of 360_em")
    return size, attributes


def read(path, options):
    """([recording], lines of rows skipped) of one file. Rows with a confidence below 0.5 are skipped. With
    `options.fixations` "recorded", only rows with the label "fixation" are kept, where there are labels."""
    (width, height), attributes = read_header(path)
    kind = options.kind or "gaze"
    names = ["time", "confidence", *(("x_head", "y_head") if kind == "head" else ("x", "y"))]
    if absent := [name for name in names if name not in attributes]:
        raise InputError(f"{path} has no attribute {', '.join(absent)}")
    label = next((position for position, name in enumerate(attributes) if name.startswith("labeller")), None)
    labelled = options.fixations == "recorded" and label is not None
    found = read_columns(path, ",", len(attributes), [attributes.index(name) for name in names],
                         [label] * labelled, comments="@%")
    wanted = found.texts[0] == "fixation" if labelled else np.ones(len(found.lines), bool)
    time, confidence, x, y = found.numbers[wanted].T
    time[~(confidence >= LEAST_CONFIDENCE)] = np.nan
    user, _, video = path.stem.partition("_")
    if not video:
        raise InputError(f"{path} is not named as 360_em's files are, SUBJECT_VIDEO.arff")
    columns = None, 360 * x / width - 180, 90 - 180 * y / height, user
    recording, chosen = make_recording(video, kind, columns, time / 1e6)
    return [recording], found.lines[wanted][~chosen]
