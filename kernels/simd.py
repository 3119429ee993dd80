"""The tools that the CPU's kernels are written with: numba's compiler with a cache on disk, and SIMD vectors of 16
float32.

Compiled functions release the GIL and start no threads. Addresses and distances in memory are in bytes.
"""

import hashlib
import operator
import tempfile
from functools import lru_cache
from pathlib import Path

import numba
from llvmlite import binding, ir
from numba import njit, types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

if numba.config.DISABLE_JIT:
    raise ImportError("numba compiles nothing (NUMBA_DISABLE_JIT)")

# `contract` allows fused multiply-add. No other licence of fastmath: NaN and infinity have to come through.
OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


@lru_cache
def cache_folder():
    """The folder that keeps compiled functions for the next process, or None where nothing can be written.

    There is one folder for each state of kernels/*.py, since numba itself notices changes of a function's own file
    only; for each name of this module, which is another one for torch.hub and stands in what is kept; and for each kind
    of processor.
    """
    here, digest = Path(__file__).parent, hashlib.sha256(f"{__name__} {binding.get_host_cpu_name()}".encode())
    for file in sorted(here.glob("*.py")):
        digest.update(file.read_bytes())
    for parent in (numba.config.CACHE_DIR or here / "__pycache__", "~/.cache/sst_sal"):
        try:
            folder = Path(parent).expanduser() / f"kernels-{digest.hexdigest()[:16]}"
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return str(folder)
        except (OSError, RuntimeError):  # nothing can be written there, or the user has no home folder
            continue
    return None


def is_kept(name):
    """Whether the compiled function of that name, "cpu_lstm.lstm_bands", is in `cache_folder`."""
    return cache_folder() is not None and any(Path(cache_folder()).rglob(f"{name}-*.nbc"))


def compiled(function):
    """A decorator: the function is compiled at its first call, or read from `cache_folder` if it has been before."""
    before, folder = numba.config.CACHE_DIR, cache_folder()
    numba.config.CACHE_DIR = folder or before
    try:
        return njit(function, cache=folder is not None, **OPTIONS)
    finally:
        numba.config.CACHE_DIR = before


inlined = njit(forceinline=True, **OPTIONS)


def has_avx512():
    """Whether numba compiles for AVX-512: 32 registers that hold a whole vector each. False where LLVM cannot tell what
    the processor has."""
    if numba.config.CPU_FEATURES is not None:  # NUMBA_CPU_FEATURES: empty for what NUMBA_CPU_NAME has
        return "+avx512f" in numba.config.CPU_FEATURES
    try:
        return binding.get_host_cpu_features().get("avx512f", False)
    except RuntimeError:
        return False


# ------------------------------------------------------------------------------------------------------- SIMD vectors
# Loops over vectors of 16 float32 compile to just the vector instructions; a loop over an array's elements has to find
# out first, each time, whether arrays overlap. Where registers are smaller, a vector takes several of them.

LANES = 16
FLOATS = ir.VectorType(ir.FloatType(), LANES)


class Vector(types.Type):
    def __init__(self):
        super().__init__(name="Vector")


VECTOR = Vector()


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, FLOATS)


def pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def emit_load(builder, address):
    vector = builder.load(pointer(builder, address, FLOATS))
    vector.align = 4
    return vector


def emit_store(builder, vector, address):
    builder.store(vector, pointer(builder, address, FLOATS)).align = 4


def emit_broadcast(builder, number):
    first = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, first, zeros)


def emit_add(builder, a, b):
    return builder.fadd(a, b, flags=("contract",))


def emit_multiply(builder, a, b):
    return builder.fmul(a, b, flags=("contract",))


@intrinsic
def load(_, address):
    """The 16 float32 at an address."""
    return VECTOR(types.intp), lambda context, builder, signature, values: emit_load(builder, *values)


@intrinsic
def store(_, address, vector):
    """Writes 16 float32 to an address."""

    def generate(context, builder, signature, values):
        emit_store(builder, values[1], values[0])
        return context.get_dummy_value()

    return types.void(types.intp, vector), generate


@intrinsic
def load_one(_, address):
    """The float32 at an address."""
    return types.float32(types.intp), lambda context, builder, signature, values: builder.load(
        pointer(builder, values[0], ir.FloatType()))


@intrinsic
def store_one(_, address, number):
    """Writes a float32 to an address."""

    def generate(context, builder, signature, values):
        builder.store(values[1], pointer(builder, values[0], ir.FloatType()))
        return context.get_dummy_value()

    return types.void(types.intp, types.float32), generate


@intrinsic
def broadcast(_, number):
    """A vector of 16 times the same float32."""
    return VECTOR(types.float32), lambda context, builder, signature, values: emit_broadcast(builder, *values)


def shuffle(lanes):
    """An intrinsic: of two vectors a and b, whose lanes are numbered 0 to 31, the vector of these 16 lanes."""

    @intrinsic
    def shuffled(_, a, b):
        def generate(context, builder, signature, values):
            return builder.shuffle_vector(*values, ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes))

        return VECTOR(a, b), generate

    return shuffled


even_lanes = shuffle(list(range(0, 32, 2)))
odd_lanes = shuffle(list(range(1, 32, 2)))
interleave_low = shuffle([lane for j in range(8) for lane in (j, 16 + j)])  # a[0], b[0], a[1], b[1], ...
interleave_high = shuffle([lane for j in range(8, 16) for lane in (j, 16 + j)])


@intrinsic
def add_intrinsic(_, a, b):
    return VECTOR(a, b), lambda context, builder, signature, values: emit_add(builder, *values)


@intrinsic
def multiply_intrinsic(_, a, b):
    return VECTOR(a, b), lambda context, builder, signature, values: emit_multiply(builder, *values)


@overload(operator.add)
def overload_add(a, b):
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda a, b: add_intrinsic(a, b)


@overload(operator.mul)
def overload_multiply(a, b):
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda a, b: multiply_intrinsic(a, b)


@intrinsic
def transpose(_, source, source_row, target, target_row):
    """Writes 16 x 16 float32 at `source` to `target`, rows as columns; source_row and target_row: from one row to the
    next."""

    def generate(context, builder, signature, values):
        def row_address(address, row_bytes, i):
            return builder.add(address, builder.mul(row_bytes, ir.IntType(64)(i)))

        source, source_row, target, target_row = values
        rows = [emit_load(builder, row_address(source, source_row, i)) for i in range(LANES)]
        for distance in (1, 2, 4, 8):  # swaps the off-diagonal elements of rows and columns that differ in one bit
            for i in range(LANES):
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    upper = [j if not j & distance else LANES + j - distance for j in range(LANES)]
                    lower = [j + distance if not j & distance else LANES + j for j in range(LANES)]
                    for row, lanes in ((i, upper), (i + distance, lower)):
                        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
                        rows[row] = builder.shuffle_vector(*pair, lanes)
        for i, row in enumerate(rows):
            emit_store(builder, row, row_address(target, target_row, i))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate
