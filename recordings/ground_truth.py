"""From gaze samples to the maps that a model learns and is scored against.

A saliency map is the sum of its samples' Gaussians of great-circle distance. It crosses the seam and the poles as the
sphere does, and widens in pixels toward the poles.
"""

import math

import cv2
import numpy as np

from sphere import pixel_to_sphere, sphere_to_pixel

REACH = 5               # sigmas at which a Gaussian is cut off, at 4e-6 of its height
SAMPLES_AT_A_TIME = 32  # so that their Gaussians stay in the processor's cache
WINDOW_STEP = 4         # columns; the larger, the more samples are computed together
SERIES = (0, 1, 1 / 3, 8 / 45, 4 / 35)  # (angle / 2)^2 in powers of sin^2(angle / 2), for angles up to
SERIES_LIMIT = 1        # radians
# The same in powers of u (down) and of v w (across), whose sum is sin^2(angle / 2): see `gaussians`
SERIES_OF_SUM = np.array([[SERIES[i + j] * math.comb(i + j, j) if i + j < len(SERIES) else 0
                           for j in range(len(SERIES))] for i in range(len(SERIES))])


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


def half_windows(latitude, radius, width):
    """How many columns to either side of a point a cap of `radius` about it can reach, (N,) int64, rounded up to a
    multiple of WINDOW_STEP; half of all columns if the cap holds a pole. latitude (N,): of the points. In radians."""
    sine = np.sin(radius) / np.cos(latitude)
    holds_pole = (np.abs(latitude) + radius >= math.pi / 2) | (sine >= 1)
    reach = np.ceil(np.arcsin(np.where(holds_pole, 1, sine)) * width / (2 * math.pi)) + 1
    half = np.where(holds_pole, width, np.ceil(reach / WINDOW_STEP) * WINDOW_STEP)
    return np.minimum(half, width // 2).astype(np.int64)


def gaussians(longitude, latitude, row_latitude, column_longitude, sigma):
    """Gaussians about N samples, (N, h, w) float32, in rows at latitudes (N, h) and columns at longitudes (N, w).

    With h = sin^2(distance / 2), which is u + v w (the haversine: v and u depend on the row, w on the column), the
    square of the distance is a short series in h. So the exponent is a product of two thin matrices, the powers of u
    and v times those of w: several times as fast as to compute the distance of every pixel.
    """
    across = (np.cos(latitude[:, None]) * np.cos(row_latitude)).astype(np.float32)
    along, turn = (np.sin((difference / 2).astype(np.float32)) ** 2
                   for difference in (latitude[:, None] - row_latitude, column_longitude - longitude[:, None]))
    if REACH * sigma > SERIES_LIMIT:
        haversine = along[:, :, None] + across[:, :, None] * turn[:, None, :]
        exponent = np.square(np.arcsin(np.sqrt(haversine.clip(0, 1)))) * np.float32(-2 / sigma**2)
    else:
        factors = (SERIES_OF_SUM * (-2 / sigma**2)).astype(np.float32)
        exponent = (powers(along) @ factors * powers(across)) @ powers(turn).swapaxes(1, 2)
    rows = exponent.reshape(-1, exponent.shape[2])  # twice as fast as numpy's, which is for two dimensions
    return cv2.exp(rows, dst=rows).reshape(exponent.shape)


def powers(values):
    """The powers 0, 1, ... of values (N, n) float32, as far as SERIES goes: (N, n, len(SERIES))."""
    result = np.ones((*values.shape, len(SERIES)), np.float32)
    for power in range(1, len(SERIES)):
        np.multiply(result[..., power - 1], values, out=result[..., power])
    return result


def saliency_maps(samples, numbers, sigma, height, width):
    """The map of each frame, (T, H, W) float32: the sum of its samples' Gaussians exp(-distance^2 / (2 sigma^2)), with
    sigma in radians. numbers: as for `count_maps`.

    The distance is measured from the sample itself, not from the centre of its pixel. The Gaussians of samples that
    reach equally many columns are computed together; each is then added at its place in a canvas with margins, so that
    no edge cuts it.
    """
    longitude, latitude = np.radians(samples.longitude), np.radians(samples.latitude)
    positions = np.searchsorted(numbers, samples.frame)
    rows, columns = holding_pixels(longitude, latitude, height, width)
    reach = min(height, math.ceil(REACH * sigma * height / math.pi) + 1)
    # pixel (r, c) is at (r + reach, c + width // 2)
    canvases = np.zeros((len(numbers), height + 2 * reach, 2 * width), np.float32)
    halves = half_windows(latitude, REACH * sigma, width)
    for half in np.unique(halves):
        window, here = np.arange(-half, min(half + 1, width - half)), np.flatnonzero(halves == half)
        here = here[np.argsort(positions[here], kind="stable")]
        for part in np.split(here, range(SAMPLES_AT_A_TIME, len(here), SAMPLES_AT_A_TIME)):
            row_latitude, column_longitude = pixel_to_sphere(
                rows[part, None] + np.arange(-reach, reach + 1), columns[part, None] + window, height, width)
            patches = gaussians(longitude[part], latitude[part], row_latitude, column_longitude, sigma)
            corners = zip(*(place[part].tolist() for place in (positions, rows, columns - half + width // 2)))
            for (position, top, left), patch in zip(corners, patches):
                place = canvases[position, top:top + 2 * reach + 1, left:left + len(window)]
                cv2.accumulate(patch, place)  # twice as fast as +=
    sums = canvases[:, reach:-reach]
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
