"""An equirectangular image as a picture of the sphere: from pixels to angles and directions, and back.

Row 0 is north. Pixel (r, c) has its centre at lat = pi/2 - (r + 1/2) pi/H, lon = (c + 1/2) 2pi/W - pi, in radians. A
direction is (cos lat cos lon, cos lat sin lon, sin lat): z up, longitude grows to the right as seen from inside.
"""

import math

import numpy as np


def pixel_to_sphere(rows, cols, height, width):
    """Latitude in [-pi/2, pi/2] and longitude in [-pi, pi) of pixel positions, radians."""
    return np.pi / 2 - (rows + 0.5) * np.pi / height, (cols + 0.5) * 2 * np.pi / width - np.pi


def sphere_to_pixel(lat, lon, height, width):
    """Rows and columns, pixels, of latitudes and longitudes, radians: the inverse of `pixel_to_sphere`."""
    return (np.pi / 2 - lat) * height / np.pi - 0.5, (lon + np.pi) * width / (2 * np.pi) - 0.5


def wrap_pixels(rows, cols, height, width):
    """Where an image continues beyond its edges: the rows and columns inside that stand for any integer ones.

    Columns wrap. A row past a pole, by `height` at most, is that row reflected, half a turn away; the width is even.
    """
    beyond_pole = (rows < 0) | (rows >= height)
    inside = np.where(rows < 0, -1 - rows, np.where(rows >= height, 2 * height - 1 - rows, rows))
    return inside, (cols + beyond_pole * (width // 2)) % width


def with_margin(image, margin):
    """An image (H, W) or (H, W, C), continued by `margin` pixels on each side as the sphere goes on: `wrap_pixels`."""
    height, width = image.shape[:2]
    larger = np.pad(image, [(margin, margin)] * 2 + [(0, 0)] * (image.ndim - 2))
    rows, cols = np.nonzero(np.pad(np.zeros((height, width), bool), margin, constant_values=True))
    larger[rows, cols] = image[wrap_pixels(rows - margin, cols - margin, height, width)]
    return larger


def pixel_directions(rows, cols, height, width):
    """Unit vectors of the pixels in rows (h,) and columns (w,) of an image of that size: (h, w, 3) float32."""
    lat, lon = pixel_to_sphere(np.asarray(rows)[:, None], np.asarray(cols), height, width)
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon], axis=-1)
    return vectors.astype(np.float32)


def directions(height, width):
    """Unit vectors of all pixels: (H, W, 3) float32."""
    return pixel_directions(np.arange(height), np.arange(width), height, width)


def direction_to_pixel(direction, height, width):
    """Row and column (real numbers; column in [-1/2, W - 1/2)) of vectors (..., 3) of any length."""
    lat = np.arctan2(direction[..., 2], np.hypot(direction[..., 0], direction[..., 1]))
    lon = np.arctan2(direction[..., 1], direction[..., 0])
    rows, cols = sphere_to_pixel(lat, lon, height, width)
    return rows, (cols + 0.5) % width - 0.5  # longitude pi is -pi


def solid_angle(height, width):
    """Solid angle of each equirectangular pixel, steradians: (height, width), float64, summing to 4 pi."""
    import torch  # not above: it takes seconds and 600 MB, which gaze.py does without

    edges = torch.linspace(0, math.pi, height + 1, dtype=torch.float64)  # colatitude of the rows' edges
    rows = edges[:-1].cos() - edges[1:].cos()
    return (2 * math.pi / width * rows)[:, None].expand(height, width)
