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
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from kernels import cpu_lstm
from kernels.gemm import COLUMNS, PIXELS, ROWS, pack, padded
from kernels.taps import row_taps
from kernels.threads import for_each, scratch

try:
    import cpu_kernels
    from products import COLUMNS, PIXELS, ROWS, pack, padded
except ImportError:
    cpu_kernels = None

PIECE_SAMPLES = 100_000  # handled at a time, 0.4 MB: more no longer lie in a cache of one core
FEWEST_PIECES = 8  # of an image, where it has so many rows: for as many threads
TILE_PIXELS = 1920  # whose gradients are added up by one thread


def serves(x):
    """Whether these layers take x."""
    return (cpu_kernels is not None and x.device.type == "cpu" and x.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu"))


def row_by_row(x):
    """(B, C, H, W) -> (B, H, C, W), contiguous; without a copy where x is so in memory. Its own inverse."""
    rows = x.transpose(1, 2)
    if rows.is_contiguous() or rows.requires_grad:
        return rows.contiguous()
    return torch.from_numpy(np.ascontiguousarray(rows.numpy()))  # torch's own threads would go on spinning


def zeros_like(images):
    """Zeros, in the shape of images (B, H, C, W)."""
    zeros, parts = torch.empty_like(images), split(range(images.shape[1]), 16)
    for_each(lambda part: zeros[:, slice(*part)].zero_(), parts, images.device)
    return zeros


def by_image(tensors):
    """For each image of a batch a tuple of what it has in each of the tensors (B, ...): NumPy views of them."""
    return list(zip(*(tensor.detach().numpy() for tensor in tensors)))


# -------------------------------------------------------------------------------------------------------------- pieces


class Pieces(NamedTuple):
    """Of an output image, handled one at a time."""

    count: int
    rows: int  # of each; the last one may have fewer
    columns: int  # of memory: at least the pixels of each


def split(numbers, step):
    """(first, last + 1) of parts of a range."""
    return [(number, min(number + step, numbers.stop)) for number in range(numbers.start, numbers.stop, step)]


def split_image(height, width, channels):
    """The `Pieces` of an output image, with nine samples of each channel in a pixel."""
    rows = max(1, min(PIECE_SAMPLES // (9 * channels * width), height // FEWEST_PIECES))
    return Pieces(-(-height // rows), rows, padded(rows * width, PIXELS))


def for_each_part(work, pieces, images, device):
    """Calls work(b, first, last) for several of the pieces at a time, first to last - 1, of every image b: four times
    for each thread, so that none waits long for the last one, and no more, since Python hands them out."""
    parts = split(range(pieces.count), max(1, pieces.count // (4 * torch.get_num_threads())))
    for_each(lambda turn: work(*turn), [(b, *part) for b in range(images) for part in parts], device)


@lru_cache(maxsize=32)
def split_tiles(height, width, channels, stride, geometry):
    """Two lists of tiles: (first, last + 1) of consecutive pieces of the output each; no two tiles of one list read the
    same rows. One after the other, the lists can add to the rows that they read on many threads, and always in the same
    order."""
    span, width = row_taps(height, width, stride, geometry).span, width // stride
    pieces = split_image(len(span), width, channels)
    count = -(-TILE_PIXELS // (pieces.rows * width))
    while True:
        tiles = split(range(pieces.count), count)
        spans = [span[first * pieces.rows:last * pieces.rows] for first, last in tiles]
        if all(one[:, 1].max() <= other[:, 0].min() for one, other in zip(spans, spans[2:])):
            return tiles[::2], tiles[1::2]
        count += 1


def for_each_tile(work, tiles, images, device):
    """Calls work(b, n, first, last) for tile n, of both lists one after the other, of every image b."""
    numbered = [(n, *tile) for n, tile in enumerate(tiles[0] + tiles[1])]
    for part in (numbered[:len(tiles[0])], numbered[len(tiles[0]):]):
        for_each(lambda turn: work(*turn), [(b, *tile) for b in range(images) for tile in part], device)


# --------------------------------------------------------------------------------------------------------- convolution


def convolve(sources, weight, bias, geometry, work):
    """Convolves the sources' channels, images (B, H, C, W).

    Calls work(b, given, products, first, last, rows) for pieces first to last - 1, all in turns, of every image b, with
    what `cpu_kernels` is given, up to the samples, and with memory for the products of one piece.
    """
    B, H, _, W = sources[0].shape
    images, taps, pieces = by_image(sources), tuple(row_taps(H, W, 1, geometry)), split_image(H, W, weight.shape[1])
    kernel = np.concatenate([weight.detach().numpy().reshape(len(weight), -1), bias.detach().numpy()[:, None]], axis=1)
    packed = pack(kernel)

    def take(b, first, last):
        samples = scratch.of("samples", padded(kernel.shape[1], ROWS), pieces.columns)
        products = scratch.of("products", len(weight), pieces.columns)[None]
        work(b, (images[b], taps, packed, samples), products, first, last, pieces.rows)

    for_each_part(take, pieces, B, weight.device)


def convolve_backward(sources, weight, geometry, first_source, work):
    """Gradients of the sources from first_source on, of the weight and of the bias.

    Calls work(b, given, memory, first, last, rows) for the pieces of every tile of every image b, with what
    `cpu_kernels` is given, up to the samples, and from the gradient on.
    """
    B, H, _, W = sources[0].shape
    O, C = weight.shape[:2]
    images, taps, pieces = by_image(sources), tuple(row_taps(H, W, 1, geometry)), split_image(H, W, C)
    grads, tiles = [zeros_like(source) for source in sources[first_source:]], split_tiles(H, W, C, 1, geometry)
    receivers, skipped = by_image(grads), sum(source.shape[2] for source in sources[:first_source])
    packed = pack(weight.detach().numpy()[:, skipped:].reshape(O, -1).T)
    lines, columns = padded(9 * C + 1, ROWS), padded(O, COLUMNS)
    grad_kernels = weight.new_empty(B, sum(map(len, tiles)), lines, columns)
    of_tiles = grad_kernels.numpy()

    def take(b, n, first, last):
        of_tiles[b, n] = 0
        samples = scratch.of("samples", lines, pieces.columns)
        gradient = scratch.of("gradient", columns, pieces.columns)
        passed_on = scratch.of("passed on", 9 * (C - skipped), pieces.columns)
        work(b, (images[b], taps, packed, samples), (gradient, of_tiles[b, n], passed_on, receivers[b]), first, last,
             pieces.rows)

    for_each_tile(take, tiles, B, weight.device)
    grad_kernel = weight.new_empty(lines, columns)

    def sum_lines(part):
        torch.sum(grad_kernels[:, :, slice(*part)], dim=(0, 1), out=grad_kernel[slice(*part)])

    for_each(sum_lines, split(range(lines), 64), weight.device)
    grad_weight = np.ascontiguousarray(grad_kernel[:9 * C, :O].numpy().T).reshape(weight.shape)
    return grads, torch.from_numpy(grad_weight), grad_kernel[9 * C, :O].clone()


# ----------------------------------------------------------------------------------------------------------- LSTM step


def lstm_step(x, hidden, cell, weight, bias, geometry):
    """See `fused.lstm_step`."""
    tensors = row_by_row(x), row_by_row(hidden), row_by_row(cell), weight, bias
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        keep_freed_memory()
        state = _LSTMStep.apply(*tensors, geometry)
    else:
        state = advance(*tensors, geometry)
    return tuple(values.transpose(1, 2) for values in state)


def advance(x, hidden, cell, weight, bias, geometry, gates=None):
    """The next state, row by row; also fills gates (B, pieces, 4 * hidden, columns), activated, where they are to be
    kept."""
    next_state = torch.empty_like(cell), torch.empty_like(cell)
    states = by_image([cell, *next_state])

    def work(b, given, products, *place):
        cpu_lstm.advance_pieces(*given, products if gates is None else gates[b], *states[b], *place)

    convolve((x, hidden), weight, bias, geometry, work)
    return next_state


class _LSTMStep(torch.autograd.Function):
    """See `fused.lstm_step`; images row by row."""

    @staticmethod
    def forward(ctx, x, hidden, cell, weight, bias, geometry):
        B, H, _, W = x.shape
        pieces = split_image(H, W, weight.shape[1])
        ctx.geometry, ctx.gates = geometry, Lent(B, pieces.count, len(bias), pieces.columns)
        next_state = advance(x, hidden, cell, weight, bias, geometry, ctx.gates.memory.numpy())
        ctx.save_for_backward(x, hidden, cell, weight, next_state[1])
        return next_state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_hidden, grad_cell):
        x, hidden, cell, weight, next_cell = ctx.saved_tensors
        gates, grad_before = ctx.gates.memory.numpy(), torch.empty_like(cell)
        states = by_image([cell, next_cell, grad_hidden.contiguous(), grad_cell.contiguous(), grad_before])

        def work(b, given, memory, *place):
            cpu_lstm.retreat_pieces(*given, gates[b], *states[b], *memory, *place)

        first = 0 if ctx.needs_input_grad[0] else 1
        grads, grad_weight, grad_bias = convolve_backward((x, hidden), weight, ctx.geometry, first, work)
        return *[None] * first, *grads, grad_before, grad_weight, grad_bias, None


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
    return _Conv.apply(row_by_row(x), weight, bias, geometry).transpose(1, 2)


class _Conv(torch.autograd.Function):
    """See `conv`; images row by row."""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry):
        B, H, _, W = x.shape
        ctx.geometry = geometry
        ctx.save_for_backward(x, weight)
        out = x.new_empty(B, H, len(weight), W)
        images = out.numpy()

        def work(b, given, products, *place):
            cpu_lstm.convolve_pieces(*given, products, images[b], *place)

        convolve((x,), weight, bias, geometry, work)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        images = grad.contiguous().numpy()

        def work(b, given, memory, *place):
            cpu_lstm.convolve_pieces_backward(*given, images[b], *memory, *place)

        (grad_x,), grad_weight, grad_bias = convolve_backward((x,), weight, ctx.geometry, 0, work)
        return grad_x, grad_weight, grad_bias, None


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
        taps, n = tuple(row_taps(H, W, stride, geometry)), W // stride
        out, pieces = x.new_empty(B, len(taps[0]), C, n), split_image(len(taps[0]), n, C)
        images, pooled = by_image([x]), out.numpy()

        def take(b, first, last):
            samples = scratch.of("samples", 9 * C, pieces.columns)
            cpu_lstm.pool_pieces(images[b], taps, samples, pooled[b], first, last, pieces.rows, stride)

        for_each_part(take, pieces, B, x.device)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        B, H, C, W = x.shape
        taps, tiles = tuple(row_taps(H, W, ctx.stride, ctx.geometry)), split_tiles(H, W, C, ctx.stride, ctx.geometry)
        pieces, grad_x = split_image(len(taps[0]), W // ctx.stride, C), zeros_like(x)
        images, given, receivers = by_image([x]), grad.contiguous().numpy(), by_image([grad_x])

        def take(b, _, first, last):
            samples = scratch.of("samples", 9 * C, pieces.columns)
            cpu_lstm.pool_pieces_backward(images[b], taps, samples, given[b], receivers[b], first, last, pieces.rows,
                                             ctx.stride)

        for_each_tile(take, tiles, B, x.device)
        return grad_x, None, None
