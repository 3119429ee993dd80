"""When a video shows which frame: by its rate, or where that varies by the time stamps of its frames."""

from typing import NamedTuple

import numpy as np

from recordings.samples import FRAMES, frames_at


class Clock(NamedTuple):
    """The clock of a video. Frames are counted from 0, seconds from when the first one is shown."""

    fps: float              # frames a second, on average; 0 = not known
    times: object = None    # where the rate varies: when each frame is shown, and when the last one ends, (T + 1,)

    @property
    def known(self):
        return self.fps > 0 or self.times is not None

    def frames_at(self, seconds):
        """The index of the frame that is shown at each of `seconds` (N,): int64. After the end it is FRAMES or, where
        the rate does not vary, goes on."""
        if self.times is None:
            return frames_at(seconds, self.fps)
        index = np.searchsorted(self.times, seconds + 1e-8, side="right") - 1
        return np.where(index >= len(self.times) - 1, FRAMES, index).astype(np.int64)

    def starts(self, frames):
        """When each of the frames (N,) begins to be shown: seconds, float64."""
        if self.times is None:
            return frames / self.fps
        last = len(self.times) - 1
        return self.times[np.minimum(frames, last)] + np.maximum(0, frames - last) / self.fps


def times_between(numbers, shown_at, end, count):
    """The `times` of a `Clock` from those of some frames: the others are spread evenly between them. numbers, shown_at:
    indices of the known frames, ascending, and when these are shown; end: of the last frame; count: of all frames."""
    return np.interp(np.arange(count + 1), [*numbers, count], [*shown_at, end])
