"""Where the taps of a 3x3 kernel on the sphere read an equirectangular image (paper, section 3.1; the kernels are those
of Coors et al., SphereNet, ECCV 2018). sphere.py states the convention of pixels and angles.

A kernel lies on the plane tangent to the sphere at the output pixel's centre, and its taps are read bilinearly. Where
exactly is the *geometry*, a property of the weights that were trained with it:

exact          the sphere: columns wrap, a row past a pole is that row reflected, half a turn away.
released       the authors' published weights: `atan` for `atan2`, output centres at pixels (stride i, stride j), every
               tap read half a pixel up and left, zero outside the image, at the seam as well.
released_wrap  as released, but columns wrap: the authors' weights without their vertical seam.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sphere import pixel_to_sphere, sphere_to_pixel, wrap_pixels

GEOMETRIES = ("exact", "released", "released_wrap")


def check_sampling(height, width, stride, geometry):
    """Raises ValueError for an unknown geometry or a size that cannot be sampled: half a turn must be whole columns."""
    if geometry not in GEOMETRIES:
        raise ValueError(f"geometry must be one of {', '.join(GEOMETRIES)}, got {geometry!r}")
    if height < 1 or width < 4 or width % 2:
        raise ValueError(f"the image must have at least 1 row and an even width of at least 4, got {height} x {width}")
    if stride < 1 or width % stride:
        raise ValueError(f"stride must be at least 1 and divide the width {width}, got {stride}")


def tangent_taps(lat, dlat, dlon, quadrants):
    """Latitudes, and longitudes relative to the centre, of the taps of 3x3 kernels centred at latitudes `lat` (N,): two
    arrays (N, 3, 3), radians. Axis 1 runs from north to south, axis 2 from west to east.

    dlat, dlon: the angles from one tap to the next. quadrants: False loses the quadrant of the longitude, as the
    authors' code does. This is the inverse gnomonic projection (SphereNet, equations 3 to 6).
    """
    lat = lat[:, None, None]
    south, east = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij")
    x = east * np.tan(dlon)
    y = -south * np.tan(dlat) / np.cos(east * dlon)
    rho = np.hypot(x, y)
    nu = np.arctan(rho)
    rho[1, 1] = 1.0  # the centre, where x = y = nu = 0: anything but 0 / 0
    sin_lat = np.cos(nu) * np.sin(lat) + y * np.sin(nu) * np.cos(lat) / rho
    up, right = rho * np.cos(lat) * np.cos(nu) - y * np.sin(lat) * np.sin(nu), x * np.sin(nu)
    if quadrants:
        up = np.where(np.abs(up) < 1e-12, 0.0, up)  # a tap on the pole itself has any longitude: take its centre's
        lon = np.arctan2(right, up)
    else:
        lon = np.arctan(right / up)
    tap_lat, tap_lon = np.arcsin(np.clip(sin_lat, -1.0, 1.0)), np.broadcast_to(lon, sin_lat.shape).copy()
    tap_lat[:, 1, 1], tap_lon[:, 1, 1] = lat[:, 0, 0], 0.0
    return tap_lat, tap_lon


@lru_cache(maxsize=32)
def column_zero_positions(height, width, stride, geometry):
    """Rows and columns that the taps of the output's column 0 read: two float64 arrays (H_out, 3, 3), in pixels.

    This is the whole sampling: column j reads the same rows, `stride * j` columns further. Columns are not wrapped.
    Rounded to 1e-9 pixels, so that a tap on a pixel's centre reads that pixel and no neighbour with a weight of 1e-16.
    """
    check_sampling(height, width, stride, geometry)
    height_out = -(-height // stride)
    if geometry == "exact":
        lat, _ = pixel_to_sphere(np.arange(height_out), 0, height_out, width // stride)
        first = (stride - 1) / 2  # the coarser grid's first centre, in columns of the finer one
    else:
        lat, _ = pixel_to_sphere(stride * np.arange(height_out), 0, height, width)
        first = 0.0
    tap_lat, tap_lon = tangent_taps(lat, np.pi / height, 2 * np.pi / width, quadrants=geometry == "exact")
    rows, _ = sphere_to_pixel(tap_lat, 0, height, width)
    return np.round(rows, 9), np.round(first + tap_lon * width / (2 * np.pi), 9)


def sampling_grid(height, width, stride, geometry):
    """Where each tap of each output pixel is read: rows and columns, float64 (H_out, W_out, 3, 3), in pixels.

    H_out = ceil(height / stride), W_out = width / stride. Columns lie in [0, width); in the released geometries, whose
    taps are read half a pixel up and left, in [-1/2, width - 1/2). A row may lie up to half a pixel (released: one)
    outside the image. Raises ValueError for an odd width, one below 4, or an unknown geometry.
    """
    rows, cols = column_zero_positions(height, width, stride, geometry)
    starts = stride * np.arange(width // stride, dtype=np.float64)
    half = 0.0 if geometry == "exact" else 0.5
    cols = np.mod(cols[:, None] + starts[:, None, None], width) - half
    return np.broadcast_to(rows[:, None] - half, cols.shape).copy(), cols


class BilinearTaps(NamedTuple):
    """What the taps of the output's column 0 read: four pixels each, in the order NW, NE, SW, SE (the last axis)."""

    row: np.ndarray  # (H_out, 9, 4) int64, in [0, height)
    col: np.ndarray  # (H_out, 9, 4) int64, in [0, width)
    row_weight: np.ndarray  # (H_out, 9, 2) float64: of the northern and the southern row
    col_weight: np.ndarray  # (H_out, 9, 2) float64: of the western and the eastern column
    outside: np.ndarray  # (H_out, 9, 4) int64: the column that this pixel counts as zero in, or -1 where columns wrap

    @property
    def weight(self):
        """The weights of the four pixels: (H_out, 9, 4) float64."""
        return (self.row_weight[..., :, None] * self.col_weight[..., None, :]).reshape(self.row.shape)


@lru_cache(maxsize=32)
def bilinear_taps(height, width, stride, geometry):
    """The `BilinearTaps` of a sampling: bilinear between pixel centres, by the geometry's rules beyond the edges."""
    rows, cols = (position.reshape(-1, 9) for position in column_zero_positions(height, width, stride, geometry))
    half = 0.0 if geometry == "exact" else 0.5
    north, west = np.floor(rows - half).astype(np.int64), np.floor(cols - half).astype(np.int64)
    south_weight, east_weight = rows - half - north, np.round(cols - half - west, 9)
    row = np.stack([north, north, north + 1, north + 1], axis=-1)
    col = np.stack([west, west + 1, west, west + 1], axis=-1)
    row_weight = np.stack([1 - south_weight, south_weight], axis=-1)
    col_weight = np.stack([1 - east_weight, east_weight], axis=-1)
    outside = np.full(row.shape, -1)
    if geometry == "exact":
        row, col = wrap_pixels(row, col, height, width)
    else:
        row_weight[((row < 0) | (row >= height))[..., ::2]] = 0.0
        row, col = np.clip(row, 0, height - 1), col % width
    if geometry == "released":  # a tap on the seam lies on the side of the nearer column: the other one is outside
        near_west = east_weight < 0.5
        outside = np.stack([np.where(near_west, -1, width - 1), np.where(near_west, 0, -1)] * 2, axis=-1)
    return BilinearTaps(row, col, row_weight, col_weight, outside)


class RowTaps(NamedTuple):
    """What `BilinearTaps` says, for kernels that work row by row: arrays (H_out, 9, ...) for the output's column 0."""

    source: np.ndarray  # (H_out, 9, 4) int64: the northern and the southern source row; the western of the two columns
    #                     that are read in the northern row, in [-width / 2, width / 2); how many columns further east
    #                     the southern row is read
    weight: np.ndarray  # (H_out, 9, 4) float32: of the northern and southern row, of the western and eastern column
    span: np.ndarray  # (H_out, 3) int64: the first source row that an output row reads, the last one + 1, and how many
    #                   columns beyond the image's edges
    edge: np.ndarray  # (H_out, 9, 2) int64, or empty where columns wrap: the output column whose tap lies on the seam,
    #                   or -1; and which of its columns is outside, and zero: 0 the western one, 1 the eastern one


@lru_cache(maxsize=32)
def row_taps(height, width, stride, geometry):
    """The `RowTaps` of a sampling. In each row of a kernel, the western and the eastern tap read the same two source
    rows with the same weights: they lie at one latitude."""
    taps = bilinear_taps(height, width, stride, geometry)
    row, (north, south) = taps.row[..., ::2], np.moveaxis(taps.col[..., ::2], -1, 0)
    col = (north + width // 2) % width - width // 2
    beyond = np.maximum(-col, col + 1).max(axis=1).clip(0)
    span = np.stack([row.min(axis=(1, 2)), row.max(axis=(1, 2)) + 1, beyond], axis=-1)
    to_edge = (width - 1 - col) % width  # columns of the source from the tap's column to the image's last
    edge = np.stack([np.where(to_edge % stride, -1, to_edge // stride), taps.outside[..., 0] < 0], axis=-1)
    source = np.stack([row[..., 0], row[..., 1], col, (south - north) % width], axis=-1)
    weight = np.concatenate([taps.row_weight, taps.col_weight], axis=-1).astype(np.float32)
    return RowTaps(source, weight, span, edge if geometry == "released" else edge[:0])
