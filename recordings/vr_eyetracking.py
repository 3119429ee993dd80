"""Reader of VR-EyeTracking's recordings (Xu et al., Gaze Prediction in Dynamic 360° Immersive Videos, CVPR 2018).

There is a file Gaze_txt_files/USER/VIDEO.txt for each user and video: columns separated by commas, no header."""

import numpy as np

from errors import InputError
from recordings.columns import number_column, read_text
from recordings.samples import Samples, valid

FRAME, GAZE_X, GAZE_Y = 1, 6, 7  # columns, from 0; x and y are fractions of the panorama from its bottom-left corner


def read_recording(path):
    """(samples, number of lines skipped) of one file. The user is the name of its folder. A line is skipped where a
    value is not a number or the gaze lies outside the panorama. Raises InputError if no line has all columns."""
    lines = [line.split(",") for line in read_text(path).splitlines() if line.strip()]
    whole = [line for line in lines if len(line) > GAZE_Y]
    if lines and not whole:
        raise InputError(f"{path} has {len(lines[0])} columns separated by commas, but the gaze is read from columns "
                         f"{GAZE_X} and {GAZE_Y}, counted from 0; it must be a file of VR-EyeTracking's format")
    frame, x, y = (number_column(whole, column) for column in (FRAME, GAZE_X, GAZE_Y))
    samples = valid(Samples(frame, 360 * x - 180, 180 * y - 90, np.full(len(whole), path.parent.name, object)))
    return samples, len(lines) - len(samples.frame)
