"""Matrix products of float32 on one core of a CPU, for factors of a few hundred rows and columns that lie in its cache:
as fast as its arithmetic, without a call into a library. So a piece of the network is one compiled function.

A block of the product stays in registers while numbers of the left factor, each spread over a vector, are multiplied
with vectors of the right one. Where a processor has tile registers, large products go through these (`amx`).
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels import amx
from kernels.simd import (
    BIG_REGISTERS,
    FLOATS,
    LENGTH,
    add_vectors,
    compiled,
    load_vector,
    multiply_vectors,
    pointer,
    repeat,
    store_vector,
    transpose,
)

# Rows and vectors of a block, as many as the registers hold: of a product with a packed factor, of the same for few
# rows, and of a product that is added to a sum.
PACKED, FEW, ADDED = ((12, 2), (4, 2), (8, 3)) if BIG_REGISTERS else ((6, 1), (4, 1), (6, 1))
ROWS, COLUMNS, PIXELS = 24, 48, 32  # what the sizes of products have to be multiples of
ON_TILES = amx.available()


@compiled
def padded(count, step):
    """The next multiple of step."""
    return (count + step - 1) // step * step


# -------------------------------------------------------------------------------------------------------------- blocks


def block_product(rows, vectors, adding):
    """An intrinsic that fills a block of `out`, or adds to it, with the product of `rows` rows of a left factor and
    16 * vectors columns of a right one, `count` (at least 1) numbers long. Addresses and distances are in bytes:
    between the left factor's rows and between its columns, between the right factor's rows, and out's."""

    @intrinsic
    def product(_, left, left_row, left_column, right, right_row, count, out, out_row):
        def generate(context, builder, signature, given):
            left, left_row, left_column, right, right_row, count, out, out_row = given
            int64, block = ir.IntType(64), [(row, n) for row in range(rows) for n in range(vectors)]

            def offset(base, by, times):
                return builder.add(base, builder.mul(by, int64(times)))

            def vector(base, number):
                return builder.add(base, int64(4 * LENGTH * number))

            zero, entry = ir.Constant(FLOATS, [0.0] * LENGTH), builder.block
            places = {(row, n): vector(offset(out, out_row, row), n) for row, n in block}
            first = {place: load_vector(builder, places[place]) if adding else zero for place in block}
            loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
            builder.branch(loop)
            builder.position_at_end(loop)
            here, there, to_do = (builder.phi(int64) for _ in range(3))
            sums = {place: builder.phi(FLOATS) for place in block}
            columns = [load_vector(builder, vector(there, n)) for n in range(vectors)]
            numbers = [repeat(builder, builder.load(pointer(builder, offset(here, left_row, row), ir.FloatType())))
                       for row in range(rows)]
            increased = {(row, n): add_vectors(builder, sums[row, n],
                                               multiply_vectors(builder, numbers[row], columns[n])) for row, n in block}
            nexts = builder.add(here, left_column), builder.add(there, right_row), builder.sub(to_do, int64(1))
            for value, start, following in [*zip((here, there, to_do), (left, right, count), nexts),
                                            *((sums[place], first[place], increased[place]) for place in block)]:
                value.add_incoming(start, entry)
                value.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed(">", nexts[2], int64(0)), loop, end)
            builder.position_at_end(end)
            for place in block:
                store_vector(builder, increased[place], places[place])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), generate

    return product


fill_block, fill_low_block, add_to_block = (block_product(*PACKED, adding=False), block_product(*FEW, adding=False),
                                            block_product(*ADDED, adding=True))
WIDTH, (ADDED_HEIGHT, ADDED_WIDTH) = LENGTH * PACKED[1], (ADDED[0], LENGTH * ADDED[1])


# ------------------------------------------------------------------------------------------------------------ products


def pack(matrix):
    """A left factor (M, K), float32, as `multiply` takes it: for `amx`, or (panels, K, rows of a panel), filled up with
    zeros."""
    if ON_TILES and min(matrix.shape) >= 100:  # tiles are well filled
        return amx.pack(np.ascontiguousarray(matrix))
    rows, K = matrix.shape
    height = FEW[0] if rows <= FEW[0] else PACKED[0]
    panels = np.zeros((padded(rows, height), K), np.float32)
    panels[:rows] = matrix
    return np.ascontiguousarray(panels.reshape(len(panels) // height, height, K).swapaxes(1, 2))


@compiled
def multiply(packed, matrix, out):
    """Fills out (M, N) with the product of a packed left factor (M, K) and a matrix (K, N). N is a multiple of PIXELS;
    rows are contiguous."""
    if packed.ndim == 1:
        amx.multiply(packed, matrix, out)
    else:
        K, height = packed.shape[1:]
        rest = np.empty((height, WIDTH), np.float32)
        for left in range(0, out.shape[1], WIDTH):
            for top in range(0, out.shape[0], height):
                whole = top + height <= out.shape[0]
                target = out.ctypes.data + top * out.strides[0] + 4 * left if whole else rest.ctypes.data
                stride = out.strides[0] if whole else rest.strides[0]
                panel = packed.ctypes.data + top // height * packed.strides[0]
                right = matrix.ctypes.data + 4 * left
                if height == FEW[0]:
                    fill_low_block(panel, 4, 4 * height, right, matrix.strides[0], K, target, stride)
                else:
                    fill_block(panel, 4, 4 * height, right, matrix.strides[0], K, target, stride)
                if not whole:
                    for i in range(top, out.shape[0]):
                        for j in range(WIDTH):
                            out[i, left + j] = rest[i - top, j]


@compiled
def add_product(packed, total, a, b):
    """Adds to total (M, N) the product of a (M, K) and the transpose of b (N, K), in the way in which `packed` is
    multiplied. M is a multiple of ROWS, N of COLUMNS, K of PIXELS; rows are contiguous."""
    if packed.ndim == 1:
        amx.add_product(total, a, b)
    else:
        (M, N), K = total.shape, a.shape[1]
        right = np.empty((K, N), np.float32)
        for top in range(0, N, LENGTH):
            for left in range(0, K, LENGTH):
                transpose(b.ctypes.data + top * b.strides[0] + 4 * left, b.strides[0],
                          right.ctypes.data + left * right.strides[0] + 4 * top, right.strides[0])
        for left in range(0, N, ADDED_WIDTH):
            for top in range(0, M, ADDED_HEIGHT):
                add_to_block(a.ctypes.data + top * a.strides[0], a.strides[0], 4, right.ctypes.data + 4 * left,
                             right.strides[0], K, total.ctypes.data + top * total.strides[0] + 4 * left,
                             total.strides[0])
