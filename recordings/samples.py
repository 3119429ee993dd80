"""Gaze samples of one video, which every reader of this folder returns: when somebody looked where."""

from typing import NamedTuple

import numpy as np


class Samples(NamedTuple):
    """Gaze samples of one video, each array (N,)."""

    frame: np.ndarray      # index of a frame of the source video
    longitude: np.ndarray  # degrees, [-180, 180], 0 in the middle of the panorama, east positive
    latitude: np.ndarray   # degrees, [-90, 90], north positive
    user: np.ndarray       # names, "" where not known

    def where(self, chosen):
        """The chosen samples: a mask (N,) or indices."""
        return Samples(*(column[chosen] for column in self))


NO_SAMPLES = Samples(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, object))


def valid(samples):
    """The samples with a possible frame index and direction, the index as int64. (Comparisons with NaN are false.)"""
    samples = samples.where((samples.frame >= 0) & (samples.frame < 2**31)
                            & (np.abs(samples.longitude) <= 180) & (np.abs(samples.latitude) <= 90))
    return samples._replace(frame=samples.frame.astype(np.int64))


def assign_frames(samples, numbers):
    """The samples with `frame` replaced by the extracted frame that gathers each one. Samples that no frame gathers are
    left out.

    numbers: ascending indices of the extracted frames. A frame gathers the samples from its own index up to the next
    extracted frame's; the last frame gathers as many indices as the one before it.
    """
    numbers = np.asarray(numbers)
    end = 2 * numbers[-1] - numbers[-2] if len(numbers) > 1 else np.inf
    samples = samples.where((samples.frame >= numbers[0]) & (samples.frame < end))
    return samples._replace(frame=numbers[np.searchsorted(numbers, samples.frame, side="right") - 1])
