"""How much of the sphere attention covers: one number a map, the exponential of the map's entropy."""

import numpy as np


def extent(levels):
    """The part of the sphere that a map's attention covers, in (0, 1]: 0.1 for even attention on a tenth of it.

    levels: (H, W), at least 0. With p the share of a pixel's mass and q that of its solid angle, it is
    exp(-sum p log(p / q)), the exponential of the entropy (Campbell, "Exponential entropy as a measure of extent of a
    distribution", 1966), here relative to the sphere's area. Sitzmann et al. (TVCG 2018) compare saliency maps of
    panoramas by their entropy, too. It does not depend on the map's scale or size. A map of zeros is an even one.
    """
    levels = levels.astype(np.float64) if levels.any() else np.ones(levels.shape)
    edges = np.cos(np.linspace(0, np.pi, len(levels) + 1))
    areas = (edges[:-1] - edges[1:]) / 2  # of the rows; their sum is 1
    logs = np.log(levels, where=levels > 0, out=np.zeros_like(levels))
    mean, mean_log = areas @ levels.mean(axis=1), areas @ (levels * logs).mean(axis=1)
    return float(mean * np.exp(-mean_log / mean))
