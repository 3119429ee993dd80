"""The layers on a CPU, compiled by numba, band by band: a few rows of the output are sampled, multiplied and activated
in one function, whose memory fits a core's cache; the backward pass samples them again.

Images are float32, row by row: (H, C, W).
"""

from typing import NamedTuple

import numpy as np

from kernels.cpu_sampling import gather_taps, pool, pool_backward, scatter_taps
from kernels.gemm import PIXELS, add_transposed_product, multiply_packed, padded
from kernels.simd import compiled, inlined
from kernels.taps import RowTaps

# --------------------------------------------------------------------------------------------------------- activations

# tanh x = x P(x^2) / Q(x^2) for |x| <= 8; beyond that float32 has nothing nearer to 1. This is our own minimax fit of
# the relative error; with float32's rounding it is within 4e-7. A tanh made of exp is several times slower.
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
def lstm_gates(gates, state, top, bottom):
    """A step of the LSTM for rows top to bottom - 1 of the `LSTMState`.

    gates: (4 * hidden, pixels of the rows): input, forget, output and candidate before activation; they are activated
    in place.
    """
    cell, next_hidden, next_cell = state
    _, hidden, W = cell.shape
    for row in range(top, bottom):
        start, stop = (row - top) * W, (row - top + 1) * W
        for k in range(hidden):
            i, f = gates[k, start:stop], gates[hidden + k, start:stop]
            o, g = gates[2 * hidden + k, start:stop], gates[3 * hidden + k, start:stop]
            c, next_c, next_h = cell[row, k], next_cell[row, k], next_hidden[row, k]
            for j in range(W):
                i[j] = sigmoid(i[j])
                f[j] = sigmoid(f[j])
                o[j] = sigmoid(o[j])
                g[j] = tanh(g[j])
                value = f[j] * c[j] + i[j] * g[j]
                next_c[j] = value
                next_h[j] = o[j] * tanh(value)


@compiled
def lstm_gates_backward(gates, state, grad_gates, top, bottom):
    """The gradients of `lstm_gates`, for the same rows of the `LSTMGradient`, from the activated gates: fills grad_cell
    and grad_gates (4 * hidden, pixels), the gradient of the gates before activation."""
    cell, next_cell, grad_next_hidden, grad_next_cell, grad_cell = state
    _, hidden, W = cell.shape
    one = np.float32(1)
    for row in range(top, bottom):
        start, stop = (row - top) * W, (row - top + 1) * W
        for k in range(hidden):
            i, f = gates[k, start:stop], gates[hidden + k, start:stop]
            o, g = gates[2 * hidden + k, start:stop], gates[3 * hidden + k, start:stop]
            grad_i, grad_f = grad_gates[k, start:stop], grad_gates[hidden + k, start:stop]
            grad_o, grad_g = grad_gates[2 * hidden + k, start:stop], grad_gates[3 * hidden + k, start:stop]
            c, next_c, grad_c = cell[row, k], next_cell[row, k], grad_cell[row, k]
            grad_next_h, grad_next_c = grad_next_hidden[row, k], grad_next_cell[row, k]
            for j in range(W):
                tanh_c = tanh(next_c[j])
                grad_sum = grad_next_c[j] + grad_next_h[j] * o[j] * (one - tanh_c * tanh_c)
                grad_c[j] = grad_sum * f[j]
                grad_i[j] = grad_sum * g[j] * i[j] * (one - i[j])
                grad_f[j] = grad_sum * c[j] * f[j] * (one - f[j])
                grad_o[j] = grad_next_h[j] * tanh_c * o[j] * (one - o[j])
                grad_g[j] = grad_sum * i[j] * (one - g[j] * g[j])


# -------------------------------------------------------------------------------------------------------------- layers
# A band is a few rows of the output. Scratch buffers have room for its pixels, in a multiple of PIXELS. What the
# padding beyond them holds changes no result, only the time (`threads.Scratch`).


class BandRange(NamedTuple):
    """Bands first to last - 1 of an output image, `rows` rows each; the image's last one may have fewer."""

    first: int
    last: int
    rows: int


class Inputs(NamedTuple):
    """What a layer reads, for one image."""

    images: tuple  # their channels one after the other are the layer's input; (H, C, W) each
    taps: RowTaps
    kernel: np.ndarray  # packed (`gemm.pack`): (O, 9 * C + 1), the bias last; for the backward pass (9 * C, O), of the
    #                     channels that receive a gradient
    values: np.ndarray  # scratch, the values at the taps: 9 * C lines and a line of ones, in a multiple of ROWS
    stride: int


class Gradients(NamedTuple):
    """The gradients that a layer's backward pass computes, for one image."""

    products: np.ndarray  # scratch, of the products: O lines, in a multiple of COLUMNS
    kernel: np.ndarray  # of the kernel and bias, to be added to: (lines of `Inputs.values`, lines of `products`)
    values: np.ndarray  # scratch, of the values at the taps of `images`: nine lines a channel
    images: tuple  # of the layer's images, to be added to: (H, C, W) each; C is 0 where none is wanted


class LSTMState(NamedTuple):
    """(H, hidden, W) each; the last two are filled."""

    cell: np.ndarray
    next_hidden: np.ndarray
    next_cell: np.ndarray


class LSTMGradient(NamedTuple):
    """What the backward pass of an LSTM step reads, and grad_cell, which it fills; (H, hidden, W) each."""

    cell: np.ndarray
    next_cell: np.ndarray
    grad_next_hidden: np.ndarray
    grad_next_cell: np.ndarray
    grad_cell: np.ndarray


@inlined
def rows_of(band, bands, height):
    """The first row of a band, and its last + 1."""
    return band * bands.rows, min((band + 1) * bands.rows, height)


@inlined
def gather_with_ones(inputs, top, bottom):
    """Fills the values with the taps of rows top to bottom - 1, and a line of ones for the bias. Returns how many lines
    these are."""
    line = 0
    for image in inputs.images:
        gather_taps(image, inputs.taps, top, bottom, inputs.values[line:], inputs.stride)
        line += 9 * image.shape[1]
    inputs.values[line] = 1
    return line + 1


@inlined
def convolve_band(inputs, products, top, bottom, W):
    """Fills products (O, pixels) of output rows top to bottom - 1, which are W pixels wide."""
    N = padded((bottom - top) * W, PIXELS)
    lines = gather_with_ones(inputs, top, bottom)
    multiply_packed(inputs.kernel, inputs.values[:lines, :N], products[:, :N])


@inlined
def convolve_band_backward(inputs, gradients, O, top, bottom, W):
    """Adds to the gradients of kernel and images, from the gradient of the products, O lines."""
    n = (bottom - top) * W
    N = padded(n, PIXELS)
    gather_with_ones(inputs, top, bottom)
    inputs.values[:, n:N] = 0
    gradients.products[:, n:N] = 0
    add_transposed_product(inputs.values[:, :N], gradients.products[:, :N], gradients.kernel)
    multiply_packed(inputs.kernel, gradients.products[:O, :N], gradients.values[:, :N])
    line = 0
    for image in gradients.images:
        scatter_taps(gradients.values[line:], inputs.taps, top, bottom, image, inputs.stride)
        line += 9 * image.shape[1]


@compiled
def lstm_bands(inputs, gates, state, bands):
    """A step of the LSTM. gates (bands, 4 * hidden, pixels) are filled, activated; or (1, ...), as scratch."""
    H, _, W = state.cell.shape
    for band in range(bands.first, bands.last):
        top, bottom = rows_of(band, bands, H)
        band_gates = gates[band % len(gates)]
        convolve_band(inputs, band_gates, top, bottom, W)
        lstm_gates(band_gates, state, top, bottom)


@compiled
def lstm_bands_backward(inputs, gates, state, gradients, bands):
    """The backward pass of `lstm_bands`, from its activated gates; state: an `LSTMGradient`."""
    H, _, W = state.cell.shape
    for band in range(bands.first, bands.last):
        top, bottom = rows_of(band, bands, H)
        lstm_gates_backward(gates[band], state, gradients.products, top, bottom)
        convolve_band_backward(inputs, gradients, gates.shape[1], top, bottom, W)


@compiled
def conv_bands(inputs, products, out, bands):
    """A convolution: fills out (H_out, O, W_out). products: scratch (O, pixels)."""
    H, O, W = out.shape
    for band in range(bands.first, bands.last):
        top, bottom = rows_of(band, bands, H)
        convolve_band(inputs, products, top, bottom, W)
        for i in range(top, bottom):
            out[i] = products[:, (i - top) * W:(i - top + 1) * W]


@compiled
def conv_bands_backward(inputs, grad, gradients, bands):
    """The backward pass of `conv_bands`; grad: that of out."""
    H, O, W = grad.shape
    for band in range(bands.first, bands.last):
        top, bottom = rows_of(band, bands, H)
        for i in range(top, bottom):
            gradients.products[:O, (i - top) * W:(i - top + 1) * W] = grad[i]
        convolve_band_backward(inputs, gradients, O, top, bottom, W)


@compiled
def max_pool_bands(image, taps, values, stride, out, bands):
    """Max-pooling: fills out (H_out, C, W_out). values: scratch (9 * C, pixels)."""
    for band in range(bands.first, bands.last):
        top, bottom = rows_of(band, bands, len(out))
        gather_taps(image, taps, top, bottom, values, stride)
        pool(values, out[top:bottom], out.shape[2])


@compiled
def max_pool_bands_backward(image, taps, values, stride, grad, grad_image, bands):
    """The backward pass of `max_pool_bands`: adds to grad_image; grad: that of out."""
    for band in range(bands.first, bands.last):
        top, bottom = rows_of(band, bands, len(grad))
        gather_taps(image, taps, top, bottom, values, stride)
        pool_backward(values, grad[top:bottom], grad.shape[2])
        scatter_taps(values, taps, top, bottom, grad_image, stride)
