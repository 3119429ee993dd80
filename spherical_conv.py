"""Convolution and max-pooling on the sphere, for equirectangular images (paper, section 3.1; the kernels are those of
Coors et al., SphereNet, ECCV 2018).

Row 0 is north. Pixel (r, c) has its centre at latitude pi/2 - (r + 1/2) pi/H and longitude (c + 1/2) 2pi/W - pi. A 3x3
kernel lies on the plane tangent to the sphere at the output pixel's centre; its taps are read bilinearly. Where exactly
is the *geometry*, a property of the weights that were trained with it:

exact          the sphere: columns wrap, a row past a pole is that row reflected, half a turn away.
released       the authors' published weights: `atan` for `atan2`, output centres at pixels (stride i, stride j), every
               tap read half a pixel up and left, zero outside the image, at the seam as well.
released_wrap  as released, but columns wrap: the authors' weights without their vertical seam.

Sampling is linear, so it is a sparse matrix of at most four entries a row. A convolution multiplies that matrix, a few
image rows at a time so that the samples stay in cache, and the kernel; the nine-fold expanded image never exists, and
the backward pass samples again instead of keeping it.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

GEOMETRIES = ("exact", "released", "released_wrap")
TILE_PIXELS = 2560  # output pixels sampled at a time on a CPU: with 42 channels, 3.9 MB of samples

# ------------------------------------------------------------------------------------------------------------ geometry


def check_sampling(height, width, stride, geometry):
    """Raises ValueError for an unknown geometry or a size that cannot be sampled: half a turn must be whole columns."""
    if geometry not in GEOMETRIES:
        raise ValueError(f"geometry must be one of {', '.join(GEOMETRIES)}, got {geometry!r}")
    if height < 1 or width < 4 or width % 2:
        raise ValueError(f"the image must have at least 1 row and an even width of at least 4, got {height} x {width}")
    if stride < 1 or width % stride:
        raise ValueError(f"stride must be at least 1 and divide the width {width}, got {stride}")


def pixel_to_sphere(rows, cols, height, width):
    """Latitude in [-pi/2, pi/2] and longitude in [-pi, pi) of pixel positions, radians."""
    return np.pi / 2 - (rows + 0.5) * np.pi / height, (cols + 0.5) * 2 * np.pi / width - np.pi


def sphere_to_pixel(lat, lon, height, width):
    """Rows and columns, pixels, of latitudes and longitudes, radians: the inverse of `pixel_to_sphere`."""
    return (np.pi / 2 - lat) * height / np.pi - 0.5, (lon + np.pi) * width / (2 * np.pi) - 0.5


def tangent_taps(lat, dlat, dlon, quadrants):
    """Where the taps of 3x3 kernels centred at latitudes `lat` (N,) fall: latitudes and longitudes relative to the
    centre, both (N, 3, 3), radians; axis 1 runs from north to south, axis 2 from west to east.

    dlat, dlon: angle from one tap to the next. quadrants: False loses the quadrant of the longitude, as the authors'
    code does. The inverse gnomonic projection (SphereNet, equations 3 to 6).
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
    lon = np.arctan2(right, up) if quadrants else np.arctan(right / up)
    tap_lat, tap_lon = np.arcsin(np.clip(sin_lat, -1.0, 1.0)), np.broadcast_to(lon, sin_lat.shape).copy()
    tap_lat[:, 1, 1], tap_lon[:, 1, 1] = lat[:, 0, 0], 0.0
    return tap_lat, tap_lon


@lru_cache(maxsize=32)
def row_positions(height, width, stride, geometry):
    """The row of every tap, and its column for the output's column 0: two float64 arrays (H_out, 3, 3), in pixels.

    All of the sampling: column j reads the same rows, `stride * j` columns further. The columns are not wrapped.
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
    rows, cols = row_positions(height, width, stride, geometry)
    starts = stride * np.arange(width // stride, dtype=np.float64)
    half = 0.0 if geometry == "exact" else 0.5
    cols = np.mod(cols[:, None] + starts[:, None, None], width) - half
    return np.broadcast_to(rows[:, None] - half, cols.shape).copy(), cols


class Entries(NamedTuple):
    """What the taps of the output's column 0 read: arrays (H_out, 9, 4), the four neighbours of each tap last."""

    row: np.ndarray  # of the source, int64
    col: np.ndarray  # int64, not wrapped
    weight: np.ndarray  # float64
    nearer: np.ndarray  # bool: of the pair of columns between which the tap lies, the nearer one
    edge: np.ndarray  # int64: the source column in which that pair straddles the seam


@lru_cache(maxsize=32)
def bilinear_entries(height, width, stride, geometry):
    """The `Entries` of a sampling: bilinear between pixel centres, by the geometry's rules beyond the poles."""
    rows, cols = (position.reshape(-1, 9) for position in row_positions(height, width, stride, geometry))
    half = 0.0 if geometry == "exact" else 0.5
    north, west = np.floor(rows - half).astype(np.int64), np.floor(cols - half).astype(np.int64)
    south_weight, east_weight = rows - half - north, np.round(cols - half - west, 9)
    row = np.stack([north, north, north + 1, north + 1], axis=-1)
    col = np.stack([west, west + 1, west, west + 1], axis=-1)
    weight = (np.stack([1 - south_weight, 1 - south_weight, south_weight, south_weight], axis=-1)
              * np.stack([1 - east_weight, east_weight, 1 - east_weight, east_weight], axis=-1))
    nearer = np.stack([east_weight < 0.5, east_weight >= 0.5] * 2, axis=-1)
    edge = np.broadcast_to([width - 1, 0, width - 1, 0], row.shape)
    beyond_pole = (row < 0) | (row >= height)
    if geometry == "exact":
        col += beyond_pole * (width // 2)  # the same row again, half a turn away
    else:
        weight[beyond_pole] = 0.0
    return Entries(np.clip(row, 0, height - 1), col, weight, nearer, edge)


# ------------------------------------------------------------------------------------------------------------ sampling


class SparseRows(NamedTuple):
    """Rows of a sparse matrix: row n has `weight[k]` in column `index[k]`, k from offsets[n] to offsets[n + 1]."""

    index: torch.Tensor
    offsets: torch.Tensor
    weight: torch.Tensor

    def __matmul__(self, x):
        """(rows, columns) @ (columns, C) -> (rows, C)"""
        return F.embedding_bag(self.index, x, self.offsets, mode="sum", per_sample_weights=self.weight,
                               include_last_offset=True)


def sparse_rows(index, counts, weight, device, dtype):
    """`SparseRows` on a device from NumPy arrays; counts: entries in each row."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return SparseRows(*(torch.from_numpy(array.astype(np.int32)).to(device) for array in (index, offsets)),
                      torch.from_numpy(weight).to(device, dtype))


def output_row(i, height, width, stride, geometry):
    """The samples of output row i, from the source's pixels counted row by row: index, counts, weight (NumPy)."""
    row, col, weight, nearer, edge = (entry[i] for entry in bilinear_entries(height, width, stride, geometry))
    used = weight > 0
    col = (col[used] + stride * np.arange(width // stride)[:, None]) % width  # (W_out, entries of one pixel)
    weight = np.broadcast_to(weight[used], col.shape)
    if geometry == "released":  # at the seam the farther of the two columns is outside the image, and zero
        weight = np.where((col == edge[used]) & ~nearer[used], 0.0, weight)
    return (row[used] * width + col).reshape(-1), np.tile(used.sum(axis=1), width // stride), weight.reshape(-1)


class Sampling(NamedTuple):
    """The sampling of one size, stride and geometry on one device in one dtype."""

    height: int  # of the output
    width: int
    tiles: list  # of (first output pixel, last + 1, SparseRows of their 9 samples each)


@lru_cache(maxsize=16)
def sampling(height, width, stride, geometry, device, dtype):
    """The `Sampling` of images height x width. Cached: modules and frames of one size share it."""
    height_out, width_out = -(-height // stride), width // stride
    rows_a_tile = max(1, TILE_PIXELS // width_out) if device.type == "cpu" else height_out
    tiles = []
    for top in range(0, height_out, rows_a_tile):
        bottom = min(top + rows_a_tile, height_out)
        parts = [output_row(i, height, width, stride, geometry) for i in range(top, bottom)]
        table = sparse_rows(*(np.concatenate(part) for part in zip(*parts)), device, dtype)
        tiles.append((top * width_out, bottom * width_out, table))
    return Sampling(height_out, width_out, tiles)


@lru_cache(maxsize=16)
def sampling_adjoint(height, width, stride, geometry, device, dtype):
    """`SparseRows` of the transpose: the source's pixels from all samples of the output. Only training needs it."""
    parts = [output_row(i, height, width, stride, geometry) for i in range(-(-height // stride))]
    index, counts, weight = (np.concatenate(part) for part in zip(*parts))
    order = np.argsort(index, kind="stable")
    sample = np.repeat(np.arange(len(counts)), counts)[order]
    return sparse_rows(sample, np.bincount(index, minlength=height * width), weight[order], device, dtype)


def pixels_first(x):
    """(B, C, H, W) -> (B, H * W, C), contiguous; without a copy where x is in channels-last memory."""
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def channels_first(x, height, width):
    """(B, H * W, C) -> (B, C, H, W), a view in channels-last memory."""
    return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)


class _Sample(torch.autograd.Function):
    """(B, pixels, C) -> (B, output pixels, 9, C)"""

    @staticmethod
    def forward(ctx, x, key):
        ctx.key = key
        table = sampling(*key)
        samples = x.new_empty(x.shape[0], table.height * table.width, 9, x.shape[2])
        for image, out in zip(x, samples):
            for start, stop, rows in table.tiles:
                out[start:stop] = (rows @ image).unflatten(0, (-1, 9))
        return samples

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        adjoint = sampling_adjoint(*ctx.key)
        return torch.stack([adjoint @ image.flatten(0, 1) for image in grad.contiguous()]), None


class _SphereConv(torch.autograd.Function):
    """(B, pixels, C), kernel (9 * C, O), bias (O,) -> (B, output pixels, O)"""

    @staticmethod
    def forward(ctx, x, kernel, bias, key):
        ctx.key = key
        ctx.save_for_backward(x, kernel)
        table = sampling(*key)
        out = x.new_empty(x.shape[0], table.height * table.width, kernel.shape[1])
        for image, result in zip(x, out):
            for start, stop, rows in table.tiles:
                torch.addmm(bias, (rows @ image).view(stop - start, -1), kernel, out=result[start:stop])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, kernel = ctx.saved_tensors
        table = sampling(*ctx.key)
        needs_x, needs_kernel, needs_bias, _ = ctx.needs_input_grad
        grad = grad.contiguous()
        grad_x = torch.empty_like(x) if needs_x else None
        grad_kernel = torch.zeros_like(kernel) if needs_kernel else None
        if needs_x:
            grad_samples = x.new_empty(9 * table.height * table.width, x.shape[2])
        for b, (image, grad_out) in enumerate(zip(x, grad)):
            for start, stop, rows in table.tiles:
                if needs_kernel:
                    grad_kernel.addmm_((rows @ image).view(stop - start, -1).t(), grad_out[start:stop])
                if needs_x:
                    tile = grad_samples[9 * start:9 * stop].view(stop - start, -1)
                    torch.mm(grad_out[start:stop], kernel.t(), out=tile)
            if needs_x:
                grad_x[b] = sampling_adjoint(*ctx.key) @ grad_samples
        return grad_x, grad_kernel, grad.sum(dim=(0, 1)) if needs_bias else None, None


# ------------------------------------------------------------------------------------------------------------- modules


class SphereConv2d(nn.Module):
    """3x3 convolution on the sphere: (B, C, H, W) -> (B, O, ceil(H / stride), W / stride), channels last in memory.

    weight (O, C, 3, 3): axis 2 from north to south, axis 3 from west to east. Width even and at least 4.
    """

    def __init__(self, in_channels, out_channels, stride, bias, geometry):
        super().__init__()
        check_sampling(1, 4, 1, geometry)
        self.in_channels, self.out_channels, self.stride, self.geometry = in_channels, out_channels, stride, geometry
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Kaiming-uniform with a = sqrt 5, as torch's own convolutions and the authors'; biases start from zero."""
        nn.init.kaiming_uniform_(self.weight, a=5 ** 0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self):
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}, geometry={self.geometry!r}"

    def kernel(self):
        """The weight as it multiplies samples: (9 * C, O)."""
        return self.weight.permute(2, 3, 1, 0).flatten(0, 2)

    def forward(self, x):
        B, C, H, W = x.shape
        if self.in_channels != C:
            raise ValueError(f"the input must have {self.in_channels} channels, got {C}")
        key = H, W, self.stride, self.geometry, x.device, x.dtype
        bias = x.new_zeros(self.out_channels) if self.bias is None else self.bias
        out = _SphereConv.apply(pixels_first(x), self.kernel(), bias, key)  # (B, H_out * W_out, O)
        return channels_first(out, -(-H // self.stride), W // self.stride)


class SphereMaxPool2d(nn.Module):
    """The largest of a 3x3 kernel's nine taps: (B, C, H, W) -> (B, C, ceil(H / stride), W / stride)."""

    def __init__(self, stride, geometry):
        super().__init__()
        check_sampling(1, 4, 1, geometry)
        self.stride, self.geometry = stride, geometry

    def extra_repr(self):
        return f"stride={self.stride}, geometry={self.geometry!r}"

    def forward(self, x):
        B, C, H, W = x.shape
        samples = _Sample.apply(pixels_first(x), (H, W, self.stride, self.geometry, x.device, x.dtype))
        largest = samples.max(dim=2).values  # (B, H_out * W_out, C)
        return channels_first(largest, -(-H // self.stride), W // self.stride)
