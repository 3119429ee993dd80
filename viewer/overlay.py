"""TODO"""

from contextlib import ExitStack

import cv2
import numpy as np

from video.encode import video_writer


class OverlayWriter:
    """A context: writes the overlay video frame by frame, if there is one. max_height: its rows at most."""

    def __init__(self, path, fps, max_height):
        self.path, self.fps, self.max_height = path, fps, max_height

    def __enter__(self):
        self.stack, self.encode = ExitStack().__enter__(), None
        return self

    def write(self, frame, saliency):
        """Adds a frame (BGR) with its map (uint8)."""
        if self.encode is None:
            self.size = even_size(*frame.shape[:2], self.max_height)
            self.encode = self.stack.enter_context(video_writer(self.path, self.size, self.fps))
        self.encode(overlay(frame, saliency, self.size))

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)


# ------------------------------------------------------------------------------------------------------------- overlay


def even_size(height, width, max_height):
    """The size of an overlay: the frame's, at most max_height rows, both sides even."""
    scale = min(1.0, max_height / height)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


# By grey level of the map: the colour of the glow, BGR, and its opacity. The colours start at a visible purple rather
# than at black, and nothing is laid over what nobody looks at.
GLOW = cv2.applyColorMap(np.linspace(70, 255, 256).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]
OPACITY = 0.85 * np.linspace(0, 1, 256, dtype=np.float32) ** 0.8
BRIGHTNESS = 0.85  # of the frame below, so that the glow stands out in a sunny scene as well
LEFT_OF_FRAME = np.round(255 * BRIGHTNESS * (1 - OPACITY)).astype(np.uint8)[:, None].repeat(3, axis=1)[:, None]
ADDED_GLOW = np.round(OPACITY[:, None] * GLOW).astype(np.uint8)[:, None]


def overlay(frame, saliency, size):
    """The frame (BGR) with its saliency map (uint8) glowing over it: BGR uint8 of (height, width) `size`."""
    height, width = size
    frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    saliency = cv2.cvtColor(cv2.resize(saliency, (width, height), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.multiply(frame, cv2.LUT(saliency, LEFT_OF_FRAME), scale=1 / 255), cv2.LUT(saliency, ADDED_GLOW))
