"""TODO"""

import math

import numpy as np
import torch


def pixel_to_sphere(rows, cols, height, width):
    """Latitude in [-pi/2, pi/2] and longitude in [-pi, pi) of pixel positions, radians."""
    return np.pi / 2 - (rows + 0.5) * np.pi / height, (cols + 0.5) * 2 * np.pi / width - np.pi


def sphere_to_pixel(lat, lon, height, width):
    """Rows and columns, pixels, of latitudes and longitudes, radians: the inverse of `pixel_to_sphere`."""
    return (np.pi / 2 - lat) * height / np.pi - 0.5, (lon + np.pi) * width / (2 * np.pi) - 0.5


def pixel_directions(rows, columns, height, width):
    """Unit vectors of the pixels in rows (h,) and columns (w,) of an image of that size: (h, w, 3) float32."""
    lat = np.pi / 2 - (np.asarray(rows) + 0.5)[:, None] * np.pi / height
    lon = (np.asarray(columns) + 0.5) * 2 * np.pi / width - np.pi
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon], axis=-1)
    return vectors.astype(np.float32)


def directions(height, width):
    """Unit vectors of all pixels: (H, W, 3) float32."""
    return pixel_directions(np.arange(height), np.arange(width), height, width)


def direction_to_pixel(direction, height, width):
    """Row and column (real numbers; column in [-1/2, W - 1/2)) of vectors (..., 3) of any length."""
    lat = np.arctan2(direction[..., 2], np.hypot(direction[..., 0], direction[..., 1]))
    lon = np.arctan2(direction[..., 1], direction[..., 0])
    return (np.pi / 2 - lat) * height / np.pi - 0.5, (lon + np.pi) % (2 * np.pi) * width / (2 * np.pi) - 0.5


def solid_angle(height, width):
    """Solid angle of each equirectangular pixel, steradians: (height, width), float64, summing to 4 pi."""
    edges = torch.linspace(0, math.pi, height + 1, dtype=torch.float64)  # colatitude of the rows' edges
    rows = edges[:-1].cos() - edges[1:].cos()
    return (2 * math.pi / width * rows)[:, None].expand(height, width)
