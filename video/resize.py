"""Resizing of images, always by area averaging (INTER_AREA), as the published weights were trained."""

import cv2


def resized(image, resolution):
    """The image (H, W) or (H, W, C) at `resolution`, (height, width)."""
    return cv2.resize(image, resolution[::-1], interpolation=cv2.INTER_AREA)


def limit_rows(frame, rows):
    """The frame (H, W, 3), reduced to `rows` rows if it has more; the ratio W / H stays."""
    H, W = frame.shape[:2]
    return frame if rows >= H else resized(frame, (rows, round(W * rows / H)))
