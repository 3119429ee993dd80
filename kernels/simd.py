"""What compiled functions on a CPU are made of: `compiled`, by numba, and vectors of 16 float32."""

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

# `contract` allows fused multiply-add. Nothing here may assume that numbers are finite: what is not has to be noticed.
OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


@lru_cache
def cache_folder():
    """Where compiled functions are kept for the next process; None where nothing can be written. A folder for each
    state of the files that they are made from: numba looks for changes in a function's own file alone."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(here.glob("*.py")):
        digest.update(file.read_bytes())
    for parent in (numba.config.CACHE_DIR or here / "__pycache__", "~/.cache/sst_sal"):
        try:
            folder = Path(parent).expanduser() / f"kernels-{digest.hexdigest()[:16]}"
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return str(folder)
        except (OSError, RuntimeError):  # not to be written to; nobody's home is known
            continue
    return None


def compiled(function):
    """The function compiled at its first call, once for all processes where there is a `cache_folder`."""
    before, folder = numba.config.CACHE_DIR, cache_folder()
    numba.config.CACHE_DIR = folder or before
    try:
        return njit(function, cache=folder is not None, **OPTIONS)
    finally:
        numba.config.CACHE_DIR = before


inlined = njit(inline="always", **OPTIONS)


def host_has(*features):
    """Whether this processor has all these of LLVM's names; no where LLVM cannot tell, as on some systems."""
    try:
        present = binding.get_host_cpu_features()
    except RuntimeError:
        return False
    return all(present.get(feature, False) for feature in features)


BIG_REGISTERS = host_has("avx512f")  # 32 of a whole vector each


# ------------------------------------------------------------------------------------------------------------- vectors
# Of 16 float32: to get and put, to add and to multiply. A loop over them compiles to just that; one over an array's
# numbers has to find out first, each time, whether arrays overlap. Where registers are smaller, a vector takes several.

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


def load_vector(builder, address, kind=FLOATS):
    vector = builder.load(pointer(builder, address, kind))
    vector.align = 4
    return vector


def store_vector(builder, vector, address):
    builder.store(vector, pointer(builder, address, vector.type)).align = 4


@intrinsic
def get(_, address):
    """The 16 float32 at an address, in bytes."""
    return VECTOR(types.intp), lambda context, builder, signature, given: load_vector(builder, *given)


@intrinsic
def put(_, address, vector):
    """Writes 16 float32 to an address."""

    def generate(context, builder, signature, given):
        store_vector(builder, given[1], given[0])
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


def repeat(builder, number):
    """A vector of one float32, many times."""
    first = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LENGTH), [0] * LENGTH)
    return builder.shuffle_vector(first, first, zeros)


def add_vectors(builder, a, b):
    return builder.fadd(a, b, flags=("contract",))


def multiply_vectors(builder, a, b):
    return builder.fmul(a, b, flags=("contract",))


@intrinsic
def fill(_, number):
    """A vector of one float32, many times."""
    return VECTOR(types.float32), lambda context, builder, signature, given: repeat(builder, *given)


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
    return VECTOR(a, b), lambda context, builder, signature, given: add_vectors(builder, *given)


@intrinsic
def _multiply(_, a, b):
    return VECTOR(a, b), lambda context, builder, signature, given: multiply_vectors(builder, *given)


@overload(operator.add)
def add(a, b):
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda a, b: _add(a, b)


@overload(operator.mul)
def multiply(a, b):
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda a, b: _multiply(a, b)


@intrinsic
def transpose(_, source, source_row, target, target_row):
    """Swaps rows and columns of 16 x 16 numbers of 4 bytes; the distances between rows are in bytes. In place, too."""

    def generate(context, builder, signature, given):
        int32, int64 = ir.IntType(32), ir.IntType(64)
        numbers = ir.VectorType(int32, LENGTH)

        def place(address, row, i):
            return builder.add(address, builder.mul(row, int64(i)))

        source, source_row, target, target_row = given
        rows = [load_vector(builder, place(source, source_row, i), numbers) for i in range(LENGTH)]
        for distance in (1, 2, 4, 8):  # swaps, in rows and columns that differ in one bit, what is off the diagonal
            for i in range(LENGTH):
                if not i & distance:
                    pair = rows[i], rows[i + distance]
                    upper = [j if not j & distance else LENGTH + j - distance for j in range(LENGTH)]
                    lower = [j + distance if not j & distance else LENGTH + j for j in range(LENGTH)]
                    for row, choice in ((i, upper), (i + distance, lower)):
                        rows[row] = builder.shuffle_vector(*pair, ir.Constant(numbers, choice))
        for i, row in enumerate(rows):
            store_vector(builder, row, place(target, target_row, i))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate
