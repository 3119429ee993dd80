"""Pieces of the network on a CPU, compiled by numba: what a few rows of an image need is sampled, multiplied and
activated, or goes back through all that, in one function, whose memory lies in a core's cache.

A whole row of the output shares its taps: each is two source rows, read from some column on around the image
(`geometry.RowTaps`). So a tap of a row is the weighted sum of two rows, and of that row with itself a column further,
all contiguous in memory: vector instructions. The western and the eastern tap of a kernel's row share the first sum.

Images are float32, row by row: (H, C, W), so that what a few rows need lies together in memory. The functions hold no
lock of Python's and start no threads.
"""

import numpy as np

from kernels.cpu_sampling import find_largest, sample, share_out, spread
from kernels.gemm import PIXELS, add_product, multiply, padded
from kernels.simd import compiled, inlined

# --------------------------------------------------------------------------------------------------------- activations

# tanh x = x P(x^2) / Q(x^2) for |x| <= 8; beyond that float32 has nothing nearer to 1. Our own fit of least relative
# error; with float32's rounding within 4e-7. Several times faster than what can be made of the exponential function.
LIMIT, HALF = np.float32(8), np.float32(0.5)
P0, P1, P2, P3, P4 = map(np.float32, (0.99999999357, 0.134445044747, 3.57160582261e-3, 2.18947952319e-5,
                                      1.52306165405e-8))
Q0, Q1, Q2, Q3, Q4 = map(np.float32, (1.0, 0.467778317960, 2.61644724709e-2, 3.41130496002e-4, 8.52252469130e-7))


@inlined
def tanh(x):
    """Hyperbolic tangent; of NaN NaN."""
    x = LIMIT if x > LIMIT else x
    x = -LIMIT if x < -LIMIT else x
    t = x * x
    return x * (P0 + t * (P1 + t * (P2 + t * (P3 + t * P4)))) / (Q0 + t * (Q1 + t * (Q2 + t * (Q3 + t * Q4))))


@inlined
def sigmoid(x):
    return HALF + HALF * tanh(HALF * x)


# --------------------------------------------------------------------------------------------------------------- gates


@compiled
def advance(gates, cell, next_hidden, next_cell, top, bottom, W):
    """A step of the LSTM for rows top to bottom - 1 of cell, next_hidden and next_cell, (H, hidden, W).

    gates: (4 * hidden, pixels of the rows): input, forget, output and candidate before activation; they are activated
    in place.
    """
    hidden = cell.shape[1]
    for row in range(top, bottom):
        start, stop = (row - top) * W, (row - top + 1) * W
        for k in range(hidden):
            i, f = gates[k, start:stop], gates[hidden + k, start:stop]
            o, g = gates[2 * hidden + k, start:stop], gates[3 * hidden + k, start:stop]
            before, after, shown = cell[row, k], next_cell[row, k], next_hidden[row, k]
            for j in range(W):
                i[j] = sigmoid(i[j])
                f[j] = sigmoid(f[j])
                o[j] = sigmoid(o[j])
                g[j] = tanh(g[j])
                value = f[j] * before[j] + i[j] * g[j]
                after[j] = value
                shown[j] = o[j] * tanh(value)


@compiled
def retreat(gates, cell, next_cell, grad_hidden, grad_cell, grad_before, top, bottom, grad_gates, W):
    """The gradients of `advance`, for the same rows, whose activated gates these are: fills those of the gates before
    activation, grad_gates (4 * hidden, pixels), and of the cell, in grad_before."""
    hidden, one = cell.shape[1], np.float32(1)
    for row in range(top, bottom):
        start, stop = (row - top) * W, (row - top + 1) * W
        for k in range(hidden):
            i, f = gates[k, start:stop], gates[hidden + k, start:stop]
            o, g = gates[2 * hidden + k, start:stop], gates[3 * hidden + k, start:stop]
            to_i, to_f = grad_gates[k, start:stop], grad_gates[hidden + k, start:stop]
            to_o, to_g = grad_gates[2 * hidden + k, start:stop], grad_gates[3 * hidden + k, start:stop]
            before, after, to_before = cell[row, k], next_cell[row, k], grad_before[row, k]
            from_hidden, from_cell = grad_hidden[row, k], grad_cell[row, k]
            for j in range(W):
                shown = tanh(after[j])
                to_cell = from_cell[j] + from_hidden[j] * o[j] * (one - shown * shown)
                to_before[j] = to_cell * f[j]
                to_i[j] = to_cell * g[j] * i[j] * (one - i[j])
                to_f[j] = to_cell * before[j] * f[j] * (one - f[j])
                to_o[j] = from_hidden[j] * shown * o[j] * (one - o[j])
                to_g[j] = to_cell * i[j] * (one - g[j] * g[j])


# -------------------------------------------------------------------------------------------------------------- layers
# Each goes through pieces first to last - 1 of an output image, `rows` rows of it each, the last one perhaps fewer.
# What a piece needs in between is written to memory that is given, with room for its pixels, in a multiple of PIXELS:
#     samples     9 lines for each channel and one of ones, for the bias, in a multiple of ROWS
#     products    (pieces, O, columns), for each piece its own or one for all
#     gradient    that of the products: O lines, in a multiple of COLUMNS
#     passed_on   that of the samples of the receivers
# What these hold beyond what is written changes no result, only the time (`threads.Scratch`). taps: the arrays of
# `geometry.RowTaps`; packed: by `products.pack`, the kernel (O, lines of samples), or going back (lines passed on, O).


@inlined
def sample_with_ones(images, taps, top, bottom, samples, W):
    """The taps of rows top to bottom - 1, then a line of ones for the bias; how many lines that are."""
    lines = 1
    for image in images:
        lines += 9 * image.shape[1]
    sample(images, *taps, top, bottom, samples, W, 1)
    samples[lines - 1] = 1
    return lines


@inlined
def rows_of(piece, rows, H):
    """The first row of a piece, and its last + 1."""
    return piece * rows, min(piece * rows + rows, H)


@inlined
def convolve(images, taps, packed, samples, products, top, bottom, W):
    """Fills products (O, columns) of rows top to bottom - 1."""
    N = padded((bottom - top) * W, PIXELS)
    lines = sample_with_ones(images, taps, top, bottom, samples, W)
    multiply(packed, samples[:lines, :N], products[:, :N])


@inlined
def convolve_backward(images, taps, packed, samples, gradient, O, grad_kernel, passed_on, receivers, top, bottom, W):
    """Adds what the gradient of the products of rows top to bottom - 1 passes on: to grad_kernel, with as many lines as
    the samples and as many columns as the gradient has lines, and to the receivers, gradients of the last images."""
    n = (bottom - top) * W
    N = padded(n, PIXELS)
    sample_with_ones(images, taps, top, bottom, samples, W)
    samples[:, n:N] = 0
    gradient[:, n:N] = 0
    add_product(packed, grad_kernel, samples[:, :N], gradient[:, :N])
    multiply(packed, gradient[:O, :N], passed_on[:, :N])
    spread(passed_on, *taps, top, bottom, receivers, W, 1)


@compiled
def advance_pieces(images, taps, packed, samples, gates, cell, next_hidden, next_cell, first, last, rows):
    """A step of the LSTM; gates: the products, activated."""
    H, _, W = cell.shape
    for piece in range(first, last):
        (top, bottom), here = rows_of(piece, rows, H), gates[piece % len(gates)]
        convolve(images, taps, packed, samples, here, top, bottom, W)
        advance(here, cell, next_hidden, next_cell, top, bottom, W)


@compiled
def retreat_pieces(images, taps, packed, samples, gates, cell, next_cell, grad_hidden, grad_cell, grad_before, gradient,
                   grad_kernel, passed_on, receivers, first, last, rows):
    """The gradients of `advance_pieces`: see `convolve_backward` and `retreat`."""
    H, _, W = cell.shape
    for piece in range(first, last):
        top, bottom = rows_of(piece, rows, H)
        retreat(gates[piece], cell, next_cell, grad_hidden, grad_cell, grad_before, top, bottom, gradient, W)
        convolve_backward(images, taps, packed, samples, gradient, gates.shape[1], grad_kernel, passed_on, receivers,
                          top, bottom, W)


@compiled
def convolve_pieces(images, taps, packed, samples, products, out, first, last, rows):
    """A convolution; out (H, O, W)."""
    H, O, W = out.shape
    for piece in range(first, last):
        top, bottom = rows_of(piece, rows, H)
        convolve(images, taps, packed, samples, products[0], top, bottom, W)
        for i in range(top, bottom):
            out[i] = products[0, :, (i - top) * W:(i - top + 1) * W]


@compiled
def convolve_pieces_backward(images, taps, packed, samples, grad, gradient, grad_kernel, passed_on, receivers, first,
                             last, rows):
    """The gradients of `convolve_pieces`; grad: that of out."""
    H, O, W = grad.shape
    for piece in range(first, last):
        top, bottom = rows_of(piece, rows, H)
        for i in range(top, bottom):
            gradient[:O, (i - top) * W:(i - top + 1) * W] = grad[i]
        convolve_backward(images, taps, packed, samples, gradient, O, grad_kernel, passed_on, receivers, top, bottom, W)


@compiled
def pool_pieces(images, taps, samples, out, first, last, rows, stride):
    """The largest of the taps of a tuple of one image; out (H, C, W)."""
    for piece in range(first, last):
        top, bottom = rows_of(piece, rows, len(out))
        sample(images, *taps, top, bottom, samples, images[0].shape[2], stride)
        find_largest(samples, out[top:bottom], out.shape[2])


@compiled
def pool_pieces_backward(images, taps, samples, grad, receivers, first, last, rows, stride):
    """The gradients of `pool_pieces`; grad: that of out."""
    for piece in range(first, last):
        top, bottom = rows_of(piece, rows, len(grad))
        sample(images, *taps, top, bottom, samples, images[0].shape[2], stride)
        share_out(samples, grad[top:bottom], grad.shape[2])
        spread(samples, *taps, top, bottom, receivers, images[0].shape[2], stride)
