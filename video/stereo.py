"""Stereo video: the left eye's view, and whether a frame looks as if it held two views."""

import cv2
import numpy as np

LEAST_LIKENESS = 0.93  # of the halves of a stereo frame; measured: 0.97 in one, at most 0.89 in 400 mono frames


def left_eye(frame, stereo_layout, swapped=False):
    """The view of the left eye in a frame (H, W, 3). By custom that is the upper half of a "top_bottom" frame, the left
    half of a "left_right" one, and all of a "mono" one; the other half if the eyes are swapped."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    if stereo_layout == "top_bottom":
        return frame[-height:] if swapped else frame[:height]
    if stereo_layout == "left_right":
        return frame[:, -width:] if swapped else frame[:, :width]
    return frame


def likeness(first, second):
    """Correlation of two grey views (H, W) after the mean of each row is subtracted, since sky above ground is alike in
    any two pictures. It is the best of shifts by -1, 0 and 1 columns, since the eyes see things at different places."""
    first, second = (view - view.mean(axis=1, keepdims=True) for view in (first, second))
    length = max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-6)
    return max(float((first * np.roll(second, shift, axis=1)).sum()) for shift in (-1, 0, 1)) / length


def apparent_layout(frame):
    """The setting stereo_layout that fits a frame (H, W, 3), BGR uint8: the one in which its halves are alike, or
    "mono"."""
    grey = np.float32(cv2.cvtColor(cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY))
    likenesses = {"top_bottom": likeness(grey[:32], grey[32:]), "left_right": likeness(grey[:, :32], grey[:, 32:])}
    layout = max(likenesses, key=likenesses.get)
    return layout if likenesses[layout] > LEAST_LIKENESS else "mono"
