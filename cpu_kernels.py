"""Pieces of the network on a CPU, compiled by numba: what a few rows of an image need is sampled, multiplied and
activated, or goes back through all that, in one function, whose memory lies in a core's cache.

A whole row of the output shares its taps: each is two source rows, read from some column on around the image
(`geometry.RowTaps`). So a tap of a row is the weighted sum of two rows, and of that row with itself a column further,
all contiguous in memory: vector instructions. The western and the eastern tap of a kernel's row share the first sum.

Images are float32, row by row: (H, C, W), so that what a few rows need lies together in memory. The functions hold no
lock of Python's and start no threads.
"""

import numpy as np

from products import PIXELS, add_product, multiply, padded
from vectors import LENGTH, compiled, evens, fill, first_pairs, get, get_one, inlined, last_pairs, odds, put, put_one

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


# ------------------------------------------------------------------------------------------------------------ sampling
# Rows are addresses, in bytes, of float32: making a NumPy view of a row costs as much as the work on it. The array that
# they lie in has to be named where they are used, or numba frees it before.


@inlined
def weigh(a, by_a, b, by_b, out, n):
    """out = by_a * a + by_b * b, of n numbers."""
    many_a, many_b, whole = fill(by_a), fill(by_b), n - n % LENGTH
    for j in range(0, 4 * whole, 4 * LENGTH):
        put(out + j, many_a * get(a + j) + many_b * get(b + j))
    for j in range(4 * whole, 4 * n, 4):
        put_one(out + j, by_a * get_one(a + j) + by_b * get_one(b + j))


@inlined
def increase(total, a, by_a, b, by_b, n):
    """total += by_a * a + by_b * b, of n numbers."""
    many_a, many_b, whole = fill(by_a), fill(by_b), n - n % LENGTH
    for j in range(0, 4 * whole, 4 * LENGTH):
        put(total + j, get(total + j) + many_a * get(a + j) + many_b * get(b + j))
    for j in range(4 * whole, 4 * n, 4):
        put_one(total + j, get_one(total + j) + by_a * get_one(a + j) + by_b * get_one(b + j))


@inlined
def widest(span, top, bottom, stride):
    """How many columns beyond either edge output rows top to bottom - 1 read, or more: whole vectors."""
    return (span[top:bottom, 2].max() + stride + LENGTH - 2) // LENGTH * LENGTH


@inlined
def wrap(row, margin, W):
    """Fills the margins of a row (W + 2 margin) with what is at its other end, as far as there are columns."""
    for j in range(0, 4 * margin, 4 * LENGTH):
        put(row + 4 * (margin + W) + j, get(row + 4 * margin + j))
    for j in range(0, 4 * margin, 4 * LENGTH):
        put(row + j, get(row + 4 * W + j))


@inlined
def source_rows(image, channel, source, i, tap):
    """The northern and the southern row that a tap of output row i reads, and how much further east the southern is."""
    first = image.ctypes.data + channel * image.strides[1]
    return first + source[i, tap, 0] * image.strides[0], first + source[i, tap, 1] * image.strides[0], source[i, tap, 3]


@inlined
def blend(rows, by_north, by_south, margin, row, W):
    """Fills a row (W + 2 margin), from column -margin on, with the weighted sum of a tap's `source_rows`."""
    north, south, turn = rows
    here = row + 4 * margin
    weigh(north, by_north, south + 4 * turn, by_south, here, W - turn)
    if turn:
        weigh(north + 4 * (W - turn), by_north, south, by_south, here + 4 * (W - turn), turn)
    wrap(row, margin, W)


@inlined
def pass_on(a, b, weight_a, weight_b, rows, W):
    """The transpose of `blend`, of two taps that read the same rows: adds rows a and b to these. weight_a, weight_b:
    (northern, southern)."""
    north, south, turn = rows
    increase(north, a, weight_a[0], b, weight_b[0], W)
    increase(south + 4 * turn, a, weight_a[1], b, weight_b[1], W - turn)
    if turn:
        increase(south, a + 4 * (W - turn), weight_a[1], b + 4 * (W - turn), weight_b[1], turn)


@inlined
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
                        col = (source[i, tap, 2] + stride * j + inside) % W
                        both = weight[i, tap, 0] * north[col] + weight[i, tap, 1] * south[col]
                        out[line + tap, (i - top) * n + j] = weight[i, tap, 2 + inside] * both
            line += 9


@inlined
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
                        col = (source[i, tap, 2] + stride * j + outside) % W
                        passed_on = weight[i, tap, 2 + outside] * grad[line + tap, (i - top) * n + j]
                        north[col] -= weight[i, tap, 0] * passed_on
                        south[col] -= weight[i, tap, 1] * passed_on
            line += 9


SUMS = 0, 1, 3, 4, 6, 7  # the taps whose source rows have to be summed up; 2, 5 and 8 read the same sums as 0, 3 and 6


@inlined
def read(row, by_west, by_east, out, n, stride):
    """A tap of n output pixels, of the sum of its source rows."""
    if stride == 1:
        weigh(row, by_west, row + 4, by_east, out, n)
        return
    many_west, many_east, whole = fill(by_west), fill(by_east), n - n % LENGTH if stride == 2 else 0
    for j in range(0, 4 * whole, 4 * LENGTH):
        a, b = get(row + 2 * j), get(row + 2 * j + 4 * LENGTH)
        put(out + j, many_west * evens(a, b) + many_east * odds(a, b))
    for j in range(4 * whole, 4 * n, 4):
        put_one(out + j, by_west * get_one(row + stride * j) + by_east * get_one(row + stride * j + 4))


@inlined
def lay_out(grad, margin, row, W, n, stride):
    """Fills a row (W + 2 margin) with the gradient of n output pixels, at the columns that they stand for. Between
    these it is zero."""
    here, zero = row + 4 * margin, fill(np.float32(0))
    whole = n - n % LENGTH if stride <= 2 else 0
    for j in range(0, 4 * whole, 4 * LENGTH):
        numbers = get(grad + j)
        if stride == 1:
            put(here + j, numbers)
        else:
            put(here + 2 * j, first_pairs(numbers, zero))
            put(here + 2 * j + 4 * LENGTH, last_pairs(numbers, zero))
    for j in range(4 * whole, 4 * n, 4):
        put_one(here + stride * j, get_one(grad + j))
    wrap(row, margin, W)


@compiled
def sample(images, source, weight, span, edge, top, bottom, out, W, stride):
    """The taps of output rows top to bottom - 1. images: a tuple, (H, C, W) each; source, weight, span,
    edge: of `geometry.RowTaps`; out: (9 for each channel of the images, W / stride pixels for each of the rows)."""
    margin, n, line_bytes = widest(span, top, bottom, stride), W // stride, out.strides[0]
    memory, row_bytes = np.empty((9, W + 2 * margin), np.float32), 4 * (W + 2 * margin)
    for i in range(top, bottom):
        line = out.ctypes.data + 4 * (i - top) * n
        for image in images:
            for channel in range(image.shape[1]):
                for tap in SUMS:
                    blend(source_rows(image, channel, source, i, tap), weight[i, tap, 0], weight[i, tap, 1], margin,
                          memory.ctypes.data + tap * row_bytes, W)
                for tap in range(9):
                    row = memory.ctypes.data + (tap - 2 if tap % 3 == 2 else tap) * row_bytes
                    read(row + 4 * (margin + source[i, tap, 2]), weight[i, tap, 2], weight[i, tap, 3],
                         line + tap * line_bytes, n, stride)
                line += 9 * line_bytes
    if len(edge):
        mend_sample(images, source, weight, edge, top, bottom, out, W, stride)


@compiled
def spread(grad, source, weight, span, edge, top, bottom, images, W, stride):
    """The transpose of `sample`: adds to the images what grad (9 for each channel, pixels) passes on."""
    margin, n, line_bytes = widest(span, top, bottom, stride), W // stride, grad.strides[0]
    memory, row_bytes = np.zeros((9, W + 2 * margin), np.float32), 4 * (W + 2 * margin)
    sums, nothing = np.empty((9, W), np.float32), (np.float32(0), np.float32(0))
    for i in range(top, bottom):
        line = grad.ctypes.data + 4 * (i - top) * n
        for image in images:
            for channel in range(image.shape[1]):
                for tap in range(9):
                    row = memory.ctypes.data + tap * row_bytes
                    lay_out(line + tap * line_bytes, margin, row, W, n, stride)
                    row += 4 * (margin - source[i, tap, 2] - 1)
                    total = sums.ctypes.data + 4 * W * (tap - 2 if tap % 3 == 2 else tap)
                    if tap % 3 == 2:
                        increase(total, row + 4, weight[i, tap, 2], row, weight[i, tap, 3], W)
                    else:
                        weigh(row + 4, weight[i, tap, 2], row, weight[i, tap, 3], total, W)
                for tap in (0, 3, 6):
                    sides, middle = sums.ctypes.data + 4 * W * tap, sums.ctypes.data + 4 * W * (tap + 1)
                    of_sides = weight[i, tap, 0], weight[i, tap, 1]
                    of_middle = weight[i, tap + 1, 0], weight[i, tap + 1, 1]
                    rows = source_rows(image, channel, source, i, tap)
                    others = source_rows(image, channel, source, i, tap + 1)
                    if rows == others:
                        pass_on(sides, middle, of_sides, of_middle, rows, W)
                    else:
                        pass_on(sides, sides, of_sides, nothing, rows, W)
                        pass_on(middle, middle, of_middle, nothing, others, W)
                line += 9 * line_bytes
    if len(edge):
        mend_spread(grad, source, weight, edge, top, bottom, images, W, stride)


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
