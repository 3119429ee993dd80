"""TODO"""

import numpy as np

from kernels.simd import (
    LENGTH,
    compiled,
    evens,
    fill,
    first_pairs,
    get,
    get_one,
    inlined,
    last_pairs,
    odds,
    put,
    put_one,
)

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
