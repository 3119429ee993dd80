"""Reader of VR-EyeTracking's recordings (Xu et al., Gaze Prediction in Dynamic 360° Immersive Videos, CVPR 2018).

A file Gaze_txt_files/USER/VIDEO._DATE_ori_0.txt for each user and video has the columns "frame", number, "forward",
head x and y, "eye", gaze x and y, without a header. The authors' README: numbers "start from 1"; x and y are fractions
of the panorama "from left bottom corner". So do edurnebernal/SST-Sal's issue 2 and every public loader read it.
"""

from errors import InputError
from recordings.columns import delimiter_of, first_lines, read_columns, split_header
from recordings.samples import make_recording

FRAME, X, Y = 1, {"head": 3, "gaze": 6}, {"head": 4, "gaze": 7}  # columns, from 0
COLUMNS = 8


def recognises(path, lines):
    """Whether a file is one of this format: by its lines, or since it lies in Gaze_txt_files/USER."""
    if path.suffix.lower() != ".txt":
        return False
    rows = [split_header(line) for line in lines[:9]]
    return (any(len(row) >= COLUMNS and row[2] == "forward" and row[5] == "eye" for row in rows)
            or path.parent.parent.name == "Gaze_txt_files")


def read(path, options):
    """([recording], lines of rows skipped) of one file. The video is the file's name up to the first dot, the user the
    name of its folder. A row is skipped where a value is not a number or the direction lies outside the panorama.
    Raises InputError if no row has all columns."""
    kind = options.kind or "gaze"
    lines = first_lines(path)
    delimiter = delimiter_of(lines[0]) if lines else ","
    found = read_columns(path, delimiter, COLUMNS, (FRAME, X[kind], Y[kind]))
    if len(found.widths) and found.widths.max() < COLUMNS:
        raise InputError(f"{path} has {len(lines[0].split(delimiter))} columns, but the gaze is read from columns "
                         f"{X[kind]} and {Y[kind]}, counted from 0; it must be a file of VR-EyeTracking's format")
    frame, x, y = found.numbers.T
    video = path.name.partition(".")[0]
    recording, chosen = make_recording(video, kind, (frame - 1, 360 * x - 180, 180 * y - 90, path.parent.name))
    return [recording], found.lines[~chosen]
