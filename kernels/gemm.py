"""Matrix products (GEMM) of float32 on one core, for factors of a few hundred rows and columns that lie in its cache.
They are as fast as the core's arithmetic, and call no library, so that a band of a layer is one compiled function.

A block of the product stays in registers. Each step broadcasts the numbers of the left factor's next column, one for
each row of the block, and multiplies them with vectors of the right factor's next row.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.simd import (
    FLOATS,
    LANES,
    compiled,
    emit_add,
    emit_broadcast,
    emit_load,
    emit_multiply,
    emit_store,
    has_avx512,
    pointer,
    transpose,
)

# Rows and vectors of a block, as many as the registers hold: in a product with a packed factor, in the same with few
# rows, and in a product that is added to a sum.
PACKED, FEW, ADDED = ((12, 2), (4, 2), (8, 3)) if has_avx512() else ((6, 1), (4, 1), (6, 1))
ROWS, COLUMNS, PIXELS = 24, 48, 32  # what the sizes of the products' factors are multiples of


@compiled
def padded(count, step):
    """The smallest multiple of step that is at least count."""
    return (count + step - 1) // step * step


# -------------------------------------------------------------------------------------------------------------- blocks


def block_product(rows, vectors, adding):
    """An intrinsic that fills a block of `out`, or adds to it, with the product of `rows` rows of a left factor and
    16 * vectors columns of a right one, `count` (at least 1) numbers long.

    Its arguments are addresses and distances: from one row of the left factor to the next and from one column to the
    next, from one row of the right factor to the next, and the same for out.
    """

    @intrinsic
    def product(_, left, left_row, left_column, right, right_row, count, out, out_row):
        def generate(context, builder, signature, values):
            left, left_row, left_column, right, right_row, count, out, out_row = values
            int64, block = ir.IntType(64), [(row, n) for row in range(rows) for n in range(vectors)]

            def row_address(base, row_bytes, row):
                return builder.add(base, builder.mul(row_bytes, int64(row)))

            def vector_address(base, n):
                return builder.add(base, int64(4 * LANES * n))

            zero, entry = ir.Constant(FLOATS, [0.0] * LANES), builder.block
            targets = {(row, n): vector_address(row_address(out, out_row, row), n) for row, n in block}
            first = {cell: emit_load(builder, targets[cell]) if adding else zero for cell in block}
            loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
            builder.branch(loop)
            builder.position_at_end(loop)
            left_now, right_now, steps_left = (builder.phi(int64) for _ in range(3))
            sums = {cell: builder.phi(FLOATS) for cell in block}
            columns = [emit_load(builder, vector_address(right_now, n)) for n in range(vectors)]
            numbers = [emit_broadcast(builder, builder.load(
                pointer(builder, row_address(left_now, left_row, row), ir.FloatType()))) for row in range(rows)]
            increased = {(row, n): emit_add(builder, sums[row, n], emit_multiply(builder, numbers[row], columns[n]))
                         for row, n in block}
            nexts = (builder.add(left_now, left_column), builder.add(right_now, right_row),
                     builder.sub(steps_left, int64(1)))
            for value, start, following in [*zip((left_now, right_now, steps_left), (left, right, count), nexts),
                                            *((sums[cell], first[cell], increased[cell]) for cell in block)]:
                value.add_incoming(start, entry)
                value.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed(">", nexts[2], int64(0)), loop, end)
            builder.position_at_end(end)
            for cell in block:
                emit_store(builder, increased[cell], targets[cell])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), generate

    return product


fill_block, fill_low_block, add_to_block = (block_product(*PACKED, adding=False), block_product(*FEW, adding=False),
                                            block_product(*ADDED, adding=True))
WIDTH, (ADDED_HEIGHT, ADDED_WIDTH) = LANES * PACKED[1], (ADDED[0], LANES * ADDED[1])


# ------------------------------------------------------------------------------------------------------------ products


def pack(matrix):
    """A left factor (M, K), float32, as `multiply_packed` reads it: (panels, K, rows of a panel), padded with zeros."""
    M, K = matrix.shape
    height = FEW[0] if FEW[0] >= M else PACKED[0]
    panels = np.zeros((padded(M, height), K), np.float32)
    panels[:M] = matrix
    return np.ascontiguousarray(panels.reshape(len(panels) // height, height, K).swapaxes(1, 2))


@compiled
def multiply_packed(packed, right, out):
    """out (M, N) = the left factor (M, K), packed, times `right` (K, N). N is a multiple of PIXELS; rows are
    contiguous."""
    K, height = packed.shape[1:]
    rest = np.empty((height, WIDTH), np.float32)
    for left in range(0, out.shape[1], WIDTH):
        for top in range(0, out.shape[0], height):
            whole = top + height <= out.shape[0]
            target = out.ctypes.data + top * out.strides[0] + 4 * left if whole else rest.ctypes.data
            target_row = out.strides[0] if whole else rest.strides[0]
            panel, columns = packed.ctypes.data + top // height * packed.strides[0], right.ctypes.data + 4 * left
            if height == FEW[0]:
                fill_low_block(panel, 4, 4 * height, columns, right.strides[0], K, target, target_row)
            else:
                fill_block(panel, 4, 4 * height, columns, right.strides[0], K, target, target_row)
            if not whole:
                for i in range(top, out.shape[0]):
                    for j in range(WIDTH):
                        out[i, left + j] = rest[i - top, j]


@compiled
def add_transposed_product(a, b, total):
    """total (M, N) += a (M, K) times the transpose of b (N, K). M is a multiple of ROWS, N of COLUMNS, K of PIXELS;
    rows are contiguous."""
    (M, N), K = total.shape, a.shape[1]
    right = np.empty((K, N), np.float32)
    for top in range(0, N, LANES):
        for left in range(0, K, LANES):
            transpose(b.ctypes.data + top * b.strides[0] + 4 * left, b.strides[0],
                      right.ctypes.data + left * right.strides[0] + 4 * top, right.strides[0])
    for left in range(0, N, ADDED_WIDTH):
        for top in range(0, M, ADDED_HEIGHT):
            add_to_block(a.ctypes.data + top * a.strides[0], a.strides[0], 4, right.ctypes.data + 4 * left,
                         right.strides[0], K, total.ctypes.data + top * total.strides[0] + 4 * left, total.strides[0])
