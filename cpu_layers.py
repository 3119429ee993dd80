"""The layers on a CPU, in float32: rows of the output are sampled, multiplied and activated a few at a time, so that
what is between lies in a core's cache, and nothing nine-fold is ever kept; the backward pass samples again.

What goes in and comes out is (B, C, H, W), as everywhere; in memory it is row by row, (B, H, C, W), and is copied where
it is not. The plain formulation of the same, for every device and type, is in spherical_conv and fused; where numba is
missing, it serves here as well.
"""

import ctypes
import platform
from collections import defaultdict
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from geometry import row_taps
from products import add_product, multiplier, product_type
from threads import for_each, scratch

try:
    import cpu_kernels
except ImportError:
    cpu_kernels = None

PIECE_SAMPLES = 400_000  # handled at a time, 1.6 MB: fewer cost time by their number, more no longer lie in a cache
FEWEST_PIECES = 8  # of an image, where it has so many rows: for as many threads
TILE_PIXELS = 1920  # whose gradients are added up by one thread


def serves(x):
    """Whether these layers take x."""
    return cpu_kernels is not None and x.device.type == "cpu" and x.dtype == torch.float32


# ------------------------------------------------------------------------------------------------------------ sampling


@lru_cache
def kernels(stride):
    """`cpu_kernels.sampler`, once for each stride."""
    return cpu_kernels.sampler(stride)


def sample(images, taps, top, bottom, out, stride=1):
    """Fills out (9 for each channel, pixels) with the taps of output rows top to bottom - 1. images: a tuple,
    (H, C, W) each; all NumPy."""
    kernels(stride)[0](images, *taps, top, bottom, out, images[0].shape[2])


def spread(grad, taps, top, bottom, images, stride=1):
    """The transpose of `sample`: adds to the images what a gradient of the taps passes on."""
    kernels(stride)[1](grad, *taps, top, bottom, images, images[0].shape[2])


def row_by_row(x):
    """(B, C, H, W) -> (B, H, C, W), contiguous; without a copy where x is so in memory. Its own inverse."""
    rows = x.transpose(1, 2)
    if rows.is_contiguous() or rows.requires_grad:
        return rows.contiguous()
    copy, pieces = torch.empty(rows.shape), split(range(rows.shape[1]), 16)  # torch's own threads would go on spinning
    for_each(lambda piece: copy[:, slice(*piece)].copy_(rows[:, slice(*piece)]), pieces, x.device)
    return copy


def by_image(tensors):
    """For each image of a batch a tuple of what it has in each of the tensors (B, ...): NumPy views of them."""
    return list(zip(*(tensor.detach().numpy() for tensor in tensors)))


# -------------------------------------------------------------------------------------------------------------- pieces


def split(rows, rows_a_piece):
    """(first, last + 1) of pieces of a range of rows."""
    return [(row, min(row + rows_a_piece, rows.stop)) for row in range(rows.start, rows.stop, rows_a_piece)]


def split_image(height, width, channels):
    """(first row, last + 1) of the pieces of an image, nine samples of each channel in a pixel."""
    return split(range(height), max(1, min(PIECE_SAMPLES // (9 * channels * width), height // FEWEST_PIECES)))


@lru_cache(maxsize=32)
def split_tiles(height, width, channels, stride, geometry):
    """Two lists of tiles, each a list of consecutive pieces of the output; no two tiles of one list read the same rows.
    One after the other, the lists can add to the rows that they read on many threads, and always in the same order."""
    taps, width = row_taps(height, width, stride, geometry), width // stride
    pieces = split_image(len(taps.span), width, channels)
    count = -(-TILE_PIXELS // (pieces[0][1] * width))
    while True:
        tiles = [pieces[first:last] for first, last in split(range(len(pieces)), count)]
        spans = [taps.span[tile[0][0]:tile[-1][1]] for tile in tiles]
        if all(span[:, 1].max() <= other[:, 0].min() for span, other in zip(spans, spans[2:])):
            return tiles[::2], tiles[1::2]
        count += 1


def for_each_tile(work, tiles, images, device):
    """Calls work(part, b, n) for tiles[part][n] of every image b, one part of the tiles after the other."""
    for part in (0, 1):
        pieces = [(part, b, n) for b in range(images) for n in range(len(tiles[part]))]
        for_each(lambda piece: work(*piece), pieces, device)


# --------------------------------------------------------------------------------------------------------- convolution


def convolve(sources, weight, bias, geometry, dtype, finish, out=None):
    """Convolves the sources' channels, images (B, H, C, W), a few rows at a time.

    Calls finish(b, top, bottom, products) for rows top to bottom - 1 of image b, with products (O, pixels). They live
    as long as the call, or in out: (B, O * H * W), in blocks as `block` returns them.
    """
    B, H, _, W = sources[0].shape
    taps, images, channels = row_taps(H, W, 1, geometry), by_image(sources), weight.shape[1]
    kernel = np.concatenate([weight.detach().numpy().reshape(len(weight), -1), bias.detach().numpy()[:, None]], axis=1)
    multiply = multiplier(kernel, dtype)
    out = None if out is None else out.numpy()

    def work(piece):
        b, (top, bottom) = piece
        place = None if out is None else block(out[b], len(weight), top * W, bottom * W)
        finish(b, top, bottom, multiply(samples_and_one(images[b], channels, taps, top, bottom, W), place))

    pieces = split_image(H, W, channels)
    for_each(work, [(b, rows) for b in range(B) for rows in pieces], weight.device)


def samples_and_one(images, channels, taps, top, bottom, W):
    """The taps of these rows, then ones for the bias: (9 * channels + 1, pixels), until the thread's next."""
    samples = scratch.of("samples", 9 * channels + 1, (bottom - top) * W)
    sample(images, taps, top, bottom, samples)
    samples[-1] = 1
    return samples


def block(values, channels, start, stop):
    """Where values (channels * H * W,) have those of pixels start to stop - 1 of a piece: (channels, pixels)."""
    return values[channels * start:channels * stop].reshape(channels, stop - start)


def convolve_backward(sources, weight, geometry, dtype, gradient, first_source):
    """Gradients of the sources from first_source on, of the weight and of the bias.

    gradient(b, top, bottom): that of the products of these rows, (O, pixels), asked for once for each row.
    """
    B, H, _, W = sources[0].shape
    O, C = weight.shape[:2]
    taps, tiles, images = row_taps(H, W, 1, geometry), split_tiles(H, W, C, 1, geometry), by_image(sources)
    grads = [zeros_like(source) for source in sources[first_source:]]
    receivers = by_image(grads)
    skipped = sum(source.shape[2] for source in sources[:first_source])
    multiply = multiplier(np.ascontiguousarray(weight.detach().numpy()[:, skipped:].reshape(O, -1).T), dtype)
    grad_kernels = weight.new_empty(B, sum(map(len, tiles)), 9 * C + 1, O)
    of_tiles = grad_kernels.numpy()

    def work(part, b, n):
        grad_kernel = of_tiles[b, n + part * len(tiles[0])]
        grad_kernel[:] = 0
        for top, bottom in tiles[part][n]:
            grad = gradient(b, top, bottom)
            add_product(grad_kernel, samples_and_one(images[b], C, taps, top, bottom, W), grad, dtype)
            spread(multiply(grad), taps, top, bottom, receivers[b])

    for_each_tile(work, tiles, B, weight.device)
    grad_kernel = weight.new_empty(9 * C + 1, O)

    def sum_rows(rows):
        torch.sum(grad_kernels[:, :, rows], dim=(0, 1), out=grad_kernel[rows])

    for_each(sum_rows, [slice(*rows) for rows in split(range(9 * C + 1), 64)], weight.device)
    grad_weight = np.ascontiguousarray(grad_kernel[:-1].numpy().T).reshape(weight.shape)
    return grads, torch.from_numpy(grad_weight), grad_kernel[-1]


def zeros_like(images):
    """Zeros, in the shape of images (B, H, C, W)."""
    zeros, pieces = torch.empty_like(images), split(range(images.shape[1]), 16)
    for_each(lambda rows: zeros[:, slice(*rows)].zero_(), pieces, images.device)
    return zeros


# ----------------------------------------------------------------------------------------------------------- LSTM step


def lstm_step(x, hidden, cell, weight, bias, geometry):
    """See `fused.lstm_step`."""
    tensors = row_by_row(x), row_by_row(hidden), row_by_row(cell), weight, bias
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        keep_freed_memory()
        state = _LSTMStep.apply(*tensors, geometry, product_type(x))
    else:
        state = advance(*tensors, geometry, product_type(x))
    return tuple(values.transpose(1, 2) for values in state)


def advance(x, hidden, cell, weight, bias, geometry, dtype, gates=None):
    """The next state, row by row; also fills gates (B, 4 * hidden * H * W), activated, where they are to be kept."""
    next_state, W = (torch.empty_like(cell), torch.empty_like(cell)), x.shape[3]
    states = by_image([cell, *next_state])

    def finish(b, top, bottom, products):
        cpu_kernels.advance(products, *states[b], top, bottom, W)

    convolve((x, hidden), weight, bias, geometry, dtype, finish, gates)
    return next_state


class _LSTMStep(torch.autograd.Function):
    """See `fused.lstm_step`; images row by row."""

    @staticmethod
    def forward(ctx, x, hidden, cell, weight, bias, geometry, dtype):
        B, H, _, W = x.shape
        ctx.geometry, ctx.dtype, ctx.gates = geometry, dtype, Lent(B, len(bias) * H * W)
        next_state = advance(x, hidden, cell, weight, bias, geometry, dtype, ctx.gates.memory)
        ctx.save_for_backward(x, hidden, cell, weight, next_state[1])
        return next_state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_hidden, grad_cell):
        x, hidden, cell, weight, next_cell = ctx.saved_tensors
        gates, channels, W, grad_before = ctx.gates.memory.numpy(), len(weight), x.shape[3], torch.empty_like(cell)
        grads = grad_hidden.contiguous(), grad_cell.contiguous(), grad_before
        states = by_image([cell, next_cell, *grads])

        def gradient(b, top, bottom):
            grad_gates = scratch.of("gradient", channels, (bottom - top) * W)
            here = block(gates[b], channels, top * W, bottom * W)
            cpu_kernels.retreat(here, *states[b], top, bottom, grad_gates, W)
            return grad_gates

        first = 0 if ctx.needs_input_grad[0] else 1
        grads, grad_weight, grad_bias = convolve_backward((x, hidden), weight, ctx.geometry, ctx.dtype, gradient, first)
        return *[None] * first, *grads, grad_before, grad_weight, grad_bias, None, None


@lru_cache
def keep_freed_memory():
    """Has the C library keep what is freed for what is needed next, up to 1 GB. By itself it gives most of it back, and
    takes it again from the system, which fills every page with zeros: a twentieth of a training step."""
    if platform.system() == "Linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):  # not in every C library
        trim_threshold, mmap_threshold = -1, -3
        library.mallopt(trim_threshold, 1 << 30)
        library.mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes


class Lent:
    """Memory (float32, of that shape) which goes back for the next one to use when nobody holds this any more: half a
    training step's memory, and a tenth of its time if it came from the system anew each time."""

    returned: ClassVar = defaultdict(list)

    def __init__(self, *shape):
        if not self.returned[shape]:
            self.returned.clear()  # of other sizes: no longer needed, as it seems
        self.memory = self.returned[shape].pop() if self.returned[shape] else torch.empty(shape)
        self.shape = shape

    def __del__(self):
        if hasattr(self, "shape"):  # not where there was no memory to be had
            self.returned[self.shape].append(self.memory)


# -------------------------------------------------------------------------------------------------------------- layers


def conv(x, weight, bias, geometry):
    """A convolution of stride 1: (B, C, H, W), weight (O, C, 3, 3), bias (O,) -> (B, O, H, W)"""
    return _Conv.apply(row_by_row(x), weight, bias, geometry, product_type(x)).transpose(1, 2)


class _Conv(torch.autograd.Function):
    """See `conv`; images row by row."""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry, dtype):
        B, H, _, W = x.shape
        ctx.geometry, ctx.dtype = geometry, dtype
        ctx.save_for_backward(x, weight)
        out = x.new_empty(B, H, len(weight), W)
        images = out.numpy()

        def finish(b, top, bottom, products):
            images[b, top:bottom] = products.reshape(len(weight), -1, W).swapaxes(0, 1)

        convolve((x,), weight, bias, geometry, dtype, finish)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        images = grad.numpy()

        def gradient(b, top, bottom):
            return np.ascontiguousarray(images[b, top:bottom].swapaxes(0, 1)).reshape(len(weight), -1)

        (grad_x,), *rest = convolve_backward((x,), weight, ctx.geometry, ctx.dtype, gradient, 0)
        return grad_x, *rest, None, None


def max_pool(x, stride, geometry):
    """(B, C, H, W) -> (B, C, ceil(H / stride), W / stride). Taps that are equally large share the gradient."""
    return _MaxPool.apply(row_by_row(x), stride, geometry).transpose(1, 2)


class _MaxPool(torch.autograd.Function):
    """See `max_pool`; images row by row."""

    @staticmethod
    def forward(ctx, x, stride, geometry):
        B, H, C, W = x.shape
        ctx.stride, ctx.geometry = stride, geometry
        ctx.save_for_backward(x)
        taps, n = row_taps(H, W, stride, geometry), W // stride
        out = x.new_empty(B, len(taps.span), C, n)
        images = by_image((x, out))

        def work(piece):
            b, (top, bottom) = piece
            image, pooled = images[b]
            samples = scratch.of("samples", 9 * C, (bottom - top) * n)
            sample((image,), taps, top, bottom, samples, stride)
            cpu_kernels.find_largest(samples, pooled[top:bottom], n)

        pieces = split_image(len(taps.span), n, C)
        for_each(work, [(b, rows) for b in range(B) for rows in pieces], x.device)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        B, H, C, W = x.shape
        taps, tiles = row_taps(H, W, ctx.stride, ctx.geometry), split_tiles(H, W, C, ctx.stride, ctx.geometry)
        grad_x, n = zeros_like(x), W // ctx.stride
        images = by_image((x, grad.contiguous(), grad_x))

        def work(part, b, number):
            image, given, receiver = images[b]
            for top, bottom in tiles[part][number]:
                samples = scratch.of("samples", 9 * C, (bottom - top) * n)
                sample((image,), taps, top, bottom, samples, ctx.stride)
                cpu_kernels.share_out(samples, given[top:bottom], n)
                spread(samples, taps, top, bottom, (receiver,), ctx.stride)

        for_each_tile(work, tiles, B, x.device)
        return grad_x, None, None
