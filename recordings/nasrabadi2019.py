"""Reader of the head traces of Nasrabadi et al. (A Taxonomy and Dataset for 360° Videos, MMSys 2019):
Traces/USER/USER_VIDEO.csv.

Eight columns without a header: seconds, a quaternion (x, y, z, w), the unit vector of the head (x, y, z). Yaw is
atan2(x, z), pitch asin(y) (ConvVec2Angl.m). Four videos are shown rotated (Overlay.m). The vector is the mirror image
of the quaternion's; which of both is right could not be told: see `mirror_gaze`.
"""

import numpy as np

from recordings.columns import delimiter_of, read_columns
from recordings.samples import make_recording, wrapped

ROTATIONS = {"10": -95, "17": 180, "27": 63, "28": 81}  # degrees, to be subtracted from the yaw


def recognises(path, lines):
    try:
        values = [float(text) for text in lines[0].split(",")]
    except (ValueError, IndexError):
        return False
    return path.suffix.lower() == ".csv" and len(values) == 8 and delimiter_of(lines[0]) == ","


def read(path, options):
    """([recording], lines of rows skipped) of one file. A row is skipped if its vector is not of unit length."""
    found = read_columns(path, ",", 8, (0, 5, 6, 7))
    time, x, y, z = found.numbers.T
    with np.errstate(invalid="ignore"):
        time = np.where(np.abs(np.sqrt(x * x + y * y + z * z) - 1) < 0.01, time, np.nan)
        user, _, video = path.stem.rpartition("_")
        longitude = wrapped(np.degrees(np.arctan2(x, z)) - ROTATIONS.get(video, 0))
        latitude = np.degrees(np.arcsin(np.clip(y, -1, 1)))
    recording, chosen = make_recording(video, "head", (None, longitude, latitude, user), time)
    return [recording], found.lines[~chosen]
