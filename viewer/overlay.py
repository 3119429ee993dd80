"""The overlay: a saliency map that glows over its frame, as a picture and as a video."""

from contextlib import ExitStack

import cv2
import numpy as np

from video.encode import video_writer
from video.planes import BLACK, arrays_of, black, conversion, even_size, size_of, to_planes
from video.resize import resized

# For each grey level of a map: the colour of the glow, BGR, and its opacity. The colours start at a visible purple and
# not at black; where nobody looks, the glow is transparent.
GLOW = cv2.applyColorMap(np.linspace(70, 255, 256).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]
OPACITY = 0.85 * np.linspace(0, 1, 256, dtype=np.float32) ** 0.8
BRIGHTNESS = 0.85  # of the frame below the glow, so that the glow stands out in a sunny scene too
FADED = BRIGHTNESS * (1 - OPACITY)
LEFT_OF_FRAME = np.uint8(np.round(255 * FADED))
ADDED_GLOW = np.uint8(np.round(OPACITY[:, None] * GLOW))[:, None]


def glowing(image, saliency, added, out=None):
    """An image, uint8 (h, w) or (h, w, 3), with a map, uint8, of any size, glowing over it. added: the glow of each
    grey level in the image's channels. out: the array that it is written to."""
    levels = cv2.resize(saliency, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    levels = levels if image.ndim == 2 else cv2.cvtColor(levels, cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.multiply(image, cv2.LUT(levels, LEFT_OF_FRAME), scale=1 / 255), cv2.LUT(levels, added), dst=out)


def overlay(frame, saliency, size):
    """The frame, BGR uint8, with its map, uint8, glowing over it: BGR uint8 (*size, 3). size: (height, width)."""
    return glowing(resized(frame, size), saliency, ADDED_GLOW)


def overlay_in_planes(frame, saliency, size):
    """The same of a frame as `to_planes` takes it, as a picture in planes. size: both even."""
    picture = to_planes(frame, size)
    over = black(size, picture)
    added = conversion(picture) @ ADDED_GLOW[:, 0].T + np.outer(BLACK, 1 - FADED)  # the fading takes from black, too
    for plane, out, levels in zip(arrays_of(picture), arrays_of(over), np.uint8(np.round(added))):
        glowing(plane, saliency, levels, out)
    return over


class OverlayWriter:
    """A context that writes the overlay video frame by frame, if there is a frame. source: where the frames come from,
    see `video_writer`; max_height: rows at most; sound: whether to keep the source's."""

    def __init__(self, path, source, max_height, sound=False):
        self.path, self.source, self.max_height, self.sound = path, source, max_height, sound

    def __enter__(self):
        self.stack, self.encode = ExitStack().__enter__(), None
        return self

    def write(self, frame, saliency, time):
        """Adds a frame, as `to_planes` takes it, with its map, uint8 (h, w), of any size, shown from `time` on,
        seconds."""
        if self.encode is None:
            self.size = even_size(*size_of(frame), self.max_height)
            writer = video_writer(self.path, self.size, self.source, "overlay", self.sound)
            self.encode = self.stack.enter_context(writer)
        self.encode(overlay_in_planes(frame, saliency, self.size), time)

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)
