"""Recordings that are known but cannot be read, since the data sets do not say enough: what is missing, for one clear
line."""

from recordings.columns import delimiter_of, split_header
from recordings.tables import find_columns, missing_columns

TO_A_TABLE = "write a table with longitude and latitude"
WU = f"how its quaternions lie in the panorama (Wu et al. 2017) is not known; {TO_A_TABLE}"
CORBILLON = f"whether its quaternions (Corbillon et al. 2017) turn left or right is not known; {TO_A_TABLE}"
AVTRACK360 = f"the signs of pitch and yaw (AVTrack360) are not known; {TO_A_TABLE}"
CEAP = f"the signs of Pitch and Yaw (CEAP-360VR) are not known; {TO_A_TABLE}"


def what_is_not_known(path, lines):
    """Why a file of a known data set cannot be read; "" if it is none of those. lines: its first ones."""
    if path.suffix.lower() == ".json":
        text = "".join(lines)
        if '"StartFrame"' in text and '"Yaw"' in text:
            return CEAP
        return AVTRACK360 if '"sec"' in text and '"yaw"' in text else ""
    if lines and "unitquaternion.x" in split_header(lines[0]):
        return WU
    return CORBILLON if lines and is_corbillon(lines) else ""


def what_a_table_lacks(lines):
    """What a file in none of the formats would need to be read as a table; "" if it is no table of gaze at all. lines:
    its first ones."""
    if not lines or delimiter_of(lines[0]) == " ":
        return ""
    found, _ = find_columns(split_header(lines[0]))
    return f"there is no column {missing_columns(found)}" if found.keys() - {"video", "user", "kind"} else ""


def is_corbillon(lines):
    """Whether the lines are those of Corbillon et al.: seconds, frame, and a unit quaternion, separated by spaces."""
    try:
        rows = [[float(text) for text in line.split()] for line in lines[:5]]
    except ValueError:
        return False
    return all(len(row) == 6 and row[1].is_integer() and abs(sum(value**2 for value in row[2:]) - 1) < 0.02
               for row in rows)
