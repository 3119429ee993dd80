"""TODO"""

import numpy as np
import torch
from tqdm import tqdm

from recordings.ground_truth import count_maps, saliency_maps, to_bytes
from scoring.scores import FRAMES_AT_A_TIME
from sphere import pixel_to_sphere

PRIOR_SHARE = 0.1       # of the equator prior in the map of the other observers


# ----------------------------------------------------------------------------------------------------------- baselines


def equator_prior(height, width, sigma):
    """How much is looked at each latitude, whatever there is to see: a Gaussian of latitude, (height, width), float64.
    sigma: radians. People's habit of looking near the horizon is that of Sitzmann et al., Saliency in VR, 2018."""
    latitude, _ = pixel_to_sphere(torch.arange(height, dtype=torch.float64), 0, height, width)
    return torch.exp(-latitude.square() / (2 * sigma**2))[:, None].expand(height, width)


def mean_map(videos):
    """Mean of the maps of some videos, each map summing to 1 and each video counting the same: (H, W), float64.

    videos: a list of arrays (T, H, W), uint8."""
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


def leave_one_out(video, sigma, prior):
    """How well people predict each other: (prediction, target, counts), each (T, H, W). In each frame one observer, by
    turns, is the truth, and the map of all others the prediction; zeros where fewer than two are known by name.

    PRIOR_SHARE of the prediction is the prior (H, W), as the gold standard of Kümmerer et al. (PNAS 2015) is smoothed:
    few observers do not tell where nobody else would look.
    """
    height, width = prior.shape
    samples = video.samples.where(video.samples.user != "")
    chosen = np.zeros(len(samples.frame), bool)
    for position, number in enumerate(video.numbers):
        here = samples.frame == number
        users = np.unique(samples.user[here])
        if len(users) > 1:
            chosen |= here & (samples.user == users[position % len(users)])

    def maps(part):
        positions = np.searchsorted(video.numbers, part.frame)
        longitude, latitude = np.radians(part.longitude), np.radians(part.latitude)
        return saliency_maps(positions, longitude, latitude, len(video.numbers), sigma, height, width)

    one, others = samples.where(chosen), maps(samples.where(~chosen))
    sums = others.sum(axis=(1, 2), keepdims=True)
    pred = (1 - PRIOR_SHARE) * others / np.where(sums > 0, sums, 1) + PRIOR_SHARE * (prior / prior.sum()).numpy()
    return pred, to_bytes(maps(one)), count_maps(one, video.numbers, height, width)
