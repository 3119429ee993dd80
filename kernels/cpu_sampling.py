"""The taps of a few rows of the output on a CPU, compiled by numba: gathered, scattered back, and max-pooled.

All taps of one output row that have the same place in the kernel read the same two source rows with the same weights,
from some column on around the image (`taps.RowTaps`). So they are a weighted sum of two rows, then of that row and
itself one column further: both are vector instructions on contiguous memory. The western and the eastern tap of a
kernel's row share the first sum.

Images are float32, row by row: (H, C, W), so that what a few rows need lies together in memory.
"""

import numpy as np

from kernels.simd import (
    LANES,
    broadcast,
    compiled,
    even_lanes,
    inlined,
    interleave_high,
    interleave_low,
    load,
    load_one,
    odd_lanes,
    store,
    store_one,
)

# ---------------------------------------------------------------------------------------------------------------- rows
# Rows are given by their addresses: making a NumPy view of a row costs as much as the work on it. numba frees an array
# after its last use by name, so the array that a row lies in has to be named after the row is used.


@inlined
def weighted_sum(a, weight_a, b, weight_b, out, n):
    """out = weight_a * a + weight_b * b, for rows of n numbers."""
    vector_a, vector_b, whole = broadcast(weight_a), broadcast(weight_b), n - n % LANES
    for j in range(0, 4 * whole, 4 * LANES):
        store(out + j, vector_a * load(a + j) + vector_b * load(b + j))
    for j in range(4 * whole, 4 * n, 4):
        store_one(out + j, weight_a * load_one(a + j) + weight_b * load_one(b + j))


@inlined
def add_weighted_sum(a, weight_a, b, weight_b, total, n):
    """total += weight_a * a + weight_b * b, for rows of n numbers."""
    vector_a, vector_b, whole = broadcast(weight_a), broadcast(weight_b), n - n % LANES
    for j in range(0, 4 * whole, 4 * LANES):
        store(total + j, load(total + j) + vector_a * load(a + j) + vector_b * load(b + j))
    for j in range(4 * whole, 4 * n, 4):
        store_one(total + j, load_one(total + j) + weight_a * load_one(a + j) + weight_b * load_one(b + j))


@inlined
def margin_of(span, top, bottom, stride):
    """How many columns a row needs beyond either edge, for output rows top to bottom - 1: whole vectors."""
    margin = 0
    for i in range(top, bottom):
        margin = max(margin, span[i, 2])
    return (margin + stride + LANES - 2) // LANES * LANES


@inlined
def fill_margins(row, margin, W):
    """Fills both margins of a row (W + 2 margin) with what is at its other end."""
    for j in range(0, 4 * margin, 4 * LANES):
        store(row + 4 * (margin + W) + j, load(row + 4 * margin + j))
    for j in range(0, 4 * margin, 4 * LANES):
        store(row + j, load(row + 4 * W + j))


@inlined
def source_rows(image, channel, source, i, tap):
    """Addresses of the northern and the southern row that a tap of output row i reads, and how many columns further
    east it reads the southern one."""
    first = image.ctypes.data + channel * image.strides[1]
    return first + source[i, tap, 0] * image.strides[0], first + source[i, tap, 1] * image.strides[0], source[i, tap, 3]


# -------------------------------------------------------------------------------------------------------------- gather


@inlined
def sum_source_rows(rows, weight_north, weight_south, margin, out, W):
    """Fills a row (W + 2 margin), from column -margin on, with the weighted sum of a tap's `source_rows`."""
    north, south, shift = rows
    first = out + 4 * margin
    weighted_sum(north, weight_north, south + 4 * shift, weight_south, first, W - shift)
    if shift:
        weighted_sum(north + 4 * (W - shift), weight_north, south, weight_south, first + 4 * (W - shift), shift)
    fill_margins(out, margin, W)


@inlined
def sum_source_columns(row, weight_west, weight_east, out, n, stride):
    """A tap of n output pixels, from the sum of its source rows."""
    if stride == 1:
        weighted_sum(row, weight_west, row + 4, weight_east, out, n)
        return
    west, east, whole = broadcast(weight_west), broadcast(weight_east), n - n % LANES if stride == 2 else 0
    for j in range(0, 4 * whole, 4 * LANES):
        a, b = load(row + 2 * j), load(row + 2 * j + 4 * LANES)
        store(out + j, west * even_lanes(a, b) + east * odd_lanes(a, b))
    for j in range(4 * whole, 4 * n, 4):
        store_one(out + j, weight_west * load_one(row + stride * j) + weight_east * load_one(row + stride * j + 4))


@inlined
def cut_at_seam(image, source, weight, edge, top, bottom, out, stride):
    """Corrects the taps on the seam where columns do not wrap: what lies outside the image is zero."""
    W = image.shape[2]
    for i in range(top, bottom):
        for tap in range(9):
            j, inside = edge[i, tap, 0], 1 - edge[i, tap, 1]
            if j >= 0:
                north, south, pixel = image[source[i, tap, 0]], image[source[i, tap, 1]], (i - top) * (W // stride) + j
                col = (source[i, tap, 2] + stride * j + inside) % W
                for channel in range(image.shape[1]):
                    both = weight[i, tap, 0] * north[channel, col] + weight[i, tap, 1] * south[channel, col]
                    out[9 * channel + tap, pixel] = weight[i, tap, 2 + inside] * both


ROW_SUMS = 0, 1, 3, 4, 6, 7  # the taps whose source rows are summed up; taps 2, 5 and 8 share the sums of 0, 3 and 6


@compiled
def gather_taps(image, taps, top, bottom, out, stride):
    """The taps of output rows top to bottom - 1: fills out, nine lines for each channel, in a line the pixels of these
    rows one after the other. taps: `RowTaps`."""
    source, weight, span, edge = taps
    W, line_bytes = image.shape[2], out.strides[0]
    margin, n = margin_of(span, top, bottom, stride), W // stride
    sums, row_bytes = np.empty((9, W + 2 * margin), np.float32), 4 * (W + 2 * margin)
    for i in range(top, bottom):
        line = out.ctypes.data + 4 * (i - top) * n
        for channel in range(image.shape[1]):
            for tap in ROW_SUMS:
                sum_source_rows(source_rows(image, channel, source, i, tap), weight[i, tap, 0], weight[i, tap, 1],
                                margin, sums.ctypes.data + tap * row_bytes, W)
            for tap in range(9):
                row = sums.ctypes.data + (tap - 2 if tap % 3 == 2 else tap) * row_bytes
                sum_source_columns(row + 4 * (margin + source[i, tap, 2]), weight[i, tap, 2], weight[i, tap, 3],
                                   line + tap * line_bytes, n, stride)
            line += 9 * line_bytes
    if len(edge):
        cut_at_seam(image, source, weight, edge, top, bottom, out, stride)


# ------------------------------------------------------------------------------------------------------------- scatter


@inlined
def spread_out(grad, margin, row, W, n, stride):
    """Fills a row (W + 2 margin) with the gradient of n output pixels, each at the source column that it stands for.
    The columns between them keep their zeros."""
    first, zero = row + 4 * margin, broadcast(np.float32(0))
    whole = n - n % LANES if stride <= 2 else 0
    for j in range(0, 4 * whole, 4 * LANES):
        numbers = load(grad + j)
        if stride == 1:
            store(first + j, numbers)
        else:
            store(first + 2 * j, interleave_low(numbers, zero))
            store(first + 2 * j + 4 * LANES, interleave_high(numbers, zero))
    for j in range(4 * whole, 4 * n, 4):
        store_one(first + stride * j, load_one(grad + j))
    fill_margins(row, margin, W)


@inlined
def add_to_source_rows(a, b, weight_a, weight_b, rows, W):
    """The transpose of `sum_source_rows`, of two taps that read the same rows: adds rows a and b to these. weight_a,
    weight_b: (northern, southern)."""
    north, south, shift = rows
    add_weighted_sum(a, weight_a[0], b, weight_b[0], north, W)
    add_weighted_sum(a, weight_a[1], b, weight_b[1], south + 4 * shift, W - shift)
    if shift:
        add_weighted_sum(a + 4 * (W - shift), weight_a[1], b + 4 * (W - shift), weight_b[1], south, shift)


@inlined
def cut_gradient_at_seam(grad, source, weight, edge, top, bottom, image, stride):
    """The transpose of `cut_at_seam`: takes back what was added from outside the image."""
    W = image.shape[2]
    for i in range(top, bottom):
        for tap in range(9):
            j, outside = edge[i, tap, 0], edge[i, tap, 1]
            if j >= 0:
                north, south, pixel = image[source[i, tap, 0]], image[source[i, tap, 1]], (i - top) * (W // stride) + j
                col = (source[i, tap, 2] + stride * j + outside) % W
                for channel in range(image.shape[1]):
                    added = weight[i, tap, 2 + outside] * grad[9 * channel + tap, pixel]
                    north[channel, col] -= weight[i, tap, 0] * added
                    south[channel, col] -= weight[i, tap, 1] * added


@compiled
def scatter_taps(grad, taps, top, bottom, image, stride):
    """The transpose of `gather_taps`: adds to the image what grad, nine lines for each channel, passes on to it."""
    source, weight, span, edge = taps
    W, line_bytes = image.shape[2], grad.strides[0]
    margin, n = margin_of(span, top, bottom, stride), W // stride
    spread, row_bytes = np.zeros((9, W + 2 * margin), np.float32), 4 * (W + 2 * margin)
    sums, nothing = np.empty((9, W), np.float32), (np.float32(0), np.float32(0))
    for i in range(top, bottom):
        line = grad.ctypes.data + 4 * (i - top) * n
        for channel in range(image.shape[1]):
            for tap in range(9):
                row = spread.ctypes.data + tap * row_bytes
                spread_out(line + tap * line_bytes, margin, row, W, n, stride)
                row += 4 * (margin - source[i, tap, 2] - 1)
                total = sums.ctypes.data + 4 * W * (tap - 2 if tap % 3 == 2 else tap)
                if tap % 3 == 2:
                    add_weighted_sum(row + 4, weight[i, tap, 2], row, weight[i, tap, 3], total, W)
                else:
                    weighted_sum(row + 4, weight[i, tap, 2], row, weight[i, tap, 3], total, W)
            for tap in (0, 3, 6):
                sides, middle = sums.ctypes.data + 4 * W * tap, sums.ctypes.data + 4 * W * (tap + 1)
                weight_sides = weight[i, tap, 0], weight[i, tap, 1]
                weight_middle = weight[i, tap + 1, 0], weight[i, tap + 1, 1]
                rows = source_rows(image, channel, source, i, tap)
                middle_rows = source_rows(image, channel, source, i, tap + 1)
                if rows == middle_rows:
                    add_to_source_rows(sides, middle, weight_sides, weight_middle, rows, W)
                else:
                    add_to_source_rows(sides, sides, weight_sides, nothing, rows, W)
                    add_to_source_rows(middle, middle, weight_middle, nothing, middle_rows, W)
            line += 9 * line_bytes
    if len(edge):
        cut_gradient_at_seam(grad, source, weight, edge, top, bottom, image, stride)


# ------------------------------------------------------------------------------------------------------------- pooling


@inlined
def largest_of(values, line, start, largest, n):
    """Fills largest (n,) with the largest of lines `line` to line + 8 of the values, for n pixels from `start` on. NaN
    is larger than any number, as for torch."""
    for j in range(n):
        largest[j] = values[line, start + j]
    for tap in range(1, 9):
        others = values[line + tap, start:start + n]
        for j in range(n):
            largest[j] = others[j] if others[j] > largest[j] or others[j] != others[j] else largest[j]


@compiled
def pool(values, out, n):
    """The largest of each nine taps: values (9 * C, n pixels for each row) -> out (rows, C, n)."""
    for row in range(out.shape[0]):
        for channel in range(out.shape[1]):
            largest_of(values, 9 * channel, row * n, out[row, channel], n)


@compiled
def pool_backward(values, grad, n):
    """The gradient of `pool`: the values become what each receives of grad (rows, C, n). Values that are equally large
    share it."""
    largest, share = np.empty(n, values.dtype), np.empty(n, values.dtype)
    for row in range(grad.shape[0]):
        start = row * n
        for channel in range(grad.shape[1]):
            largest_of(values, 9 * channel, start, largest, n)
            share[:] = 0
            for tap in range(9 * channel, 9 * channel + 9):
                tap_values = values[tap, start:start + n]
                for j in range(n):
                    tap_values[j] = 1 if tap_values[j] == largest[j] else 0
                    share[j] += tap_values[j]
            pooled_grad = grad[row, channel]
            for j in range(n):
                share[j] = pooled_grad[j] / share[j]
            for tap in range(9 * channel, 9 * channel + 9):
                tap_values = values[tap, start:start + n]
                for j in range(n):
                    tap_values[j] *= share[j]
