"""Convolution and max-pooling on the sphere, for equirectangular images (paper, section 3.1). geometry.py says where
their kernels read.

The plain formulation, for every device and type: sampling is linear, so it is a sparse matrix of at most four entries a
row. A convolution multiplies that matrix, a few image rows at a time so that the samples stay in cache, and the kernel;
the nine-fold expanded image never exists, and the backward pass samples again instead of keeping it. On a CPU, in
float32, cpu_layers.py does the same faster.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from kernels import cpu
from kernels.taps import GEOMETRIES, Entries, bilinear_entries, check_sampling, sampling_grid
from kernels.threads import for_each
from sphere import pixel_to_sphere, sphere_to_pixel

__all__ = ["GEOMETRIES", "SphereConv2d", "SphereMaxPool2d", "pixel_to_sphere", "sampling_grid", "sphere_to_pixel"]

TILE_PIXELS = 2560  # handled at a time on a CPU: with 42 channels, 3.9 MB of samples

# ------------------------------------------------------------------------------------------------------------ sampling


class SparseRows(NamedTuple):
    """Rows of a sparse matrix: row n has `weight[k]` in column `column[k]`, k from offsets[n] to offsets[n + 1]."""

    column: torch.Tensor
    offsets: torch.Tensor
    weight: torch.Tensor

    def __matmul__(self, x):
        """(rows, columns) @ (columns, C) -> (rows, C)"""
        return F.embedding_bag(self.column, x, self.offsets, mode="sum", per_sample_weights=self.weight,
                               include_last_offset=True)

    def transposed(self, first, last):
        """Of the transposed matrix the rows from `first` to `last` - 1; the others must be empty."""
        column, offsets = self.column.cpu().numpy(), self.offsets.cpu().numpy()
        weight = self.weight.cpu().double().numpy()
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.argsort(column, kind="stable")
        counts = np.bincount(column - first, minlength=last - first)
        return sparse_rows(row[order], counts, weight[order], self.weight.device, self.weight.dtype)


def sparse_rows(column, counts, weight, device, dtype):
    """`SparseRows` on a device from NumPy arrays; counts: entries in each row."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return SparseRows(*(torch.from_numpy(array.astype(np.int32)).to(device) for array in (column, offsets)),
                      torch.from_numpy(weight).to(device, dtype))


def output_row(i, height, width, stride, geometry):
    """The samples of output row i, from the source's pixels counted row by row: index, counts, weight (NumPy)."""
    entries = Entries(*(entry[i] for entry in bilinear_entries(height, width, stride, geometry)))
    row, col, weight, nearer, edge = entries.row, entries.col, entries.weight, entries.nearer, entries.edge
    used = weight > 0
    col = (col[used] + stride * np.arange(width // stride)[:, None]) % width  # (W_out, entries of one pixel)
    weight = np.broadcast_to(weight[used], col.shape)
    if geometry == "released":  # at the seam the farther of the two columns is outside the image, and zero
        weight = np.where((col == edge[used]) & ~nearer[used], 0.0, weight)
    return (row[used] * width + col).reshape(-1), np.tile(used.sum(axis=1), width // stride), weight.reshape(-1)


@dataclass(frozen=True)
class Tile:
    """Some rows of the output: the pixels from `start` to `stop` - 1, which read source pixels `first` to `last` - 1.

    The matrix samples the image: nine rows for each output pixel, one a tap, and a column for each source pixel. Or, if
    the samples are summed, one row for each output pixel, and nine columns for each source pixel.
    """

    start: int
    stop: int
    first: int
    last: int
    columns_a_pixel: int
    matrix: SparseRows

    @cached_property
    def transposed(self):
        """The matrix's transpose, only the rows of the source pixels that are read. Only training needs it."""
        return self.matrix.transposed(self.columns_a_pixel * self.first, self.columns_a_pixel * self.last)


@lru_cache(maxsize=32)
def sampling(height, width, stride, geometry, device, dtype, summed=False):
    """The sampling of images height x width: list of `Tile`s, on a GPU only one. Cached: modules and frames of one size
    share it."""
    height_out, width_out = -(-height // stride), width // stride
    rows_a_tile = max(1, TILE_PIXELS // width_out) if device.type == "cpu" else height_out
    tiles = []
    for top in range(0, height_out, rows_a_tile):
        bottom = min(top + rows_a_tile, height_out)
        parts = [output_row(i, height, width, stride, geometry) for i in range(top, bottom)]
        column, counts, weight = (np.concatenate(part) for part in zip(*parts))
        first, last = int(column.min()), int(column.max()) + 1
        if summed:
            column = 9 * column + np.repeat(np.arange(len(counts)) % 9, counts)
            counts = counts.reshape(-1, 9).sum(axis=1)
        matrix = sparse_rows(column, counts, weight, device, dtype)
        tiles.append(Tile(top * width_out, bottom * width_out, first, last, 9 if summed else 1, matrix))
    return tiles


def pixels_first(x):
    """(B, C, H, W) -> (B, H * W, C), contiguous; without a copy where x is in channels-last memory."""
    return x.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def channels_first(x, height, width):
    """(B, H * W, C) -> (B, C, H, W), a view in channels-last memory."""
    return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def for_each_tile(work, images, tiles, device):
    """Calls work(b, tile) for every tile of every image b."""
    for_each(lambda piece: work(*piece), [(b, tile) for b in range(images) for tile in tiles], device)


@lru_cache(maxsize=32)
def source_pieces(height, width, *rest, **summed):
    """The source of a `sampling` in pieces: list of (first pixel, last + 1, numbers of the tiles that read them)."""
    tiles = sampling(height, width, *rest, **summed)
    ends = [0, *sorted({tile.first for tile in tiles} - {0}), height * width]
    return [(start, stop, [n for n, tile in enumerate(tiles) if tile.first < stop and start < tile.last])
            for start, stop in pairwise(ends)]


def sum_blocks(block_of, like, tiles, pieces):
    """Images as `like` (B, pixels, C), to whose pixels from tile.first to tile.last - 1 every tile adds
    block_of(b, n, tile). Where tiles overlap the order is fixed, so that the same step always gives the same sum."""
    blocks, images = {}, like.new_empty(like.shape)

    def compute(piece):
        b, n = piece
        blocks[b, n] = block_of(b, n, tiles[n])

    def add(b, piece):
        start, stop, overlapping = piece
        images[b, start:stop] = 0
        for n in overlapping:
            first, last = tiles[n].first, tiles[n].last
            top, bottom = max(start, first), min(stop, last)
            images[b, top:bottom] += blocks[b, n][top - first:bottom - first]

    for_each(compute, [(b, n) for b in range(len(like)) for n in range(len(tiles))], like.device)
    for_each_tile(add, len(like), pieces, like.device)
    return images


def product_type(x):
    """The type that matrix products of x are to be computed in: autocast's on x's device, or else x's own. By itself
    autocast reaches neither into autograd functions of one's own nor into other threads."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def multiply(a, b, dtype, out=None):
    """The matrix product of a and b, computed in `dtype`, in a's type: out, where that is not None."""
    if out is None:
        out = a.new_empty(len(a), b.shape[1])
    if dtype == a.dtype:
        return torch.mm(a, b, out=out)  # with out= autocast keeps its hands off
    return out.copy_(torch.mm(a.to(dtype), b.to(dtype)))


def kernel_of(weight, multiply_first):
    """The weight (O, C, 3, 3) as it multiplies samples, (9 * C, O), or pixels, (C, 9 * O)."""
    O, C = weight.shape[:2]
    kernel = weight.new_empty((C, 9, O) if multiply_first else (9, C, O))
    taps = kernel.transpose(0, 1) if multiply_first else kernel  # (9, C, O)
    for_each(lambda n: taps[n].copy_(weight[:, :, n // 3, n % 3].t()), range(9), weight.device)
    return kernel.flatten(1) if multiply_first else kernel.flatten(0, 1)


def convolve(x, weight, bias, key, dtype, finish, out=None):
    """Calls finish(b, tile, products) for each tile, products: (pixels of the tile, O).

    x: (B, pixels, C), weight: (O, C, 3, 3), bias: (O,); dtype: what products are computed in. They live as long as the
    call of `finish`, or in out: (B, output pixels, O). Whichever of input and output has fewer channels is sampled: the
    two steps commute.
    """
    B, P, C = x.shape
    O = len(weight)
    kernel = kernel_of(weight, multiply_first=O < C)

    def place(b, tile):
        return None if out is None else out[b, tile.start:tile.stop]

    def sample_first(b, tile):
        samples = (tile.matrix @ x[b]).view(tile.stop - tile.start, -1)  # (pixels of the tile, 9 * C)
        finish(b, tile, multiply(samples, kernel, dtype, place(b, tile)).add_(bias))

    def multiply_pixels(b, piece):
        start, stop, _ = piece
        multiply(x[b, start:stop], kernel, dtype, products[b, 9 * start:9 * stop].view(stop - start, -1))

    def multiply_first(b, tile):
        finish(b, tile, torch.add(tile.matrix @ products[b], bias, out=place(b, tile)))

    if O < C:
        products = x.new_empty(B, 9 * P, O)
        for_each_tile(multiply_pixels, B, source_pieces(*key, summed=True), x.device)
        for_each_tile(multiply_first, B, sampling(*key, summed=True), x.device)
    else:
        for_each_tile(sample_first, B, sampling(*key), x.device)


def convolve_backward(x, weight, key, dtype, gradient, first_channel):
    """Gradients of x's channels from `first_channel` on, the weight and the bias.

    gradient(b, tile): that of the tile's products, (pixels of the tile, O). Called once for each tile.
    """
    B, P, C = x.shape
    O = len(weight)
    multiply_first = O < C
    kernel_x = kernel_of(weight[:, first_channel:], multiply_first)
    tiles, pieces = sampling(*key, summed=multiply_first), source_pieces(*key, summed=multiply_first)
    grad_kernels = x.new_empty(B, len(tiles), *((C, 9 * O) if multiply_first else (9 * C, O)))
    grad_biases = x.new_empty(B, len(tiles), O)

    def block_of(b, n, tile):
        grad = gradient(b, tile)
        torch.sum(grad, dim=0, out=grad_biases[b, n])
        if multiply_first:
            grad = (tile.transposed @ grad).view(tile.last - tile.first, -1)  # (source pixels, 9 * O)
            multiply(x[b, tile.first:tile.last].t(), grad, dtype, grad_kernels[b, n])
            return multiply(grad, kernel_x.t(), dtype)
        multiply((tile.matrix @ x[b]).view(len(grad), -1).t(), grad, dtype, grad_kernels[b, n])
        return tile.transposed @ multiply(grad, kernel_x.t(), dtype).view(9 * len(grad), C - first_channel)

    grad_x = sum_blocks(block_of, x[:, :, first_channel:], tiles, pieces)
    grad_kernel = x.new_empty(grad_kernels.shape[2:])

    def sum_rows(rows):
        torch.sum(grad_kernels[:, :, rows], dim=(0, 1), out=grad_kernel[rows])

    for_each(sum_rows, [slice(row, row + 32) for row in range(0, len(grad_kernel), 32)], x.device)
    if multiply_first:
        grad_weight = grad_kernel.view(C, 3, 3, O).permute(3, 0, 1, 2)
    else:
        grad_weight = grad_kernel.view(3, 3, C, O).permute(3, 2, 0, 1)
    return grad_x, grad_weight, grad_biases.sum(dim=(0, 1))


class _SphereConv(torch.autograd.Function):
    """(B, pixels, C), weight (O, C, 3, 3), bias (O,) -> (B, output pixels, O)"""

    @staticmethod
    def forward(ctx, x, weight, bias, key):
        ctx.key, ctx.dtype = key, product_type(x)
        ctx.save_for_backward(x, weight)
        out = x.new_empty(x.shape[0], sampling(*key)[-1].stop, len(weight))
        convolve(x, weight, bias, key, ctx.dtype, lambda b, tile, products: None, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grads = convolve_backward(x, weight, ctx.key, ctx.dtype, lambda b, tile: grad[b, tile.start:tile.stop], 0)
        return *grads, None


class _SphereMaxPool(torch.autograd.Function):
    """(B, pixels, C) -> (B, output pixels, C). Samples that are equally large share the gradient."""

    @staticmethod
    def forward(ctx, x, key):
        ctx.key = key
        ctx.save_for_backward(x)
        tiles = sampling(*key)
        out = x.new_empty(len(x), tiles[-1].stop, x.shape[2])

        def work(b, tile):
            samples = (tile.matrix @ x[b]).unflatten(0, (-1, 9))  # (pixels of the tile, 9, C)
            torch.amax(samples, dim=1, out=out[b, tile.start:tile.stop])

        for_each_tile(work, len(x), tiles, x.device)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors

        def block_of(b, n, tile):
            samples = (tile.matrix @ x[b]).unflatten(0, (-1, 9))
            largest = (samples == samples.amax(dim=1, keepdim=True)).to(grad.dtype)
            share = grad[b, tile.start:tile.stop] / largest.sum(dim=1)
            return tile.transposed @ largest.mul_(share[:, None]).flatten(0, 1)

        return sum_blocks(block_of, x, sampling(*ctx.key), source_pieces(*ctx.key)), None


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

    def forward(self, x):
        B, C, H, W = x.shape
        if self.in_channels != C:
            raise ValueError(f"the input must have {self.in_channels} channels, got {C}")
        bias = x.new_zeros(self.out_channels) if self.bias is None else self.bias
        if self.stride == 1 and cpu.serves(x):
            check_sampling(H, W, 1, self.geometry)
            return cpu.conv(x, self.weight, bias, self.geometry)
        key = H, W, self.stride, self.geometry, x.device, x.dtype
        out = _SphereConv.apply(pixels_first(x), self.weight, bias, key)  # (B, H_out * W_out, O)
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
        if cpu.serves(x):
            return cpu.max_pool(x, self.stride, self.geometry)
        key = H, W, self.stride, self.geometry, x.device, x.dtype
        largest = _SphereMaxPool.apply(pixels_first(x), key)
        return channels_first(largest, -(-H // self.stride), W // self.stride)
