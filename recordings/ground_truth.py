"""From gaze samples to the maps that a model learns and is scored against.

A saliency map is the sum of its samples' Gaussians of great-circle distance. It crosses the seam and the poles as the
sphere does, and widens in pixels toward the poles.
"""

import math

import numpy as np

from sphere import pixel_to_sphere, sphere_to_pixel

REACH = 5               # sigmas at which a Gaussian is cut off, at 4e-6 of its height
SAMPLES_AT_A_TIME = 64  # so that their Gaussians stay in the processor's cache


def holding_pixels(longitude, latitude, height, width):
    """Rows and columns, int64, of the pixels that hold the directions, which are given in radians."""
    rows, columns = (np.floor(position + 0.5).astype(np.int64)
                     for position in sphere_to_pixel(latitude, longitude, height, width))
    return rows.clip(0, height - 1), columns % width


def count_maps(samples, numbers, height, width):
    """Number of samples in each pixel of each frame: (T, H, W) float32. numbers (T,): the frames' indices, ascending;
    every sample belongs to one of them."""
    rows, columns = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    counts = np.zeros((len(numbers), height, width), np.float32)
    np.add.at(counts, (np.searchsorted(numbers, samples.frame), rows, columns), 1)
    return counts


def window_columns(latitude, radius, width):
    """The columns, relative to a point's own, that a cap of `radius` about the point can reach; all columns if the cap
    holds a pole. latitude: the point's distance from the equator, at most. Both in radians."""
    half = width // 2
    if latitude + radius < math.pi / 2:
        half = min(half, math.ceil(math.asin(math.sin(radius) / math.cos(latitude)) * width / (2 * math.pi)) + 1)
    return np.arange(-half, min(half + 1, width - half))


def gaussians(longitude, latitude, row_latitude, column_longitude, sigma):
    """Gaussians about N samples, (N, h, w) float32, in rows at latitudes (h,) and columns at longitudes (N, w)."""
    parts = (np.sin(latitude[:, None]) * np.sin(row_latitude), np.cos(latitude[:, None]) * np.cos(row_latitude),
             np.cos(column_longitude - longitude[:, None]))
    along, across, turn = (part.astype(np.float32) for part in parts)
    cosine = along[:, :, None] + across[:, :, None] * turn[:, None, :]
    square = square_of_angle(cosine)
    square *= np.float32(-0.5 / sigma**2)
    return np.exp(square, out=square)


def square_of_angle(cosine):
    """The square of the angles (float32) with these cosines, which may be overwritten. Angles below 1 are summed from
    a series (the square of the arccosine in powers of 1 - cosine), several times as fast as the function."""
    if cosine.min() < math.cos(1):
        return np.square(np.arccos(np.clip(cosine, -1, 1, out=cosine), out=cosine), out=cosine)
    rest = np.subtract(np.float32(1), cosine, out=cosine)
    np.maximum(rest, 0, out=rest)
    square = rest * np.float32(16 / 1575)
    for factor in (1 / 35, 4 / 45, 1 / 3, 2):
        square += np.float32(factor)
        square *= rest
    return square


def saliency_maps(samples, numbers, sigma, height, width):
    """The map of each frame, (T, H, W) float32: the sum of its samples' Gaussians exp(-distance^2 / (2 sigma^2)), with
    sigma in radians. numbers: as for `count_maps`.

    The distance is measured from the sample itself, not from the centre of its pixel. Samples in one image row reach
    the same rows and equally many columns, so their Gaussians are computed together; then each is added at its column.
    """
    positions = np.searchsorted(numbers, samples.frame)
    longitude, latitude = np.radians(samples.longitude), np.radians(samples.latitude)
    row_latitude, _ = pixel_to_sphere(np.arange(height), 0, height, width)
    rows, columns = holding_pixels(longitude, latitude, height, width)
    sums = np.zeros((len(numbers), height, 2 * width), np.float32)  # column c is at c + width // 2: no window wraps
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


def blurred_in_image(samples, numbers, sigma, height, width):
    """The map of each frame, (T, H, W) float32, as the authors of SST-Sal and D-SAV360 make it, for comparison: samples
    counted in pixels, blurred along the columns with a Gaussian of `sigma` radians, then along each row with one that
    is wider by 1 / cos(latitude). Every blur wraps, also past the poles. numbers: as for `count_maps`.

    Source: salmap_from_norm_coords in D-SAV360's compute_gt_saliencymaps_DSAV360.py, whose quirks are kept: positions
    are rounded and wrap one pixel early, and what falls into the first pixel is dropped.
    """
    x = np.round((samples.longitude + 180) / 360 * width) % (width - 1)
    y = np.round((90 - samples.latitude) / 180 * height) % (height - 1)
    counts = np.zeros((len(numbers), height, width))
    np.add.at(counts, (np.searchsorted(numbers, samples.frame), y.astype(int), x.astype(int)), 1)
    counts[:, 0, 0] = 0
    sigma = sigma * height / math.pi  # pixels
    cosine = np.cos((np.arange(height) / height - 0.5) * math.pi)
    down = np.fft.rfft(circular_gaussian(sigma, height))[:, None]
    along = np.fft.rfft([circular_gaussian(sigma / (c + 1e-3), width) for c in cosine])
    counts = np.fft.irfft(np.fft.rfft(counts, axis=1) * down, height, axis=1)
    maps = np.fft.irfft(np.fft.rfft(counts, axis=2) * along, width, axis=2)
    return maps.clip(0).astype(np.float32)


def circular_gaussian(sigma, size):
    """A Gaussian of standard deviation `sigma` that sums to 1, cut off at 4 sigma and wrapped into `size` positions."""
    offsets = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.bincount(offsets % size, weights / weights.sum(), size)
