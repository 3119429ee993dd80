"""Saliency maps as 8-bit pictures: the two ways in which a map of real numbers becomes grey levels."""

import numpy as np


def grey_levels(saliency):
    """A predicted map scaled from its minimum, 0, to its maximum, 255, and truncated, as published: uint8 (H, W). A map
    that is constant or not finite becomes all zeros."""
    least, largest = saliency.min(), saliency.max()
    if not largest > least:
        return np.zeros(saliency.shape, np.uint8)
    return ((saliency - least) / (largest - least) * 255).astype(np.uint8)


def scaled_to_maximum(maps):
    """True maps (T, H, W), at least 0, each scaled to a maximum of 255 and rounded: uint8. Zero stays zero, and a map
    of zeros stays so: nobody looked."""
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.rint(maps * (255 / np.where(highest > 0, highest, 1))).astype(np.uint8)
