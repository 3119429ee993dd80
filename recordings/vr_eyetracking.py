"""TODO"""

import numpy as np

from errors import InputError
from recordings.samples import Samples, valid
from recordings.tables import number_column, read_text

FRAME, GAZE_X, GAZE_Y = 1, 6, 7                        # columns of a VR-EyeTracking file


def read_recording(path):
    """(samples, number skipped) of a VR-EyeTracking file; the user is its folder. Skipped are samples that are not
    numbers or lie outside the panorama. Raises InputError where no line has all columns."""
    lines = [line.split(",") for line in read_text(path).splitlines() if line.strip()]
    whole = [line for line in lines if len(line) > GAZE_Y]
    if lines and not whole:
        raise InputError(f"{path} has {len(lines[0])} columns separated by commas, but the gaze is read from columns "
                         f"{GAZE_X} and {GAZE_Y}, counted from 0; it must be a file of VR-EyeTracking's format")
    frame, x, y = (number_column(whole, column) for column in (FRAME, GAZE_X, GAZE_Y))
    samples = valid(Samples(frame, 360 * x - 180, 180 * y - 90, np.full(len(whole), path.parent.name, object)))
    return samples, len(lines) - len(samples.frame)
