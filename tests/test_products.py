"""Matrix products in the precision that is asked for."""

import numpy as np
import pytest
import torch

import products
from products import add_product, multiply


@pytest.mark.parametrize("onednn", [products.ONEDNN, False])
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
                    total, out = torch.ones_like(expected, dtype=kind), torch.empty(rows, columns, dtype=kind)
                    add_product(total, left, right, dtype)
                    assert multiply(left, right, dtype, out) is out
                    product = multiply(left, right, dtype)
                assert product.dtype == kind and torch.equal(out, product)
                np.testing.assert_allclose(product, expected, rtol=0, atol=tolerance * scale)
                np.testing.assert_allclose(total - 1, expected, rtol=0, atol=2 * tolerance * max(1, scale))


@pytest.mark.parametrize("onednn", [products.ONEDNN, False])
def test_what_is_not_finite_is_seen_in_the_product(monkeypatch, onednn):
    monkeypatch.setattr(products, "ONEDNN", onednn)
    a, b = torch.ones(20, 30), torch.ones(30, 40)
    a[3, 4] = torch.nan
    b[5, 6] = torch.inf
    product = multiply(a, b, torch.float32)
    assert product[3].isnan().all() and product[:3, 6].isinf().all()
    assert product.isfinite().sum() == 19 * 39
