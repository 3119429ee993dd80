"""What a step of the network costs on a CPU besides its matrix products, compiled by numba: sampling, pooling, gates.

A whole row of the output shares its taps: each is two source rows, read from some column on around the image
(`geometry.RowTaps`). So a tap of a row is a weighted sum of four shifted rows, contiguous in memory, which compiles to
vector instructions. Source rows are first laid out with what they need from the other side of the image at both ends.

Images are float32, row by row: (H, C, W), so that what a few rows need lies together in memory. The functions hold no
lock of Python's and start no threads.
"""

import numpy as np
from numba import njit

# `contract` allows fused multiply-add. Nothing here may assume that numbers are finite: what is not has to be noticed.
OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


def compiled(function):
    """The function compiled at its first call, once for all processes where a folder for that may be written to."""
    try:
        return njit(function, cache=True, **OPTIONS)
    except RuntimeError:
        return njit(function, **OPTIONS)


inlined = njit(inline="always", **OPTIONS)


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


# ------------------------------------------------------------------------------------------------------------ sampling
# What the inner loops look like decides whether they become vector instructions: they end at an argument, not at an
# array's length; their stride is known to the compiler; and the exceptions at the seam have functions of their own.
# Each of these doubles the speed.


@inlined
def reach(span, top, bottom, stride):
    """What output rows top to bottom - 1 read: the first row, the last + 1, and columns beyond either edge."""
    return span[top:bottom, 0].min(), span[top:bottom, 1].max(), span[top:bottom, 2].max() + stride - 1


@inlined
def lay_out(image, channel, first, stop, margin, rows, W):
    """Fills rows (stop - first, W + 2 margin) with a channel's rows first to stop - 1, from column -margin on."""
    for r in range(first, stop):
        here, there = image[r, channel], rows[r - first]
        for j in range(W):
            there[j + margin] = here[j]
        for j in range(margin):
            there[j], there[j + margin + W] = here[W - margin + j], here[j]


@inlined
def fold(rows, first, stop, margin, image, channel, W):
    """The transpose of `lay_out`: adds what stands in the rows to the channel."""
    for r in range(first, stop):
        here, there = image[r, channel], rows[r - first]
        for j in range(W):
            here[j] += there[j + margin]
        for j in range(margin):
            here[W - margin + j] += there[j]
            here[j] += there[j + margin + W]


@inlined
def read_by(rows, first, margin, source, W):
    """The northern and the southern row (W + 1,) that a tap reads, of rows laid out from `first` and -margin on."""
    col, other = source[2] + margin, source[3] + margin
    return rows[source[0] - first, col:col + W + 1], rows[source[1] - first, other:other + W + 1]


def sampler(stride):
    """The two functions that sample at a stride, and the other way; each compiled for that stride alone."""

    @compiled
    def sample(images, source, weight, span, top, bottom, out, W):
        """The taps of output rows top to bottom - 1. images: a tuple, (H, C, W) each; source, weight, span: of
        `geometry.RowTaps`; out: (9 for each channel of the images, W / stride pixels for each of the rows)."""
        first, stop, margin = reach(span, top, bottom, stride)
        rows, n, line = np.empty((stop - first, W + 2 * margin), out.dtype), W // stride, 0
        for image in images:
            for channel in range(image.shape[1]):
                lay_out(image, channel, first, stop, margin, rows, W)
                for i in range(top, bottom):
                    for tap in range(9):
                        north, south = read_by(rows, first, margin, source[i, tap], W)
                        nw, ne, sw, se = weight[i, tap, 0], weight[i, tap, 1], weight[i, tap, 2], weight[i, tap, 3]
                        here = out[line + tap, (i - top) * n:(i - top + 1) * n]
                        for j in range(n):
                            k = stride * j
                            here[j] = nw * north[k] + ne * north[k + 1] + sw * south[k] + se * south[k + 1]
                line += 9

    @compiled
    def spread(grad, source, weight, span, top, bottom, images, W):
        """The transpose of `sample`: adds to the images what grad (9 for each channel, pixels) passes on."""
        first, stop, margin = reach(span, top, bottom, stride)
        rows, n, line = np.empty((stop - first, W + 2 * margin), grad.dtype), W // stride, 0
        padded = np.zeros(W + 2, grad.dtype)
        for image in images:
            for channel in range(image.shape[1]):
                rows[:] = 0
                for i in range(top, bottom):
                    for tap in range(9):
                        north, south = read_by(rows, first, margin, source[i, tap], W)
                        nw, ne, sw, se = weight[i, tap, 0], weight[i, tap, 1], weight[i, tap, 2], weight[i, tap, 3]
                        here = grad[line + tap, (i - top) * n:(i - top + 1) * n]
                        for j in range(n):
                            padded[stride * j + 1] = here[j]
                        for j in range(W + 1):  # both columns in one pass: a second would wait for what the first wrote
                            north[j] += nw * padded[j + 1] + ne * padded[j]
                        for j in range(W + 1):
                            south[j] += sw * padded[j + 1] + se * padded[j]
                fold(rows, first, stop, margin, image, channel, W)
                line += 9

    return sample, spread


@compiled
def mend_sample(images, source, weight, edge, top, bottom, out, W, stride):
    """Takes what lies outside the image out of what `sample` made; edge: of `geometry.RowTaps`."""
    n, line = W // stride, 0
    for image in images:
        for channel in range(image.shape[1]):
            for i in range(top, bottom):
                for tap in range(9):
                    j, inside = edge[i, tap, 0], 1 - edge[i, tap, 1]
                    if j >= 0:
                        north, south = image[source[i, tap, 0], channel], image[source[i, tap, 1], channel]
                        out[line + tap, (i - top) * n + j] = (
                            weight[i, tap, inside] * north[(source[i, tap, 2] + stride * j + inside) % W]
                            + weight[i, tap, 2 + inside] * south[(source[i, tap, 3] + stride * j + inside) % W])
            line += 9


@compiled
def mend_spread(grad, source, weight, edge, top, bottom, images, W, stride):
    """Takes back what `spread` added from outside the image."""
    n, line = W // stride, 0
    for image in images:
        for channel in range(image.shape[1]):
            for i in range(top, bottom):
                for tap in range(9):
                    j, outside = edge[i, tap, 0], edge[i, tap, 1]
                    if j >= 0:
                        north, south = image[source[i, tap, 0], channel], image[source[i, tap, 1], channel]
                        passed_on = grad[line + tap, (i - top) * n + j]
                        north[(source[i, tap, 2] + stride * j + outside) % W] -= weight[i, tap, outside] * passed_on
                        south[(source[i, tap, 3] + stride * j + outside) % W] -= weight[i, tap, 2 + outside] * passed_on
            line += 9


# ------------------------------------------------------------------------------------------------------------- pooling


@inlined
def largest_of(samples, line, start, largest, n):
    """The largest of nine taps, lines `line` to line + 8 of the samples, for n pixels from `start` on: fills (n,). NaN
    is larger than any number, as for torch."""
    for j in range(n):
        largest[j] = samples[line, start + j]
    for tap in range(1, 9):
        here = samples[line + tap, start:start + n]
        for j in range(n):
            largest[j] = here[j] if here[j] > largest[j] or here[j] != here[j] else largest[j]


@compiled
def find_largest(samples, out, n):
    """The largest of each nine taps: samples (9 * C, n pixels for each row) -> out (rows, C, n)."""
    for row in range(out.shape[0]):
        for channel in range(out.shape[1]):
            largest_of(samples, 9 * channel, row * n, out[row, channel], n)


@compiled
def share_out(samples, grad, n):
    """The gradient of `find_largest`: samples become what each receives of grad (rows, C, n). Those that are equally
    large share it."""
    largest, share = np.empty(n, samples.dtype), np.empty(n, samples.dtype)
    for row in range(grad.shape[0]):
        start = row * n
        for channel in range(grad.shape[1]):
            largest_of(samples, 9 * channel, start, largest, n)
            share[:] = 0
            for tap in range(9 * channel, 9 * channel + 9):
                here = samples[tap, start:start + n]
                for j in range(n):
                    here[j] = 1 if here[j] == largest[j] else 0
                    share[j] += here[j]
            given = grad[row, channel]
            for j in range(n):
                share[j] = given[j] / share[j]
            for tap in range(9 * channel, 9 * channel + 9):
                here = samples[tap, start:start + n]
                for j in range(n):
                    here[j] *= share[j]


# --------------------------------------------------------------------------------------------------------------- gates


@compiled
def advance(gates, bias, cell, next_hidden, next_cell, top, bottom, W):
    """A step of the LSTM for rows top to bottom - 1 of cell, next_hidden and next_cell, (H, hidden, W).

    gates: (4 * hidden, pixels of the rows): input, forget, output and candidate before activation and without bias;
    they are activated in place.
    """
    hidden = cell.shape[1]
    for row in range(top, bottom):
        start, stop = (row - top) * W, (row - top + 1) * W
        for k in range(hidden):
            i, f = gates[k, start:stop], gates[hidden + k, start:stop]
            o, g = gates[2 * hidden + k, start:stop], gates[3 * hidden + k, start:stop]
            bias_i, bias_f, bias_o, bias_g = bias[k], bias[hidden + k], bias[2 * hidden + k], bias[3 * hidden + k]
            before, after, shown = cell[row, k], next_cell[row, k], next_hidden[row, k]
            for j in range(W):
                i[j] = sigmoid(i[j] + bias_i)
                f[j] = sigmoid(f[j] + bias_f)
                o[j] = sigmoid(o[j] + bias_o)
                g[j] = tanh(g[j] + bias_g)
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
