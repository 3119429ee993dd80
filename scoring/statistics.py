"""Means over frames and videos, and how certain they are."""

import numpy as np

from scoring.scores import COLUMNS

RESAMPLES = 10000  # of a bootstrap


def video_means(videos):
    """{column: (V,)}: each video's mean over the frames that have the score; NaN if no frame has it."""
    return {column: np.array([np.mean(values[np.isfinite(values)]) if np.isfinite(values).any() else np.nan
                              for values in (scores[column] for scores in videos.values())]) for column in COLUMNS}


def bootstrap(values, seed):
    """(mean, low, high): the mean of the values (V,) that are not NaN, and the ends of its 95% interval, which holds
    the middle 95% of the means of as many videos drawn with replacement (Efron's percentile interval). The ends are NaN
    for fewer than 2 values."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return np.mean(values) if len(values) else np.nan, np.nan, np.nan
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    return values.mean(), *np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
