"""The layers on a CPU, in float32: rows of the output are sampled, multiplied and activated a few at a time, so that
what is between lies in a core's cache, and nothing nine-fold is ever kept; the backward pass samples again.

Images are (B, C, H, W), contiguous. The plain formulation of the same, for every device and type, is in spherical_conv
and fused; numba missing, it serves here as well.
"""

from collections import defaultdict
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from geometry import row_taps
from products import add_product, multiply, product_type
from threads import for_each

try:
    import cpu_kernels
except ImportError:
    cpu_kernels = None

PIECE_PIXELS = 640  # handled at a time: with 42 channels, 1 MB of samples
TILE_PIXELS = 2560  # whose gradients are added up by one thread
POOLED_PIXELS = 25_600  # of one channel, pooled at a time: 0.9 MB of samples


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
    (C, H, W) each; all NumPy."""
    source, weight, span, edge = taps
    kernels(stride)[0](images, source, weight, span, top, bottom, out, images[0].shape[2])
    if len(edge):
        cpu_kernels.mend_sample(images, source, weight, edge, top, bottom, out, images[0].shape[2], stride)


def spread(grad, taps, top, bottom, images, stride=1):
    """The transpose of `sample`: adds to the images what a gradient of the taps passes on."""
    source, weight, span, edge = taps
    kernels(stride)[1](grad, source, weight, span, top, bottom, images, images[0].shape[2])
    if len(edge):
        cpu_kernels.mend_spread(grad, source, weight, edge, top, bottom, images, images[0].shape[2], stride)


def by_image(tensors):
    """For each image of a batch a tuple of what it has in each of the tensors (B, ...): NumPy views of them."""
    return list(zip(*(tensor.detach().numpy() for tensor in tensors)))


# --------------------------------------------------------------------------------------------------------- convolution


def split(rows, rows_a_piece):
    """(first, last + 1) of pieces of a range of rows."""
    return [(row, min(row + rows_a_piece, rows.stop)) for row in range(rows.start, rows.stop, rows_a_piece)]


def split_image(height, width, pixels):
    """(first row, last + 1) of the pieces of an image, of about so many pixels."""
    return split(range(height), max(1, pixels // width))


@lru_cache(maxsize=32)
def split_tiles(height, width, geometry):
    """Two lists of tiles, each a list of consecutive pieces of the image; no two tiles of one list read the same rows.
    One after the other, the lists can add to the rows that they read on many threads, and always in the same order."""
    taps, pieces = row_taps(height, width, 1, geometry), split_image(height, width, PIECE_PIXELS)
    count = -(-TILE_PIXELS // PIECE_PIXELS)
    while True:
        tiles = [pieces[first:last] for first, last in split(range(len(pieces)), count)]
        spans = [taps.span[tile[0][0]:tile[-1][1]] for tile in tiles]
        if all(span[:, 1].max() <= other[:, 0].min() for span, other in zip(spans, spans[2:])):
            return tiles[::2], tiles[1::2]
        count += 1


def convolve(sources, weight, geometry, dtype, finish, out=None):
    """Convolves the sources' channels, images (B, C, H, W), without bias, a few rows at a time.

    Calls finish(b, start, stop, products) for these pixels, start to stop - 1 of image b, with products (O, pixels).
    They live as long as the call, or in out: (B, O * H * W), in blocks as `block` returns them.
    """
    B, _, H, W = sources[0].shape
    taps, kernel, images = row_taps(H, W, 1, geometry), weight.flatten(1), by_image(sources)

    def work(piece):
        b, (top, bottom) = piece
        start, stop = top * W, bottom * W
        samples = torch.empty(kernel.shape[1], stop - start)
        sample(images[b], taps, top, bottom, samples.numpy())
        place = None if out is None else block(out[b], len(weight), start, stop)
        finish(b, start, stop, multiply(kernel, samples, dtype, place))

    pieces = split_image(H, W, PIECE_PIXELS)
    for_each(work, [(b, rows) for b in range(B) for rows in pieces], weight.device)


def block(values, channels, start, stop):
    """Where values (channels * H * W,) have those of pixels start to stop - 1 of a piece: (channels, pixels)."""
    return values[channels * start:channels * stop].reshape(channels, stop - start)


def convolve_backward(sources, weight, geometry, dtype, gradient, first_source):
    """Gradients of the sources from first_source on, of the weight and of the bias.

    gradient(b, start, stop): that of the products of these pixels, (O, pixels), asked for once for each pixel.
    """
    B, _, H, W = sources[0].shape
    taps, images = row_taps(H, W, 1, geometry), by_image(sources)
    grads = [torch.zeros_like(source) for source in sources[first_source:]]
    receivers = by_image(grads)
    skipped = 9 * sum(source.shape[1] for source in sources[:first_source])
    kernel = weight.flatten(1)[:, skipped:].t()  # (9 * C, O)
    tiles = split_tiles(H, W, geometry)
    grad_kernels = [weight.new_zeros(B, len(part), len(weight), weight[0].numel()) for part in tiles]
    grad_biases = [weight.new_zeros(B, len(part), len(weight)) for part in tiles]

    def work(piece):
        part, b, n = piece
        grad_kernel, grad_bias = grad_kernels[part][b, n], grad_biases[part][b, n]
        for top, bottom in tiles[part][n]:
            grad = gradient(b, top * W, bottom * W)
            samples = torch.empty(grad_kernel.shape[1], grad.shape[1])
            sample(images[b], taps, top, bottom, samples.numpy())
            grad_bias += grad.sum(dim=1)
            add_product(grad_kernel, grad, samples.t(), dtype)
            spread(multiply(kernel, grad, dtype).numpy(), taps, top, bottom, receivers[b])

    for part in (0, 1):
        for_each(work, [(part, b, n) for b in range(B) for n in range(len(tiles[part]))], weight.device)
    grad_weight, grad_bias = (sum(part.sum(dim=(0, 1)) for part in parts) for parts in (grad_kernels, grad_biases))
    return grads, grad_weight.view_as(weight), grad_bias


# ------------------------------------------------------------------------------------------------------------ LSTM step


def lstm_step(x, hidden, cell, weight, bias, geometry, reuse):
    """See `fused.lstm_step`."""
    tensors = x.contiguous(), hidden.contiguous(), cell.contiguous(), weight, bias
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _LSTMStep.apply(*tensors, geometry, product_type(x))
    next_state = torch.empty_like(tensors[1]), torch.empty_like(tensors[2])
    return advance(*tensors, geometry, product_type(x), next_state)


def advance(x, hidden, cell, weight, bias, geometry, dtype, next_state, gates=None):
    """Fills and returns next_state; also gates (B, 4 * hidden * H * W), activated, where they are to be kept."""
    bias = bias.detach().numpy()
    states = by_image([values.flatten(2) for values in (cell, *next_state)])

    def finish(b, start, stop, products):
        cpu_kernels.advance(products.numpy(), bias, *states[b], start, stop - start)

    convolve((x, hidden), weight, geometry, dtype, finish, gates)
    return next_state


class _LSTMStep(torch.autograd.Function):
    """See `fused.lstm_step`."""

    @staticmethod
    def forward(ctx, x, hidden, cell, weight, bias, geometry, dtype):
        ctx.gates = Lent(len(x), len(bias) * x.shape[2] * x.shape[3])
        next_state = torch.empty_like(hidden), torch.empty_like(cell)
        advance(x, hidden, cell, weight, bias, geometry, dtype, next_state, ctx.gates.memory)
        ctx.geometry, ctx.dtype = geometry, dtype
        ctx.save_for_backward(x, hidden, cell, weight, next_state[1])
        return next_state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_hidden, grad_cell):
        x, hidden, cell, weight, next_cell = ctx.saved_tensors
        gates, grad_before, channels = ctx.gates.memory, torch.empty_like(cell), len(weight)
        states = by_image([values.contiguous().flatten(2)
                           for values in (cell, next_cell, grad_hidden, grad_cell, grad_before)])

        def gradient(b, start, stop):
            grad_gates = torch.empty(channels, stop - start)
            here = block(gates[b], channels, start, stop).numpy()
            cpu_kernels.retreat(here, *states[b], start, stop - start, grad_gates.numpy())
            return grad_gates

        first = 0 if ctx.needs_input_grad[0] else 1
        grads, grad_weight, grad_bias = convolve_backward((x, hidden), weight, ctx.geometry, ctx.dtype, gradient, first)
        return *[None] * first, *grads, grad_before, grad_weight, grad_bias, None, None


class Lent:
    """Memory (float32, of that shape) which goes back for the next one to use when nobody holds this any more: half a
    training step's memory, and a tenth of its time if it came from the system anew each time."""

    returned: ClassVar = defaultdict(list)

    def __init__(self, *shape):
        try:
            self.memory = self.returned[shape].pop()
        except IndexError:
            self.memory = torch.empty(shape)

    def __del__(self):
        self.returned[tuple(self.memory.shape)].append(self.memory)


# ------------------------------------------------------------------------------------------------------------- layers


class Conv(torch.autograd.Function):
    """A convolution of stride 1: (B, C, H, W), weight (O, C, 3, 3), bias (O,) -> (B, O, H, W)"""

    @staticmethod
    def forward(ctx, x, weight, bias, geometry):
        ctx.geometry, ctx.dtype = geometry, product_type(x)
        ctx.save_for_backward(x, weight)
        out = x.new_empty(len(x), len(weight), *x.shape[2:])

        def finish(b, start, stop, products):
            torch.add(products, bias[:, None], out=out[b].flatten(1)[:, start:stop])

        convolve((x,), weight, geometry, ctx.dtype, finish)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous().flatten(2)
        (grad_x,), *rest = convolve_backward((x,), weight, ctx.geometry, ctx.dtype,
                                             lambda b, start, stop: grad[b, :, start:stop].contiguous(), 0)
        return grad_x, *rest, None


class MaxPool(torch.autograd.Function):
    """(B, C, H, W) -> (B, C, ceil(H / stride), W / stride). Taps that are equally large share the gradient."""

    @staticmethod
    def forward(ctx, x, stride, geometry):
        B, C, H, W = x.shape
        ctx.stride, ctx.taps = stride, row_taps(H, W, stride, geometry)
        ctx.save_for_backward(x)
        out = x.new_empty(B, C, -(-H // stride), W // stride)
        images, pooled = x.flatten(0, 1).numpy(), out.flatten(0, 1).numpy()

        def work(n):
            for top, bottom in split_image(*pooled.shape[1:], POOLED_PIXELS):
                largest_taps(images[n], ctx.taps, top, bottom, pooled[n, top:bottom], stride)

        for_each(work, range(B * C), x.device)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        grad_x = torch.zeros_like(x)
        images, grads, receivers = (values.contiguous().flatten(0, 1).numpy() for values in (x, grad, grad_x))

        def work(n):
            for top, bottom in split_image(*grads.shape[1:], POOLED_PIXELS):
                given = grads[n, top:bottom].reshape(-1)
                largest = np.empty_like(given)
                samples = largest_taps(images[n], ctx.taps, top, bottom, largest, ctx.stride)
                cpu_kernels.share_out(samples, largest, given, len(given))
                spread(samples, ctx.taps, top, bottom, (receivers[n:n + 1],), ctx.stride)

        for_each(work, range(len(images)), x.device)
        return grad_x, None, None


def largest_taps(image, taps, top, bottom, largest, stride):
    """Fills `largest` with the largest tap of each pixel of output rows top to bottom - 1 of an image (H, W); returns
    the taps, (9, pixels). All NumPy."""
    samples = np.empty((9, largest.size), np.float32)
    sample((image[None],), taps, top, bottom, samples, stride)
    cpu_kernels.find_largest(samples, largest.reshape(-1), largest.size)
    return samples
