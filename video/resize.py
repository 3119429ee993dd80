"""TODO"""

import cv2


def resized(image, resolution):
    """The image at `resolution`, (height, width), by area averaging: the published weights were trained so."""
    return cv2.resize(image, resolution[::-1], interpolation=cv2.INTER_AREA)


def limit_rows(frame, rows):
    """The frame, or if it has more than `rows` rows the frame reduced to that many; its shape (W / H) stays."""
    H, W = frame.shape[:2]
    return frame if rows >= H else cv2.resize(frame, (round(W * rows / H), rows), interpolation=cv2.INTER_AREA)
