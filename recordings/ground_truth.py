"""TODO"""

import math

import numpy as np

from sphere import pixel_to_sphere, sphere_to_pixel

REACH = 5               # sigmas after which a Gaussian ends, at 4e-6 of its height
SAMPLES_AT_A_TIME = 64  # keeps their Gaussians in cache


# ---------------------------------------------------------------------------------------------------------------- maps


def saliency_maps(positions, longitude, latitude, count, sigma, height, width):
    """`count` maps (count, H, W), float32, each the sum of its samples' Gaussians exp(-distance^2 / (2 sigma^2)).

    positions (N,): which map each sample belongs to, in [0, count); longitude, latitude, sigma: radians. The distance
    is taken from the sample itself, not from its pixel. Samples in one image row reach the same rows and as many
    columns, so their Gaussians are computed together, then added each at its own column.
    """
    row_latitude, _ = pixel_to_sphere(np.arange(height), 0, height, width)
    rows, columns = holding_pixels(longitude, latitude, height, width)
    sums = np.zeros((count, height, 2 * width), np.float32)  # column c stands at c + width // 2: windows need no wrap
    reach = math.ceil(REACH * sigma * height / math.pi) + 1
    for row in np.unique(rows):
        band = slice(max(0, row - reach), row + reach + 1)
        window = window_columns(abs(row_latitude[row]) + math.pi / height / 2, REACH * sigma, width)
        here = np.flatnonzero(rows == row)
        for part in np.split(here, range(SAMPLES_AT_A_TIME, len(here), SAMPLES_AT_A_TIME)):
            _, column_longitude = pixel_to_sphere(0, columns[part, None] + window, height, width)
            patches = gaussians(longitude[part], latitude[part], row_latitude[band], column_longitude, sigma)
            for position, start, patch in zip(positions[part], columns[part] + window[0] + width // 2, patches):
                sums[position, band, start:start + len(window)] += patch
    return np.roll(sums[..., :width] + sums[..., width:], -(width // 2), axis=-1)


def window_columns(latitude, radius, width):
    """Columns, relative to that of a point, that a cap of `radius` about it can reach: all of them where the cap holds
    a pole. latitude: its distance from the equator at most, radians."""
    half = width // 2
    if latitude + radius < math.pi / 2:
        half = min(half, math.ceil(math.asin(math.sin(radius) / math.cos(latitude)) * width / (2 * math.pi)) + 1)
    return np.arange(-half, min(half + 1, width - half))


def gaussians(longitude, latitude, row_latitude, column_longitude, sigma):
    """Gaussians (N, h, w), float32, about N samples, in rows at latitudes (h,) and columns at longitudes (N, w)."""
    parts = (np.sin(latitude[:, None]) * np.sin(row_latitude), np.cos(latitude[:, None]) * np.cos(row_latitude),
             np.cos(column_longitude - longitude[:, None]))
    along, across, turn = (part.astype(np.float32) for part in parts)
    cosine = along[:, :, None] + across[:, :, None] * turn[:, None, :]
    distance = np.arccos(np.clip(cosine, -1, 1, out=cosine), out=cosine)
    return np.exp(np.float32(-0.5 / sigma**2) * distance**2)


def to_bytes(maps):
    """Maps (T, H, W) as 8 bits, each scaled to a maximum of 255; zero where there is nothing."""
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.rint(maps * (255 / np.where(highest > 0, highest, 1))).astype(np.uint8)


def holding_pixels(longitude, latitude, height, width):
    """Rows and columns, int64, of the pixels that hold directions given in radians."""
    rows, columns = (np.floor(place + 0.5).astype(np.int64)
                     for place in sphere_to_pixel(latitude, longitude, height, width))
    return rows.clip(0, height - 1), columns % width


def count_maps(samples, numbers, height, width):
    """Number of samples in each pixel of the frames `numbers` (ascending, with every sample's frame): (T, H, W)."""
    rows, columns = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    counts = np.zeros((len(numbers), height, width), np.float32)
    np.add.at(counts, (np.searchsorted(numbers, samples.frame), rows, columns), 1)
    return counts
