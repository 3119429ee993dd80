import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.taps import GEOMETRIES, sampling_grid
from sphere import pixel_to_sphere, sphere_to_pixel
from spherical_conv import SphereConv2d, SphereMaxPool2d, multiply

SIZES = st.tuples(st.integers(2, 9), st.integers(2, 8).map(lambda half: 2 * half))


def tap_position(i, j, a, b, height, width, stride, geometry):
    """One tap by the formulas as they are written, in scalars: row and column before any wrapping."""
    dlat, dlon = math.pi / height, 2 * math.pi / width
    if geometry == "exact":
        row, col = (i + 0.5) * height / math.ceil(height / stride) - 0.5, (j + 0.5) * stride - 0.5
    else:
        row, col = stride * i, stride * j
    lat, lon = math.pi / 2 - (row + 0.5) * dlat, (col + 0.5) * dlon - math.pi
    if a == b == 0:
        return row, col
    x, y = b * math.tan(dlon), -a * math.tan(dlat) / math.cos(b * dlon)
    rho = math.hypot(x, y)
    nu = math.atan(rho)
    lat_tap = math.asin(max(-1, min(1, math.cos(nu) * math.sin(lat) + y * math.sin(nu) * math.cos(lat) / rho)))
    up, right = rho * math.cos(lat) * math.cos(nu) - y * math.sin(lat) * math.sin(nu), x * math.sin(nu)
    lon_tap = lon + (math.atan2(right, up) if geometry == "exact" else math.atan(right / up))
    return (math.pi / 2 - lat_tap) / dlat - 0.5, (lon_tap + math.pi) / dlon - 0.5


def pixel(image, row, col, geometry):
    """A pixel of an image (C, H, W), on the sphere or with the rules of the released geometries."""
    C, H, W = image.shape
    if geometry == "exact" and not 0 <= row < H:
        row, col = (-1 - row if row < 0 else 2 * H - 1 - row), col + W // 2
    outside = not 0 <= row < H or (geometry == "released" and not 0 <= col < W)
    return np.zeros(C) if outside else image[:, row, col % W]


def sample(image, row, col, geometry):
    """Bilinear, at a position as `tap_position` gives it."""
    W = image.shape[2]
    col = (round(col, 9)) % W
    if geometry != "exact":
        row, col = row - 0.5, col - 0.5
    row, col = round(row, 9), round(col, 9)
    r, c = math.floor(row), math.floor(col)
    upper, lower = ((c + 1 - col) * pixel(image, y, c, geometry) + (col - c) * pixel(image, y, c + 1, geometry)
                    for y in (r, r + 1))
    return (r + 1 - row) * upper + (row - r) * lower


def slow_samples(image, stride, geometry):
    """All samples of an image (C, H, W), float64, in plain loops: (H_out, W_out, 9, C)."""
    _, H, W = image.shape
    return np.array([[[sample(image, *tap_position(i, j, a, b, H, W, stride, geometry), geometry)
                       for a in (-1, 0, 1) for b in (-1, 0, 1)] for j in range(W // stride)]
                     for i in range(math.ceil(H / stride))])


def random_conv(in_channels, out_channels, geometry, stride=1, seed=0):
    torch.manual_seed(seed)
    conv = SphereConv2d(in_channels, out_channels, stride, bias=True, geometry=geometry).double()
    torch.nn.init.normal_(conv.bias)
    return conv


# ------------------------------------------------------------------------------------------------------------ geometry


@given(SIZES, st.floats(-0.5, 8.4), st.floats(-0.5, 15.4))
def test_pixels_and_sphere_invert_each_other(size, row, col):
    H, W = size
    assert sphere_to_pixel(*pixel_to_sphere(row, col, H, W), H, W) == pytest.approx((row, col))


@pytest.mark.parametrize("size", ["12x20_stride1", "12x20_stride2", "24x40_stride1"])
def test_released_grid_is_the_published_one(shared, size):
    golden = np.load(shared / "golden" / "geometry.npz")
    height, width, stride = map(int, size.replace("_stride", "x").split("x"))
    rows, cols = sampling_grid(height, width, stride, "released")
    np.testing.assert_allclose(rows, golden[f"rows_{size}"], atol=1e-6)
    np.testing.assert_allclose(cols, golden[f"cols_{size}"], atol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("height", "width", "stride"), [(5, 8, 1), (6, 10, 2), (7, 12, 2), (1, 4, 1), (4, 4, 2)])
def test_grid_equals_the_formulas_one_tap_at_a_time(height, width, stride, geometry):
    rows, cols = sampling_grid(height, width, stride, geometry)
    half = 0.0 if geometry == "exact" else 0.5
    assert rows.dtype == cols.dtype == np.float64
    assert rows.shape == cols.shape == (math.ceil(height / stride), width // stride, 3, 3)
    for (i, j, a, b), row in np.ndenumerate(rows):
        expected_row, expected_col = tap_position(i, j, a - 1, b - 1, height, width, stride, geometry)
        assert row == pytest.approx(expected_row - half, abs=1e-8)
        if expected_row == pytest.approx(-0.5, abs=1e-8):
            continue  # on the pole, which has every longitude
        turn = (cols[i, j, a, b] + half - expected_col) / width  # a whole number of turns apart
        assert turn == pytest.approx(round(turn), abs=1e-8)
        assert -half <= cols[i, j, a, b] < width - half


@pytest.mark.parametrize(("height", "width", "stride", "geometry", "message"), [
    (6, 9, 1, "exact", "even width of at least 4, got 6 x 9"), (6, 2, 1, "exact", "even width"),
    (0, 8, 1, "exact", "at least 1 row"), (6, 10, 4, "exact", "divide the width 10, got 4"),
    (6, 8, 1, "planar", "geometry must be one of exact, released, released_wrap, got 'planar'")])
def test_sizes_that_cannot_be_sampled(height, width, stride, geometry, message):
    with pytest.raises(ValueError, match=message):
        sampling_grid(height, width, stride, geometry)


# ------------------------------------------------------------------------------------------------- convolution, pooling


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("height", "width", "stride"), [(6, 8, 1), (5, 12, 1), (6, 12, 2), (7, 8, 2), (1, 4, 1)])
def test_convolution_and_pooling_equal_plain_loops(height, width, stride, geometry):
    image = np.random.default_rng(height).normal(size=(3, height, width))
    samples = slow_samples(image, stride, geometry)  # (H_out, W_out, 9, C)
    x = torch.from_numpy(image)[None]
    conv = random_conv(3, 4, geometry, stride)
    expected = np.einsum("hwtc,oct->ohw", samples, conv.weight.detach().numpy().reshape(4, 3, 9))
    expected += conv.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(conv(x)[0].detach().numpy(), expected, atol=1e-8)
    pooled = SphereMaxPool2d(stride, geometry)(x)[0]
    np.testing.assert_allclose(pooled.numpy(), samples.max(axis=2).transpose(2, 0, 1), atol=1e-8)


def test_layers_equal_the_published_ones(shared):
    golden = {name: torch.from_numpy(value) for name, value in np.load(shared / "golden" / "layers.npz").items()}
    conv = SphereConv2d(5, 7, stride=1, bias=True, geometry="released")
    conv.load_state_dict({"weight": golden["weight"], "bias": golden["bias"]})
    x = golden["x"].requires_grad_()
    y = conv(x)
    y.backward(golden["grad_y"])
    pool_x = golden["pool_x"].requires_grad_()
    pooled = SphereMaxPool2d(stride=2, geometry="released")(pool_x)
    pooled.backward(golden["pool_grad_y"])
    for ours, name in [(y, "y"), (x.grad, "grad_x"), (conv.weight.grad, "grad_weight"), (conv.bias.grad, "grad_bias"),
                       (pooled, "pool_y"), (pool_x.grad, "pool_grad_x")]:
        torch.testing.assert_close(ours.detach(), golden[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients(geometry):
    conv = random_conv(2, 3, geometry)
    x = torch.randn(2, 2, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight, bias: torch.func.functional_call(
        conv, {"weight": weight, "bias": bias}, (x,)), (x, conv.weight, conv.bias))
    assert torch.autograd.gradcheck(SphereMaxPool2d(2, geometry), (x,))


def test_the_centre_tap_alone_is_the_identity():
    conv = random_conv(3, 3, "exact")
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[:, :, 1, 1] = torch.eye(3)
        conv.bias.zero_()
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    assert torch.equal(conv(x), x)


def test_a_constant_image_stays_constant_at_seam_and_poles():
    conv, x = random_conv(2, 3, "exact"), torch.ones(1, 2, 6, 8, dtype=torch.float64)
    expected = (conv.weight.sum(dim=(1, 2, 3)) + conv.bias)[None, :, None, None].expand(1, 3, 6, 8)
    torch.testing.assert_close(conv(x), expected)
    torch.testing.assert_close(SphereMaxPool2d(2, "exact")(x), torch.ones(1, 2, 3, 4, dtype=torch.float64))


@given(SIZES, st.integers(1, 15), st.sampled_from(["exact", "released_wrap"]))
def test_rolling_the_input_rolls_the_output_exactly(size, columns, geometry):
    H, W = size
    conv, x = random_conv(2, 3, geometry), torch.randn(1, 2, H, W, dtype=torch.float64)
    torch.testing.assert_close(conv(x.roll(columns, -1)), conv(x).roll(columns, -1), atol=1e-14, rtol=0)
    pool = SphereMaxPool2d(2, geometry)
    if W % 2 == 0:
        assert torch.equal(pool(x.roll(2 * columns, -1)), pool(x).roll(columns, -1))


@given(SIZES)
def test_flipping_north_and_south_flips_the_output(size):
    H, W = size
    conv, x = random_conv(2, 3, "exact"), torch.randn(1, 2, H, W, dtype=torch.float64)
    expected = conv(x).flip(-2)
    with torch.no_grad():
        conv.weight.copy_(conv.weight.flip(-2))
    torch.testing.assert_close(conv(x.flip(-2)), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_batch_equals_its_items_one_by_one(geometry):
    conv, x = random_conv(2, 3, geometry), torch.randn(3, 2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(conv(x), torch.cat([conv(item[None]) for item in x]))


def test_sampling_follows_the_dtype_and_wrong_channels_are_refused():
    conv = random_conv(2, 3, "exact").float()
    assert conv(torch.randn(1, 2, 5, 8)).dtype == torch.float32
    with pytest.raises(ValueError, match="must have 2 channels, got 5"):
        conv(torch.randn(1, 5, 4, 8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_cpu_and_gpu_agree(geometry):
    conv, x = random_conv(3, 4, geometry), torch.randn(2, 3, 9, 12, dtype=torch.float64)
    expected = conv(x)
    torch.testing.assert_close(conv.cuda()(x.cuda()).cpu(), expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12),
                                                  (torch.bfloat16, 3e-2)])
def test_products_however_the_factors_lie_in_memory(dtype, tolerance):
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


def test_what_is_not_finite_is_seen_in_the_product():
    a, b = torch.ones(20, 30), torch.ones(30, 40)
    a[3, 4] = torch.nan
    b[5, 6] = torch.inf
    product = multiply(a, b, torch.float32)
    assert product[3].isnan().all() and product[:3, 6].isinf().all()
    assert product.isfinite().sum() == 19 * 39
