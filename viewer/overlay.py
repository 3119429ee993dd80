"""The overlay: a saliency map that glows over its frame, as a picture and as a video."""

from contextlib import ExitStack

import cv2
import numpy as np

from video.encode import video_writer
from video.resize import resized

# For each grey level of a map: the colour of the glow, BGR, and its opacity. The colours start at a visible purple and
# not at black; where nobody looks, the glow is transparent.
GLOW = cv2.applyColorMap(np.linspace(70, 255, 256).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]
OPACITY = 0.85 * np.linspace(0, 1, 256, dtype=np.float32) ** 0.8
BRIGHTNESS = 0.85  # of the frame below the glow, so that the glow stands out in a sunny scene too
LEFT_OF_FRAME = np.round(255 * BRIGHTNESS * (1 - OPACITY)).astype(np.uint8)[:, None].repeat(3, axis=1)[:, None]
ADDED_GLOW = np.round(OPACITY[:, None] * GLOW).astype(np.uint8)[:, None]


def even_size(height, width, max_height):
    """The (height, width) of the overlay of a frame: both even, with at most max_height rows."""
    scale = min(1.0, max_height / height)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def overlay(frame, saliency, size):
    """The frame, BGR uint8, with its map, uint8, glowing over it: BGR uint8 (*size, 3). size: (height, width)."""
    height, width = size
    frame = resized(frame, size)
    saliency = cv2.cvtColor(cv2.resize(saliency, (width, height), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.multiply(frame, cv2.LUT(saliency, LEFT_OF_FRAME), scale=1 / 255), cv2.LUT(saliency, ADDED_GLOW))


class OverlayWriter:
    """A context that writes the overlay video frame by frame, if there is a frame. source: where the frames come from,
    see `video_writer`; max_height: rows at most; sound: whether to keep the source's."""

    def __init__(self, path, source, max_height, sound=False):
        self.path, self.source, self.max_height, self.sound = path, source, max_height, sound

    def __enter__(self):
        self.stack, self.encode = ExitStack().__enter__(), None
        return self

    def write(self, frame, saliency, time):
        """Adds a frame, BGR uint8 (H, W, 3), with its map, uint8 (h, w), of any size, shown from `time` on, seconds."""
        if self.encode is None:
            self.size = even_size(*frame.shape[:2], self.max_height)
            self.encode = self.stack.enter_context(video_writer(self.path, self.size, self.source, sound=self.sound))
        self.encode(overlay(frame, saliency, self.size), time)

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)
