"""The layers on a CPU, in float32: the fast twin of reference.py, with the same functions.

Here an output image is cut into bands of rows, threads get their bands, and autograd its backward passes; cpu_lstm.py
computes a band. In memory images are row by row, (B, H, C, W), and are copied where they are not. Nothing nine times as
large as an image is ever kept: the backward pass samples again.
"""

from collections import defaultdict
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from kernels import cpu_lstm
from kernels.cpu_lstm import BandRange, Gradients, Inputs, LSTMGradient, LSTMState
from kernels.gemm import COLUMNS, PIXELS, ROWS, pack, padded
from kernels.simd import is_kept
from kernels.taps import row_taps
from kernels.threads import for_each, scratch

BAND_VALUES = 100_000  # values at the taps of a band, 0.4 MB: more no longer fit the cache of one core
FEWEST_BANDS = 8  # of an image, where it has so many rows: for as many threads
GROUP_PIXELS = 1920  # of a group of bands, whose gradients one thread adds up


def row_by_row(x):
    """(B, C, H, W) -> (B, H, C, W), contiguous; without a copy where x is so in memory."""
    rows = x.transpose(1, 2)
    if rows.is_contiguous() or rows.requires_grad:
        return rows.contiguous()
    return torch.from_numpy(np.ascontiguousarray(rows.numpy()))  # torch's own threads would go on spinning


def zeros_like(images):
    """Zeros in the shape of images (B, H, C, W)."""
    zeros = torch.empty_like(images)
    for_each(lambda first, last: zeros[:, first:last].zero_(), split(images.shape[1], 16))
    return zeros


def by_image(tensors):
    """For each image of a batch a tuple of what it has in each of the tensors (B, ...): NumPy views."""
    return list(zip(*(tensor.detach().numpy() for tensor in tensors)))


# --------------------------------------------------------------------------------------------------------------- bands


class Bands(NamedTuple):
    """How an output image is cut into bands of a few rows each."""

    count: int
    rows: int  # of each; the last one may have fewer
    pixels: int  # of a scratch buffer: at least the pixels of each, a multiple of PIXELS


def split(count, step):
    """(first, last + 1) of parts of `step` numbers, the last one perhaps fewer, of the numbers 0 to count - 1."""
    return [(first, min(first + step, count)) for first in range(0, count, step)]


def cut_into_bands(height, width, channels, stride):
    """The `Bands` of the output for an input of that size: nine values at the taps of a pixel for each channel."""
    height, width = -(-height // stride), width // stride
    rows = max(1, min(BAND_VALUES // (9 * channels * width), height // FEWEST_BANDS))
    return Bands(-(-height // rows), rows, padded(rows * width, PIXELS))


def for_each_band(function, bands, images):
    """Calls function(b, `BandRange`) until all bands of every image b are done, on several threads: four calls for each
    thread, so that none waits long for the last one, and no more, since each costs some time of Python's."""
    ranges = split(bands.count, max(1, bands.count // (4 * torch.get_num_threads())))
    for_each(function, [(b, BandRange(*ends, bands.rows)) for b in range(images) for ends in ranges])


@lru_cache(maxsize=32)
def group_bands(height, width, channels, stride, geometry):
    """Two lists of groups, a `BandRange` each: no two groups of one list read the same source rows. So the threads can
    add to source rows a list at a time, and each row's sum always has the same order."""
    span, bands = row_taps(height, width, stride, geometry).span, cut_into_bands(height, width, channels, stride)
    size = -(-GROUP_PIXELS // (bands.rows * width // stride))
    while True:
        groups = [BandRange(*ends, bands.rows) for ends in split(bands.count, size)]
        spans = [span[first * rows:last * rows] for first, last, rows in groups]
        if all(one[:, 1].max() <= other[:, 0].min() for one, other in zip(spans, spans[2:])):
            return groups[::2], groups[1::2]
        size += 1


def for_each_group(function, groups, images):
    """Calls function(b, n, group) for each group, numbered n, of every image b: one list of groups after the other."""
    first_number = 0
    for part in groups:
        for_each(function, [(b, n, group) for b in range(images) for n, group in enumerate(part, first_number)])
        first_number += len(part)


# --------------------------------------------------------------------------------------------------------- convolution


def convolve(sources, weight, bias, stride, geometry, compute):
    """Convolves images: calls compute(b, inputs, products, bands) for all bands of every image b.

    sources: (B, H, C, W) each; their channels one after the other are the input. inputs, bands: `Inputs`, `BandRange`;
    products: a scratch buffer (O, pixels of a band).
    """
    B, H, _, W = sources[0].shape
    O, C = weight.shape[:2]
    images, taps, bands = by_image(sources), row_taps(H, W, stride, geometry), cut_into_bands(H, W, C, stride)
    kernel = pack(np.concatenate([weight.detach().numpy().reshape(O, -1), bias.detach().numpy()[:, None]], axis=1))

    def compute_bands(b, band_range):
        values = scratch.of("values", padded(9 * C + 1, ROWS), bands.pixels)
        products = scratch.of("products", O, bands.pixels)
        compute(b, Inputs(images[b], taps, kernel, values, stride), products, band_range)

    for_each_band(compute_bands, bands, B)


def convolve_backward(sources, weight, stride, geometry, first_source, compute):
    """Gradients of the sources from first_source on, of the weight and of the bias.

    Calls compute(b, inputs, gradients, bands) for every group of bands of every image b, with `Gradients`.
    """
    B, H, _, W = sources[0].shape
    O, C = weight.shape[:2]
    images, taps, bands = by_image(sources), row_taps(H, W, stride, geometry), cut_into_bands(H, W, C, stride)
    wanted, skipped = sources[first_source:], sum(source.shape[2] for source in sources[:first_source])
    grads, groups = [zeros_like(source) for source in wanted], group_bands(H, W, C, stride, geometry)
    no_channels = [source[:, :, :0] for source in sources[:first_source]]  # so that one compiled function serves
    grad_images = by_image(no_channels + grads)
    kernel = pack(weight.detach().numpy()[:, skipped:].reshape(O, -1).T)
    lines, columns = padded(9 * C + 1, ROWS), padded(O, COLUMNS)
    grad_kernels = weight.new_empty(B, sum(map(len, groups)), lines, columns)
    grad_kernel_of = grad_kernels.numpy()

    def compute_group(b, n, group):
        values = scratch.of("values", lines, bands.pixels)
        grad_products = scratch.of("gradient of products", columns, bands.pixels)
        grad_values = scratch.of("gradient of values", 9 * (C - skipped), bands.pixels)
        grad_kernel_of[b, n] = 0
        compute(b, Inputs(images[b], taps, kernel, values, stride),
                Gradients(grad_products, grad_kernel_of[b, n], grad_values, grad_images[b]), group)

    for_each_group(compute_group, groups, B)
    grad_kernel = weight.new_empty(lines, columns)

    def sum_lines(first, last):
        torch.sum(grad_kernels[:, :, first:last], dim=(0, 1), out=grad_kernel[first:last])

    for_each(sum_lines, split(lines, 64))
    grad_weight = np.ascontiguousarray(grad_kernel[:9 * C, :O].numpy().T).reshape(weight.shape)
    return grads, torch.from_numpy(grad_weight), grad_kernel[9 * C, :O].clone()


def conv(x, weight, bias, stride, geometry):
    """A convolution: (B, C, H, W), weight (O, C, 3, 3), bias (O,) -> (B, O, ceil(H / stride), W / stride)."""
    return Conv.apply(row_by_row(x), weight, bias, stride, geometry).transpose(1, 2)


class Conv(torch.autograd.Function):
    """See `conv`; images row by row."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, geometry):
        B, H, _, W = x.shape
        ctx.stride, ctx.geometry = stride, geometry
        ctx.save_for_backward(x, weight)
        out = x.new_empty(B, -(-H // stride), len(weight), W // stride)
        images = out.numpy()

        def compute(b, inputs, products, bands):
            cpu_lstm.conv_bands(inputs, products, images[b], bands)

        convolve((x,), weight, bias, stride, geometry, compute)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad_images = grad.contiguous().numpy()

        def compute(b, inputs, gradients, bands):
            cpu_lstm.conv_bands_backward(inputs, grad_images[b], gradients, bands)

        (grad_x,), grad_weight, grad_bias = convolve_backward((x,), weight, ctx.stride, ctx.geometry, 0, compute)
        return grad_x, grad_weight, grad_bias, None, None


# ----------------------------------------------------------------------------------------------------------- LSTM step


def lstm_step(x, hidden, cell, weight, bias, geometry):
    """A step of a convolutional LSTM: see `reference.lstm_step`."""
    tensors = row_by_row(x), row_by_row(hidden), row_by_row(cell), weight, bias
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        state = LSTMStep.apply(*tensors, geometry)
    else:
        state = lstm_forward(*tensors, geometry)
    return tuple(values.transpose(1, 2) for values in state)


def lstm_forward(x, hidden, cell, weight, bias, geometry, gates=None):
    """The next hidden and cell state, row by row. gates: an array (B, bands, 4 * hidden, pixels) to be filled with the
    activated gates, or None."""
    next_hidden, next_cell = torch.empty_like(cell), torch.empty_like(cell)
    states = [LSTMState(*arrays) for arrays in by_image([cell, next_hidden, next_cell])]

    def compute(b, inputs, products, bands):
        cpu_lstm.lstm_bands(inputs, products[None] if gates is None else gates[b], states[b], bands)

    convolve((x, hidden), weight, bias, 1, geometry, compute)
    return next_hidden, next_cell


class LSTMStep(torch.autograd.Function):
    """See `lstm_step`; images row by row."""

    @staticmethod
    def forward(ctx, x, hidden, cell, weight, bias, geometry):
        B, H, _, W = x.shape
        bands = cut_into_bands(H, W, weight.shape[1], 1)
        ctx.geometry, ctx.gates = geometry, RecycledMemory(B, bands.count, len(bias), bands.pixels)
        state = lstm_forward(x, hidden, cell, weight, bias, geometry, ctx.gates.memory.numpy())
        ctx.save_for_backward(x, hidden, cell, weight, state[1])
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_hidden, grad_cell):
        x, hidden, cell, weight, next_cell = ctx.saved_tensors
        gates, grad_cell_before = ctx.gates.memory.numpy(), torch.empty_like(cell)
        tensors = cell, next_cell, grad_hidden.contiguous(), grad_cell.contiguous(), grad_cell_before
        states = [LSTMGradient(*arrays) for arrays in by_image(tensors)]

        def compute(b, inputs, gradients, bands):
            cpu_lstm.lstm_bands_backward(inputs, gates[b], states[b], gradients, bands)

        first = 0 if ctx.needs_input_grad[0] else 1
        grads, grad_weight, grad_bias = convolve_backward((x, hidden), weight, 1, ctx.geometry, first, compute)
        return *[None] * first, *grads, grad_cell_before, grad_weight, grad_bias, None


class RecycledMemory:
    """Memory (float32, of that shape) that goes to the next one of the same shape when nobody holds this any more. It
    is half of a training step's memory, and would cost a tenth of its time if it came from the system each time."""

    free: ClassVar = defaultdict(list)

    def __init__(self, *shape):
        if not self.free[shape]:
            self.free.clear()  # memory of other shapes is no longer needed, as it seems
        self.memory = self.free[shape].pop() if self.free[shape] else torch.empty(shape)
        self.shape = shape

    def __del__(self):
        if hasattr(self, "shape"):  # not if there was no memory to be had
            self.free[self.shape].append(self.memory)


# ------------------------------------------------------------------------------------------------------------- pooling


def max_pool(x, stride, geometry):
    """(B, C, H, W) -> (B, C, ceil(H / stride), W / stride). Taps that are equally large share the gradient."""
    return MaxPool.apply(row_by_row(x), stride, geometry).transpose(1, 2)


class MaxPool(torch.autograd.Function):
    """See `max_pool`; images row by row."""

    @staticmethod
    def forward(ctx, x, stride, geometry):
        B, H, C, W = x.shape
        ctx.stride, ctx.geometry = stride, geometry
        ctx.save_for_backward(x)
        taps, bands = row_taps(H, W, stride, geometry), cut_into_bands(H, W, C, stride)
        out = x.new_empty(B, -(-H // stride), C, W // stride)
        images, pooled = x.detach().numpy(), out.numpy()

        def compute(b, band_range):
            values = scratch.of("values", 9 * C, bands.pixels)
            cpu_lstm.max_pool_bands(images[b], taps, values, stride, pooled[b], band_range)

        for_each_band(compute, bands, B)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        B, H, C, W = x.shape
        taps, bands = row_taps(H, W, ctx.stride, ctx.geometry), cut_into_bands(H, W, C, ctx.stride)
        grad_x = zeros_like(x)
        images, grad_pooled, grad_images = x.detach().numpy(), grad.contiguous().numpy(), grad_x.numpy()

        def compute(b, _, group):
            values = scratch.of("values", 9 * C, bands.pixels)
            cpu_lstm.max_pool_bands_backward(images[b], taps, values, ctx.stride, grad_pooled[b], grad_images[b], group)

        for_each_group(compute, group_bands(H, W, C, ctx.stride, ctx.geometry), B)
        return grad_x, None, None


# ----------------------------------------------------------------------------------------------------------- compiling


def are_compiled(training):
    """Whether what a model needs was compiled on this processor before, also for training."""
    return is_kept("cpu_lstm.max_pool_bands_backward" if training else "cpu_lstm.max_pool_bands")


def compile_ahead(training):
    """Compiles what a model needs, also for training, which takes a while."""
    image, weight, bias = torch.zeros(1, 1, 2, 4), torch.zeros(4, 2, 3, 3), torch.zeros(4)
    with torch.set_grad_enabled(training):
        hidden, cell = lstm_step(image, image, image, weight.requires_grad_(training), bias, "exact")
        pooled = max_pool(hidden, 2, "exact")
        if training:
            (pooled.sum() + cell.sum()).backward()
