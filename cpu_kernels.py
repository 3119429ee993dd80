"""What a step of the network costs on a CPU besides its matrix products, compiled by numba: sampling, pooling, gates.

A whole row of the output shares its taps: each is two source rows, read from some column on around the image
(`geometry.RowTaps`). So a tap of a row is the weighted sum of two rows, and of that row with itself a column further,
all contiguous in memory: vector instructions. The western and the eastern tap of a kernel's row share the first sum.

Images are float32, row by row: (H, C, W), so that what a few rows need lies together in memory. The functions hold no
lock of Python's and start no threads.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.config import DISABLE_JIT
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

if DISABLE_JIT:
    raise ImportError("numba compiles nothing (NUMBA_DISABLE_JIT)")

# `contract` allows fused multiply-add. Nothing here may assume that numbers are finite: what is not has to be noticed.
OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


def compiled(function):
    """The function compiled at its first call, once for all processes where a folder for that may be written to."""
    try:
        return njit(function, cache=True, **OPTIONS)
    except RuntimeError:
        return njit(function, **OPTIONS)


inlined = njit(inline="always", **OPTIONS)


# ------------------------------------------------------------------------------------------------------------- vectors
# Of 16 float32: to get and put, to add and to multiply. A loop over them compiles to just that; one over an array's
# numbers has to find out first, each time, whether arrays overlap. Where registers are smaller, a vector takes several.
# They are in this file because numba's cache of compiled functions looks for changes in a function's own file alone.

LENGTH = 16
FLOATS = ir.VectorType(ir.FloatType(), LENGTH)


class Vector(types.Type):
    def __init__(self):
        super().__init__(name="Vector")


VECTOR = Vector()


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, FLOATS)


def pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic
def get(_, address):
    """The 16 float32 at an address, in bytes."""

    def generate(context, builder, signature, given):
        vector = builder.load(pointer(builder, given[0], FLOATS))
        vector.align = 4
        return vector

    return VECTOR(types.intp), generate


@intrinsic
def put(_, address, vector):
    """Writes 16 float32 to an address."""

    def generate(context, builder, signature, given):
        builder.store(given[1], pointer(builder, given[0], FLOATS)).align = 4
        return context.get_dummy_value()

    return types.void(types.intp, vector), generate


@intrinsic
def get_one(_, address):
    return types.float32(types.intp), lambda context, builder, signature, given: builder.load(
        pointer(builder, given[0], ir.FloatType()))


@intrinsic
def put_one(_, address, number):
    def generate(context, builder, signature, given):
        builder.store(given[1], pointer(builder, given[0], ir.FloatType()))
        return context.get_dummy_value()

    return types.void(types.intp, types.float32), generate


@intrinsic
def fill(_, number):
    """A vector of one float32, many times."""

    def generate(context, builder, signature, given):
        first = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), given[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LENGTH), [0] * LENGTH)
        return builder.shuffle_vector(first, first, zeros)

    return VECTOR(types.float32), generate


def shuffled(choice):
    """An intrinsic: the vector of these numbers, by their places, of two vectors."""

    @intrinsic
    def shuffle(_, a, b):
        def generate(context, builder, signature, given):
            return builder.shuffle_vector(*given, ir.Constant(ir.VectorType(ir.IntType(32), LENGTH), choice))

        return VECTOR(a, b), generate

    return shuffle


evens = shuffled(list(range(0, 32, 2)))  # of 32 numbers, those at even places
odds = shuffled(list(range(1, 32, 2)))
first_pairs = shuffled([place for j in range(8) for place in (j, 16 + j)])  # a[0], b[0], a[1], b[1], ...
last_pairs = shuffled([place for j in range(8, 16) for place in (j, 16 + j)])


@intrinsic
def _add(_, a, b):
    return VECTOR(a, b), lambda context, builder, signature, given: builder.fadd(*given, flags=("contract",))


@intrinsic
def _multiply(_, a, b):
    return VECTOR(a, b), lambda context, builder, signature, given: builder.fmul(*given, flags=("contract",))


@overload(operator.add)
def add(a, b):
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda a, b: _add(a, b)


@overload(operator.mul)
def multiply(a, b):
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda a, b: _multiply(a, b)


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


def sampler(stride):
    """The two functions that sample at a stride, and the other way; each compiled for that stride alone."""

    @compiled
    def sample(images, source, weight, span, edge, top, bottom, out, W):
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
    def spread(grad, source, weight, span, edge, top, bottom, images, W):
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

    return sample, spread


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
