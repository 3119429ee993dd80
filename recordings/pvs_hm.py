"""Reader of PVS-HM (Xu et al., Predicting Head Movement in Panoramic Video, TPAMI 2019): FULLdata_per_video_frame.mat,
and its older text files data/USER/VIDEO.txt. Head only.

The .mat has a matrix for each video, 58 x (latitude, longitude) columns in degrees, "front center as the origin, upper
& left positive", two rows a frame (README of YuhangSong/DHP): so the longitude changes its sign. The text files have
the columns interval (ms), latitude, longitude and three more, separated by spaces; their last line is a sum. Files of
two columns (VR-HM48, Archer-Tatsu/head-tracking) are read likewise; their sign and rate are not known: see
`mirror_gaze`. """

import numpy as np

from errors import InputError
from recordings.columns import first_lines, read_columns
from recordings.samples import make_recording

ROWS_A_FRAME = 2


def recognises(path, lines):
    """Whether a file is one of this format, by its ending or by its columns."""
    if path.suffix.lower() == ".mat":
        return True
    try:
        return path.suffix.lower() == ".txt" and len([float(text) for text in lines[0].split()]) in (2, 6)
    except (ValueError, IndexError):
        return False


def read(path, options):
    """(recordings, lines of rows skipped) of one file; of a .mat, rows of its matrices. Users of a .mat are "0", "1",
    ...; the user of a text file is its folder's name. Raises InputError where scipy, which reads .mat, is not
    installed."""
    if path.suffix.lower() == ".mat":
        return read_matrices(path)
    lines = first_lines(path)
    width = len(lines[0].split()) if lines else 2
    column = 0 if width == 2 else 1
    found = read_columns(path, " ", max(width, column + 2), (column, column + 1))
    is_sum = len(found.widths) > 0 and found.widths[-1] == 1
    values, lines = found.numbers[:len(found.lines) - is_sum], found.lines[:len(found.lines) - is_sum]
    recording, chosen = make_recording(path.stem, "head", head_columns(values, path.parent.name))
    return [recording], lines[~chosen]


def head_columns(values, user):
    """The columns of a recording with the rows (latitude, longitude), (N, 2), of one user."""
    latitude, longitude = values.T
    return np.arange(len(values)) // ROWS_A_FRAME, -longitude, latitude, user


def read_matrices(path):
    """What `read` returns for a .mat file."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f"{path} is a MATLAB file, which scipy reads: pip install scipy") from None
    try:
        matrices = loadmat(path)
    except Exception as problem:  # scipy raises many kinds
        raise InputError(f"{path} is not a MATLAB file that can be read: {problem}") from None
    recordings, skipped = [], []
    for video, matrix in matrices.items():
        if video.startswith("__"):
            continue
        if not (isinstance(matrix, np.ndarray) and matrix.ndim == 2 and matrix.dtype.kind in "fiu"):
            raise InputError(f"{path}: {video} is not a matrix of (latitude, longitude) columns")
        for user in range(matrix.shape[1] // 2):
            columns = head_columns(matrix[:, 2 * user:2 * user + 2].astype(float), str(user))
            recording, chosen = make_recording(video, "head", columns)
            recordings.append(recording)
            skipped += (np.flatnonzero(~chosen) + 1).tolist()
    return recordings, np.array(skipped, int)
