"""Predictors that know nothing of a video's content, and one that knows all but one of its observers: what the scores
of a model are compared with."""

import numpy as np
import torch
from tqdm import tqdm

from maps.levels import scaled_to_maximum
from recordings.ground_truth import count_maps, saliency_maps
from scoring.scores import FRAMES_AT_A_TIME
from sphere import pixel_to_sphere

PRIOR_SHARE = 0.1       # of the equator prior in the map of the other observers


def equator_prior(height, width, sigma):
    """How much people look at each latitude, whatever there is to see: a Gaussian of latitude, (height, width),
    float64. sigma: radians. This habit of looking near the horizon: Sitzmann et al., Saliency in VR, 2018."""
    latitude, _ = pixel_to_sphere(torch.arange(height, dtype=torch.float64), 0, height, width)
    return torch.exp(-latitude.square() / (2 * sigma**2))[:, None].expand(height, width)


def mean_map(videos):
    """The mean map of several videos, each map summing to 1 and each video counting the same: (H, W), float64.

    videos: a list of arrays (T, H, W), uint8. Maps of zeros are left out."""
    means = []
    for maps in tqdm(videos, desc="mean training map", unit="video"):
        total, count = 0, 0
        for first in range(0, len(maps), FRAMES_AT_A_TIME):
            part = maps[first:first + FRAMES_AT_A_TIME].astype(np.float64)
            sums = part.sum(axis=(1, 2), keepdims=True)
            total += np.divide(part, sums, out=np.zeros_like(part), where=sums > 0).sum(axis=0)
            count += (sums > 0).sum()
        means.append(total / max(1, count))
    return torch.from_numpy(np.mean(means, axis=0))


def leave_one_out(samples, numbers, sigma, prior):
    """How well people predict each other: (prediction, target, fixation counts), each (T, H, W). In each frame one
    observer, by turns, is the truth, and the map of all others is the prediction. A frame where fewer than two
    observers are known by name has a target of zeros.

    samples: fixations of one video; numbers (T,): its frames; sigma: radians. PRIOR_SHARE of the prediction is the
    prior (H, W), as Kümmerer et al. (PNAS 2015) smooth their gold standard: few observers do not tell where nobody
    else would look.
    """
    height, width = prior.shape
    samples = samples.where(samples.user != "")
    chosen = np.zeros(len(samples.frame), bool)
    for position, number in enumerate(numbers):
        here = samples.frame == number
        users = np.unique(samples.user[here])
        if len(users) > 1:
            chosen |= here & (samples.user == users[position % len(users)])

    one = samples.where(chosen)
    others = saliency_maps(samples.where(~chosen), numbers, sigma, height, width)
    sums = others.sum(axis=(1, 2), keepdims=True)
    pred = (1 - PRIOR_SHARE) * others / np.where(sums > 0, sums, 1) + PRIOR_SHARE * (prior / prior.sum()).numpy()
    target = scaled_to_maximum(saliency_maps(one, numbers, sigma, height, width))
    return pred, target, count_maps(one, numbers, height, width)
