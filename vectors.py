"""Vectors of 16 float32 for numba functions: to `get` and `put`, to add and to multiply. A loop over them compiles to
just that; one over an array's numbers has to find out first, each time, whether arrays overlap.

On a processor whose registers are smaller, a vector takes several.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.config import DISABLE_JIT
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

if DISABLE_JIT:
    raise ImportError("numba compiles nothing (NUMBA_DISABLE_JIT)")

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
