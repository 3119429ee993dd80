"""TODO"""

import sys

import cv2
import numpy as np
from tqdm import tqdm

ALIKE = 0.93     # likeness of the halves of a stereo frame; measured: 0.97 in one, at most 0.89 in 400 mono ones


def left_eye(frame, stereo_layout):
    """The view of the left eye: the upper or the left half of a stereo frame, by custom."""
    if stereo_layout == "top_bottom":
        return frame[:frame.shape[0] // 2]
    if stereo_layout == "left_right":
        return frame[:, :frame.shape[1] // 2]
    return frame


def likeness(first, second):
    """Correlation of two grey views (H, W), the mean of each row taken out, as sky above ground looks alike anywhere;
    the best of three shifts by a column, for the parallax between two eyes."""
    first, second = (view - view.mean(axis=1, keepdims=True) for view in (first, second))
    length = max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-6)
    return max(float((first * np.roll(second, shift, axis=1)).sum()) for shift in (-1, 0, 1)) / length


def apparent_layout(frame):
    """The stereo_layout (see config.py) that a frame (H, W, 3) uint8 seems to have: its halves are alike."""
    grey = np.float32(cv2.cvtColor(cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY))
    likenesses = {"top_bottom": likeness(grey[:32], grey[32:]), "left_right": likeness(grey[:, :32], grey[:, 32:])}
    layout = max(likenesses, key=likenesses.get)
    return layout if likenesses[layout] > ALIKE else "mono"


def warn_of_stereo(name, frame):
    """Says so on stderr if a frame that is taken for mono seems to hold two views."""
    layout = apparent_layout(frame)
    if layout != "mono":
        tqdm.write(f"warning: {name} looks like stereo; if it is, use --stereo_layout={layout}", file=sys.stderr)
