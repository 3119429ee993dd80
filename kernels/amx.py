"""Matrix products of float32 on the tile registers (AMX) that Intel's server processors have since 2023.

Tiles multiply bfloat16, of 8 significant bits, and add up in float32, at sixteen times the rate of float32's own
instructions. A float32 is the exact sum of three bfloat16: high, middle and low part. Of the nine products of two such
sums the three smallest are less than what float32 rounds away; the other six are computed here. The result is as exact
as float32's own, usually more, since what is rounded is only the sum.

A tile has 16 rows of 64 bytes. `dot` multiplies a left tile, 16 rows of 32 numbers, with a right one, 16 columns: its
row i holds numbers 2 i and 2 i + 1 of every column, side by side. Factors are packed into such tiles, block by block:
32 rows, or columns, of 32 numbers, the three parts of two tiles each, filled up with zeros.
"""

import ctypes
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.simd import compiled, host_has, inlined, load_vector, pointer, store_vector, transpose

BYTE, WORD, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
STEP = 32  # numbers of a row that one `dot` takes
BLOCK = 32  # rows, or columns, that are multiplied at a time: two tiles
TILE_BYTES, PART_BYTES, STEP_BYTES = 1024, 2048, 6144  # of a tile, of both tiles of a block, of their three parts

SHAPES = np.zeros(64, np.uint8)  # of all eight tile registers, as `configure` takes them
SHAPES[0], SHAPES[16:32:2], SHAPES[48:56] = 1, 64, 16  # the format's number; bytes in a row; rows


def available():
    """Whether this processor has such tiles, and the system lets this process use them."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    ask_for_permission, of_tile_data, prctl = 0x1023, 18, 158  # once in a process; threads and forks inherit it
    return (host_has("amx-tile", "amx-bf16") and
            ctypes.CDLL(None).syscall(prctl, ask_for_permission, of_tile_data) == 0)


# -------------------------------------------------------------------------------------------------------- instructions


def emit(context, builder, name, *operands):
    kinds = [operand.type for operand in operands]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), kinds), f"llvm.x86.{name}")
    builder.call(function, operands)
    return context.get_dummy_value()


def register(literal):
    return ir.Constant(BYTE, literal.literal_value)


@intrinsic
def configure(_, address):
    """Sets up this thread's tile registers; until then, and after `release`, they cannot be used."""
    return types.void(types.int64), lambda context, builder, signature, given: emit(
        context, builder, "ldtilecfg", pointer(builder, given[0], BYTE))


@intrinsic
def release(_):
    return types.void(), lambda context, builder, signature, given: emit(context, builder, "tilerelease")


@intrinsic(prefer_literal=True)
def clear(_, tile):
    return types.void(tile), lambda context, builder, signature, given: emit(
        context, builder, "tilezero", register(tile))


@intrinsic(prefer_literal=True)
def load(_, tile, address, stride):
    return types.void(tile, types.int64, types.int64), lambda context, builder, signature, given: emit(
        context, builder, "tileloadd64", register(tile), pointer(builder, given[1], BYTE), given[2])


@intrinsic(prefer_literal=True)
def store(_, tile, address, stride):
    return types.void(tile, types.int64, types.int64), lambda context, builder, signature, given: emit(
        context, builder, "tilestored64", register(tile), pointer(builder, given[1], BYTE), given[2])


@intrinsic(prefer_literal=True)
def dot(_, total, left, right):
    """Adds the product of tiles left and right to tile total."""
    return types.void(total, left, right), lambda context, builder, signature, given: emit(
        context, builder, "tdpbf16ps", register(total), register(left), register(right))


@intrinsic
def prefetch(_, address):
    """Fetches the line of the cache at the address, to be written to soon."""

    def generate(context, builder, signature, given):
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INT, INT, INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer(builder, given[0], BYTE), INT(1), INT(3), INT(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


# ------------------------------------------------------------------------------------------------------------- packing


def splat(vector_type, value):
    return ir.Constant(vector_type, [ir.Constant(vector_type.element, value)] * vector_type.count)


def parts(builder, vector):
    """The high, middle and low part of a vector of float32, each as the bits of float32s whose lower half is zero. What
    is not finite stays so in one of them."""
    bits_type = ir.VectorType(INT, vector.type.count)
    for to_nearest in (True, True, False):  # what is left for the low part has 8 bits, and is not to be rounded
        bits = builder.bitcast(vector, bits_type)
        if to_nearest:
            bits = builder.add(bits, splat(bits_type, 0x8000))
        bits = builder.and_(bits, splat(bits_type, 0xFFFF0000))
        yield bits
        vector = builder.fsub(vector, builder.bitcast(bits, vector.type))


@intrinsic
def pack_row(_, source, target):
    """Packs 32 numbers of a row of the left factor: a row of a tile in each part."""

    def generate(context, builder, signature, given):
        for part, bits in enumerate(parts(builder, load_vector(builder, given[0], ir.VectorType(FLOAT, 32)))):
            half = builder.trunc(builder.lshr(bits, splat(bits.type, 16)), ir.VectorType(WORD, 32))
            store_vector(builder, half, builder.add(given[1], ir.Constant(LONG, part * PART_BYTES)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def pack_pair(_, even, odd, target):
    """Packs 16 columns of two consecutive rows of the right factor: a row of a tile in each part."""

    def generate(context, builder, signature, given):
        rows = (parts(builder, load_vector(builder, row)) for row in given[:2])
        for part, (first, second) in enumerate(zip(*rows)):
            pair = builder.or_(builder.lshr(first, splat(first.type, 16)), second)
            store_vector(builder, pair, builder.add(given[2], ir.Constant(LONG, part * PART_BYTES)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@inlined
def aligned(count):
    """Memory for so many float32 that begins with a line of the cache: others load six times slower."""
    memory = np.empty(count + 16, np.float32)
    return memory[(-memory.ctypes.data % 64) // 4:][:count]


@inlined
def steps_of(length):
    return (length + STEP - 1) // STEP


@inlined
def new_block():
    """Memory for what is at the end of a matrix and fills no block: (32, 32)."""
    return aligned(BLOCK * BLOCK).reshape(BLOCK, BLOCK)


@inlined
def copy_out(matrix, top, left, block):
    """Fills the block with what the matrix has from there on, and zeros; its address."""
    block[:] = 0
    for i in range(min(BLOCK, matrix.shape[0] - top)):
        for j in range(min(BLOCK, matrix.shape[1] - left)):
            block[i, j] = matrix[top + i, left + j]
    return block.ctypes.data


@inlined
def copy_back(block, matrix, top, left):
    """Fills the matrix from there on with the block, as far as it reaches."""
    for i in range(min(BLOCK, matrix.shape[0] - top)):
        for j in range(min(BLOCK, matrix.shape[1] - left)):
            matrix[top + i, left + j] = block[i, j]


@inlined
def pack_block(matrix, top, target, rest):
    """Packs rows top to top + 31 of a left factor."""
    for step in range(steps_of(matrix.shape[1])):
        source, stride = matrix[top, STEP * step:].ctypes.data, matrix.strides[0]
        if matrix.shape[0] - top < BLOCK or matrix.shape[1] - STEP * step < STEP:
            source, stride = copy_out(matrix, top, STEP * step, rest), 4 * BLOCK
        for i in range(BLOCK):
            pack_row(source + i * stride, target + step * STEP_BYTES + i // 16 * TILE_BYTES + i % 16 * 64)


@inlined
def pack_columns(matrix, left, target, rest):
    """Packs columns left to left + 31 of a right factor."""
    for step in range(steps_of(matrix.shape[0])):
        source, stride = matrix[STEP * step, left:].ctypes.data, matrix.strides[0]
        if matrix.shape[0] - STEP * step < STEP or matrix.shape[1] - left < BLOCK:
            source, stride = copy_out(matrix, STEP * step, left, rest), 4 * BLOCK
        for i in range(16):
            for tile in range(2):
                even = source + 2 * i * stride + 64 * tile
                pack_pair(even, even + stride, target + step * STEP_BYTES + tile * TILE_BYTES + 64 * i)


@compiled
def pack(matrix):
    """A left factor (M, K), each row contiguous, packed."""
    M, K = matrix.shape
    steps = steps_of(K)
    packed, rest = aligned(steps_of(M) * steps * STEP_BYTES // 4), new_block()
    for top in range(0, M, BLOCK):
        pack_block(matrix, top, packed.ctypes.data + top // BLOCK * steps * STEP_BYTES, rest)
    return packed


# ------------------------------------------------------------------------------------------------------------ products


@inlined
def load_left(address, part):
    load(4, address + part * PART_BYTES, 64)
    load(5, address + part * PART_BYTES + TILE_BYTES, 64)


@inlined
def load_right(address, part):
    load(6, address + part * PART_BYTES, 64)
    load(7, address + part * PART_BYTES + TILE_BYTES, 64)


@inlined
def add_dots():
    dot(0, 4, 6)
    dot(1, 4, 7)
    dot(2, 5, 6)
    dot(3, 5, 7)


@inlined
def multiply_block(left, right, steps):
    """Adds to tiles 0 to 3 the product of a packed block of the left factor and one of the right."""
    for _ in range(steps):  # parts 0, 1 and 2: high, middle and low; the largest product last
        load_left(left, 2)
        load_right(right, 0)
        add_dots()
        load_left(left, 1)
        add_dots()
        load_right(right, 1)
        add_dots()
        load_left(left, 0)
        add_dots()
        load_right(right, 2)
        add_dots()
        load_right(right, 0)
        add_dots()
        left += STEP_BYTES
        right += STEP_BYTES


@inlined
def clear_block():
    clear(0)
    clear(1)
    clear(2)
    clear(3)


@inlined
def load_block(address, stride):
    load(0, address, stride)
    load(1, address + 64, stride)
    load(2, address + 16 * stride, stride)
    load(3, address + 16 * stride + 64, stride)


@inlined
def store_block(address, stride):
    store(0, address, stride)
    store(1, address + 64, stride)
    store(2, address + 16 * stride, stride)
    store(3, address + 16 * stride + 64, stride)


@compiled
def multiply(packed, matrix, out):
    """Fills out (M, N) with the product of a packed left factor (M, K) and a matrix (K, N); rows contiguous."""
    M, N = out.shape
    steps = steps_of(matrix.shape[0])
    columns, rest = aligned(steps * STEP_BYTES // 4), new_block()
    configure(SHAPES.ctypes.data)
    for left in range(0, N, BLOCK):
        pack_columns(matrix, left, columns.ctypes.data, rest)
        for top in range(0, M, BLOCK):
            target, stride = out.ctypes.data + top * out.strides[0] + 4 * left, out.strides[0]
            for i in range(min(BLOCK, M - top)):
                prefetch(target + i * stride)
                prefetch(target + i * stride + 64)
            clear_block()
            multiply_block(packed.ctypes.data + top // BLOCK * steps * STEP_BYTES, columns.ctypes.data, steps)
            if top + BLOCK <= M and left + BLOCK <= N:
                store_block(target, stride)
            else:
                store_block(rest.ctypes.data, 4 * BLOCK)
                copy_back(rest, out, top, left)
    release()


@compiled
def add_product(total, a, b):
    """Adds to total (M, N) the product of a (M, K) and the transpose of b (N, K); rows contiguous."""
    M, N = total.shape
    steps = steps_of(a.shape[1])
    right, rows = pack(b), aligned(steps * STEP_BYTES // 4)
    for tile in range(right.ctypes.data, right.ctypes.data + 4 * right.size, TILE_BYTES):
        transpose(tile, 64, tile, 64)  # a left factor's tile becomes that of a right one
    rest = new_block()
    configure(SHAPES.ctypes.data)
    for top in range(0, M, BLOCK):
        pack_block(a, top, rows.ctypes.data, rest)
        for left in range(0, N, BLOCK):
            whole = top + BLOCK <= M and left + BLOCK <= N
            target, stride = total.ctypes.data + top * total.strides[0] + 4 * left, total.strides[0]
            if not whole:
                target, stride = copy_out(total, top, left, rest), 4 * BLOCK
            load_block(target, stride)
            multiply_block(rows.ctypes.data, right.ctypes.data + left // BLOCK * steps * STEP_BYTES, steps)
            store_block(target, stride)
            if not whole:
                copy_back(rest, total, top, left)
    release()
