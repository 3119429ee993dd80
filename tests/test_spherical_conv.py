import importlib.util
import math
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_kernels_taps import tap_position

import spherical_conv
from benchmarks.straightforward import sphere_conv
from kernels import cpu, reference
from kernels.taps import GEOMETRIES
from spherical_conv import SphereConv2d, SphereMaxPool2d

SIZES = st.tuples(st.integers(2, 9), st.integers(2, 8).map(lambda half: 2 * half))


def pixel(image, row, col, geometry):
    """A pixel of an image (C, H, W), on the sphere or with the rules of the released geometries."""
    C, H, W = image.shape
    if geometry == "exact" and not 0 <= row < H:
        row, col = (-1 - row if row < 0 else 2 * H - 1 - row), col + W // 2
    outside = not 0 <= row < H or (geometry == "released" and not 0 <= col < W)
    return np.zeros(C) if outside else image[:, row, col % W]


def read_tap(image, row, col, geometry):
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


def slow_taps(image, stride, geometry):
    """The values at all taps of an image (C, H, W), float64, in plain loops: (H_out, W_out, 9, C)."""
    _, H, W = image.shape
    return np.array([[[read_tap(image, *tap_position(i, j, a, b, H, W, stride, geometry), geometry)
                       for a in (-1, 0, 1) for b in (-1, 0, 1)] for j in range(W // stride)]
                     for i in range(math.ceil(H / stride))])


def random_conv(in_channels, out_channels, geometry, stride=1, seed=0):
    torch.manual_seed(seed)
    conv = SphereConv2d(in_channels, out_channels, stride, bias=True, geometry=geometry).double()
    torch.nn.init.normal_(conv.bias)
    return conv


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("height", "width", "stride"), [(6, 8, 1), (5, 12, 1), (6, 12, 2), (7, 8, 2), (1, 4, 1)])
def test_convolution_and_pooling_equal_plain_loops(height, width, stride, geometry):
    image = np.random.default_rng(height).normal(size=(3, height, width))
    values = slow_taps(image, stride, geometry)  # (H_out, W_out, 9, C)
    x = torch.from_numpy(image)[None]
    conv = random_conv(3, 4, geometry, stride)
    expected = np.einsum("hwtc,oct->ohw", values, conv.weight.detach().numpy().reshape(4, 3, 9))
    expected += conv.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(conv(x)[0].detach().numpy(), expected, atol=1e-8)
    pooled = SphereMaxPool2d(stride, geometry)(x)[0]
    np.testing.assert_allclose(pooled.numpy(), values.max(axis=2).transpose(2, 0, 1), atol=1e-8)


@pytest.mark.parametrize("kernels", [cpu, reference])
def test_layers_equal_the_published_ones(shared, monkeypatch, kernels):
    monkeypatch.setattr(spherical_conv, "cpu", kernels)
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


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolution_without_bias(geometry):
    torch.manual_seed(0)
    conv, x = SphereConv2d(2, 3, 1, bias=False, geometry=geometry), torch.randn(2, 2, 7, 12)
    conv.bias = torch.zeros(3)
    expected = sphere_conv(x, conv)
    conv.bias = None
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------ which kernels serve


def test_float32_on_a_cpu_has_kernels_of_its_own():
    x = torch.zeros(1, 1, 4, 8)
    assert spherical_conv.kernels_for(x) is cpu
    assert spherical_conv.kernels_for(x.double()) is spherical_conv.kernels_for(x.bfloat16()) is reference
    with torch.autocast("cpu", torch.bfloat16):
        assert spherical_conv.kernels_for(x) is reference


def test_without_numba_the_reference_serves_and_one_warning_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # import numba is an ImportError
    monkeypatch.delattr(sys.modules["kernels"], "cpu")
    for name in ("cpu", "cpu_lstm", "cpu_sampling", "gemm", "simd"):
        monkeypatch.delitem(sys.modules, f"kernels.{name}")
    file = importlib.util.spec_from_file_location("spherical_conv_without_numba", ROOT / "spherical_conv.py")
    without_numba = importlib.util.module_from_spec(file)
    file.loader.exec_module(without_numba)
    x, pool = torch.randn(1, 2, 6, 8), without_numba.SphereMaxPool2d(2, "exact")
    with pytest.warns(RuntimeWarning, match="numba cannot be used .*times slower"):
        pooled = pool(x)
    torch.testing.assert_close(pooled, SphereMaxPool2d(2, "exact")(x))
    with warnings.catch_warnings(action="error"):
        pool(x)
        pool(x.double())


def test_an_error_in_the_kernels_own_files_is_not_taken_for_a_missing_numba(monkeypatch):
    monkeypatch.delattr(sys.modules["kernels"], "cpu")
    monkeypatch.setitem(sys.modules, "kernels.cpu", None)
    file = importlib.util.spec_from_file_location("spherical_conv_broken", ROOT / "spherical_conv.py")
    with pytest.raises(ImportError):
        file.loader.exec_module(importlib.util.module_from_spec(file))
