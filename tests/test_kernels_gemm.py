"""The matrix products of the CPU's kernels against float64."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm import (
    COLUMNS,
    PIXELS,
    ROWS,
    add_transposed_product,
    block_product,
    multiply_packed,
    pack,
    padded,
)
from kernels.simd import has_avx512, inlined

SIZES = st.tuples(*[st.integers(1, 70)] * 3)


def factors(sizes, exponent, seed):
    """A left and a right factor with numbers of very different sizes, their exact product, and what its error may be:
    in proportion to the sum of what is added up, without its sign."""
    rows, inner, columns = sizes
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, inner), np.float32) * np.exp(rng.uniform(-5, 5, (rows, 1))).astype(np.float32)
    b = rng.standard_normal((inner, columns), np.float32) * np.float32(2.0 ** exponent)
    return a, b, a.astype(np.float64) @ b, 1e-6 * (np.abs(a).astype(np.float64) @ np.abs(b))


def fill_up(matrix, rows, columns):
    """Padded with zeros to multiples of these numbers of rows and columns, as products ask for it."""
    larger = np.zeros((padded(len(matrix), rows), padded(matrix.shape[1], columns)), np.float32)
    larger[:len(matrix), :matrix.shape[1]] = matrix
    return larger


def check(sizes, exponent=0, seed=0):
    a, b, exact, limit = factors(sizes, exponent, seed)
    rows, inner, columns = sizes
    packed, right = pack(a), fill_up(b, 1, PIXELS)
    out = np.full((rows + 1, right.shape[1] + 1), np.nan, np.float32)
    multiply_packed(packed, right, out[:rows, :-1])
    assert np.all(np.abs(out[:rows, :columns] - exact) <= limit)
    assert np.isnan(out[rows]).all() and np.isnan(out[:, -1]).all()  # nothing is written beside it
    left, right = fill_up(a, ROWS, PIXELS), fill_up(b.T, COLUMNS, PIXELS)
    total = np.zeros((len(left), len(right)), np.float32)
    for count in (1, 2):
        add_transposed_product(left, right, total)
        assert np.all(np.abs(total[:rows, :columns] - count * exact) <= count * limit)


@pytest.mark.parametrize(("features", "expected"), [("", False), ("+avx2,+fma", False), ("+avx2,+avx512f", True)])
def test_blocks_follow_what_numba_is_told_to_compile_for(features, expected, monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    assert has_avx512() is expected


@pytest.mark.parametrize("adding", [False, True])
@pytest.mark.parametrize(("rows", "vectors"), [(12, 2), (4, 2), (8, 3), (6, 1), (4, 1)])
def test_blocks_of_every_shape_that_some_processor_uses(rows, vectors, adding):
    """Also those of processors with other registers than this one has."""
    block = block_product(rows, vectors, adding)

    @inlined
    def fill(left, right, out):
        block(left.ctypes.data, left.strides[0], 4, right.ctypes.data, right.strides[0], left.shape[1], out.ctypes.data,
              out.strides[0])

    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((rows, 5), np.float32), rng.standard_normal((5, 16 * vectors), np.float32)
    out = np.ones((rows, 16 * vectors), np.float32)
    fill(left, right, out)
    np.testing.assert_allclose(out, left @ right + adding, rtol=0, atol=1e-5)


@given(SIZES, st.integers(-30, 30), st.integers(0, 99))
def test_products_are_as_exact_as_float32(sizes, exponent, seed):
    check(sizes, exponent, seed)


@pytest.mark.parametrize("sizes", [(144, 379, 640), (325, 144, 96), (4, 333, 160), (36, 109, 320), (0, 36, 32),
                                   (1, 1, 1)])
def test_products_of_the_sizes_that_the_model_needs(sizes):
    check(sizes)


def test_what_is_not_finite_is_seen_in_a_product():
    a, b, out = np.ones((20, 30), np.float32), np.ones((30, 64), np.float32), np.empty((20, 64), np.float32)
    a[3, 4] = np.nan
    b[5, 6] = np.inf
    multiply_packed(pack(a), b, out)
    assert np.isnan(out[3]).all() and np.isinf(out[:3, 6]).all() and np.isfinite(out).sum() == 19 * 63
