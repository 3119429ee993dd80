"""Matrix products in the precision that is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import products
from products import add_product, multiplier, multiply

BY_ONEDNN = pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="PyTorch is without oneDNN")
ON_TILES = pytest.mark.skipif(not products.AMX, reason="this processor has no tile registers (AMX)")


@pytest.mark.parametrize("onednn", [pytest.param(True, marks=BY_ONEDNN), False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12),
                                                  (torch.bfloat16, 3e-2)])
def test_products_however_the_factors_lie_in_memory(monkeypatch, onednn, dtype, tolerance):
    monkeypatch.setattr(products, "ONEDNN", onednn)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in [(144, 378, 640), (4, 333, 160), (1, 1, 1), (7, 5, 3)]:
        a, b = (torch.randn(shape, generator=generator, dtype=kind) for shape in ((rows, inner), (inner, columns)))
        expected = a.double() @ b.double()
        scale = float(expected.abs().max())
        for left in (a, a.t().contiguous().t(), torch.cat([a, a], dim=1)[:, :inner]):
            for right in (b, b.t().contiguous().t(), torch.cat([b, b], dim=1)[:, columns:]):
                with torch.no_grad():
                    out = torch.empty(rows, columns, dtype=kind)
                    assert multiply(left, right, dtype, out) is out
                    product = multiply(left, right, dtype)
                assert product.dtype == kind and torch.equal(out, product)
                np.testing.assert_allclose(product, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("amx", [pytest.param(True, marks=ON_TILES), False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_products_with_many_matrices(monkeypatch, amx, dtype, tolerance):
    monkeypatch.setattr(products, "AMX", amx)
    rng = np.random.default_rng(0)
    for rows, inner, columns in [(144, 379, 640), (325, 144, 96), (4, 333, 160), (1, 1, 1)]:
        a = rng.standard_normal((rows, inner), np.float32)
        times = multiplier(a, dtype)
        for b in rng.standard_normal((2, inner, columns), np.float32):
            expected, out = a.astype(np.float64) @ b, np.empty((rows, columns), np.float32)
            total, transposed = np.ones((rows, columns), np.float32), np.ascontiguousarray(b.T)
            times(b, out)
            add_product(total, a, transposed, dtype)
            limit = tolerance * np.abs(expected).max()
            np.testing.assert_allclose(out, expected, rtol=0, atol=limit)
            np.testing.assert_array_equal(times(b), out)
            np.testing.assert_allclose(total - 1, expected, rtol=0, atol=2 * max(limit, tolerance))


@ON_TILES
@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 70)] * 3), st.integers(-30, 30), st.integers(0, 99))
def test_tiles_multiply_as_exactly_as_float32(sizes, exponent, seed):
    rows, inner, columns = sizes
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, inner), np.float32) * np.exp(rng.uniform(-5, 5, (rows, 1))).astype(np.float32)
    b = rng.standard_normal((inner, columns), np.float32) * np.float32(2.0 ** exponent)
    out, total = np.full((rows, columns), np.nan, np.float32), np.zeros((rows, columns), np.float32)
    products.amx.multiply(products.amx.pack(a), b, out)
    products.amx.add_product(total, a, np.ascontiguousarray(b.T))
    exact = a.astype(np.float64) @ b
    limit = 4e-7 * (np.abs(a).astype(np.float64) @ np.abs(b))  # of the sum of what is added up, without its sign
    assert np.all(np.abs(out - exact) <= limit) and np.all(np.abs(total - exact) <= limit)


@ON_TILES
def test_tiles_take_every_number_that_float32_has_apart():
    """Numbers with all 24 bits set, times one: nothing is lost, whichever place of a tile they stand in."""
    numbers = np.float32(1) + np.arange(64 * 64, dtype=np.float32).reshape(64, 64) * np.float32(2.0 ** -23) * 2047
    numbers[::2] *= np.float32(-1e-20)
    numbers[:, ::3] *= np.float32(3e17)
    one, out = np.eye(64, dtype=np.float32), np.empty_like(numbers)
    products.amx.multiply(products.amx.pack(numbers), one, out)
    np.testing.assert_array_equal(out, numbers)
    products.amx.multiply(products.amx.pack(one), numbers, out)
    np.testing.assert_array_equal(out, numbers)
    total = np.zeros_like(numbers)
    products.amx.add_product(total, one, np.ascontiguousarray(numbers.T))
    np.testing.assert_array_equal(total, numbers)


@ON_TILES
def test_what_is_not_finite_is_seen_in_a_product_on_tiles():
    a, b, out = np.ones((20, 30), np.float32), np.ones((30, 40), np.float32), np.empty((20, 40), np.float32)
    a[3, 4] = np.nan
    b[5, 6] = np.inf
    products.amx.multiply(products.amx.pack(a), b, out)
    assert not np.isfinite(out[3]).any() and not np.isfinite(out[:, 6]).any() and np.isfinite(out).sum() == 19 * 39


@pytest.mark.parametrize("onednn", [pytest.param(True, marks=BY_ONEDNN), False])
def test_what_is_not_finite_is_seen_in_the_product(monkeypatch, onednn):
    monkeypatch.setattr(products, "ONEDNN", onednn)
    a, b = torch.ones(20, 30), torch.ones(30, 40)
    a[3, 4] = torch.nan
    b[5, 6] = torch.inf
    product = multiply(a, b, torch.float32)
    assert product[3].isnan().all() and product[:3, 6].isinf().all()
    assert product.isfinite().sum() == 19 * 39
