"""The compiled kernels by themselves, against closed forms and the straightforward sampling."""

import gc
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reference import expand, sphere_conv
from kernels import cpu, cpu_lstm
from kernels.cpu import Lent
from kernels.cpu_sampling import sample, spread
from kernels.simd import compiled
from kernels.taps import GEOMETRIES, row_taps
from kernels.threads import Scratch
from model import SST_Sal
from spherical_conv import SphereConv2d, SphereMaxPool2d

SIZES = st.tuples(st.integers(1, 11), st.integers(2, 40).map(lambda half: 2 * half), st.sampled_from([1, 2]))


def random_images(seed, height, width):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((height, channels, width)).astype(np.float32) for channels in (2, 3))


def all_samples(images, geometry, stride):
    """The taps of all output pixels, (9 for each channel, pixels), with the image cut into pieces of two rows."""
    H, _, W = images[0].shape
    taps, pieces = row_taps(H, W, stride, geometry), []
    for top in range(0, -(-H // stride), 2):
        bottom = min(top + 2, -(-H // stride))
        pieces.append(np.full((9 * 5, (bottom - top) * (W // stride)), np.nan, np.float32))
        sample(images, *taps, top, bottom, pieces[-1], W, stride)
    return np.concatenate(pieces, axis=1)


@settings(deadline=None)
@given(SIZES, st.sampled_from(GEOMETRIES), st.integers(0, 99))
def test_samples_are_the_straightforward_ones(size, geometry, seed):
    height, width, stride = size
    images = random_images(seed, height, width)
    joined = torch.from_numpy(np.concatenate(images, axis=1)).transpose(0, 1)[None].double()  # (1, 5, H, W)
    expected = expand(joined, stride, geometry)[0]  # (5, 3 H_out, 3 W_out)
    expected = expected.unflatten(1, (-1, 3)).unflatten(3, (-1, 3)).permute(0, 2, 4, 1, 3).reshape(45, -1)
    samples = torch.from_numpy(all_samples(images, geometry, stride))
    torch.testing.assert_close(samples, expected.float(), atol=2e-6, rtol=0)


@settings(deadline=None)
@given(SIZES, st.sampled_from(GEOMETRIES), st.integers(0, 99))
def test_spreading_is_the_transpose_of_sampling(size, geometry, seed):
    height, width, stride = size
    images = random_images(seed, height, width)
    samples = all_samples(images, geometry, stride)
    grad = np.random.default_rng(seed + 1).standard_normal(samples.shape).astype(np.float32)
    received = tuple(np.zeros_like(image) for image in images)
    spread(grad, *row_taps(height, width, stride, geometry), 0, -(-height // stride), received, width, stride)
    products = [np.vdot(a.astype(np.float64), b) for a, b in zip(images, received)]
    assert np.vdot(samples.astype(np.float64), grad) == pytest.approx(sum(products), abs=1e-3)


@compiled
def apply(x, out, squash):
    for j in range(len(x)):
        out[j] = cpu_lstm.sigmoid(x[j]) if squash else cpu_lstm.tanh(x[j])


@pytest.mark.parametrize("squash, function", [(False, np.tanh), (True, lambda x: 1 / (1 + np.exp(-x)))])
def test_activations_are_within_float32_of_the_true_ones(squash, function):
    x = np.concatenate([np.linspace(-20, 20, 100_001), [0, 1e-30, -1e-30, 1e30, -1e30, np.inf, -np.inf]])
    x, out = x.astype(np.float32), np.empty(100_008, np.float32)
    apply(x, out, squash)
    with np.errstate(over="ignore"):
        expected = function(x.astype(np.float64))
    assert np.abs(out - expected).max() < 5e-7
    assert np.abs(out).max() <= 1 and (squash or np.all(out[x == 0] == 0))


def test_activation_of_nan_is_nan():
    out = np.zeros(9, np.float32)
    for squash in (False, True):
        apply(np.full(9, np.nan, np.float32), out, squash)
        assert np.isnan(out).all()


@pytest.mark.parametrize("read_only", [False, True])
def test_kernels_are_compiled_once_for_all_processes(tmp_path, read_only):
    for name in ("cpu_kernels", "cpu_layers", "products", "amx", "vectors", "geometry", "threads"):
        shutil.copy(ROOT / f"{name}.py", tmp_path)
    if read_only:
        (tmp_path / "__pycache__").write_text("no folder can be made here")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    program = ("import torch, cpu_lstm, cpu_layers; torch.set_num_threads(1);"
               "cpu_layers.max_pool(torch.rand(1, 1, 4, 8), 1, 'exact');"
               "print(len(cpu_lstm.pool_pieces.stats.cache_misses))")

    def compiled():
        return int(subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, text=True,
                                  env=environment | {"HOME": str(tmp_path)}, capture_output=True).stdout)

    assert [compiled(), compiled()] == [1, 0]
    with (tmp_path / "vectors.py").open("a") as file:  # parts of which are compiled into the functions of cpu_kernels
        file.write("# changed\n")
    assert [compiled(), compiled()] == [1, 0]
    assert (tmp_path / ".cache" / "sst_sal").exists() == read_only


def test_what_is_not_finite_is_noticed():
    model, frames = SST_Sal(3, 4, "exact", latitude=True), torch.rand(1, 2, 3, 8, 16)
    with torch.no_grad():
        model.encoder["lstm"].conv.weight[0, 0, 1, 1] = torch.nan
        assert model(frames)[:, 0].isnan().all()
    x = torch.zeros(1, 1, 6, 8)
    x[0, 0, 3, 4] = torch.nan
    assert SphereMaxPool2d(2, "exact")(x).isnan().any()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolution_without_bias(geometry):
    torch.manual_seed(0)
    conv, x = SphereConv2d(2, 3, 1, bias=False, geometry=geometry), torch.randn(2, 2, 7, 12)
    conv.bias = torch.zeros(3)
    expected = sphere_conv(x, conv)
    conv.bias = None
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=0)


def test_lent_memory_comes_back_when_nobody_holds_it():
    lent, other = Lent(3, 5), Lent(3, 5)
    address = lent.memory.data_ptr()
    assert other.memory.data_ptr() != address
    del lent
    gc.collect()
    assert Lent(3, 5).memory.data_ptr() == address


def test_graphs_that_live_at_once_do_not_share_memory():
    torch.manual_seed(0)
    model, clips = SST_Sal(3, 4, "exact", latitude=True), torch.rand(2, 1, 2, 3, 8, 16)
    weights = list(model.parameters())
    expected = [torch.autograd.grad(model(clip).sum(), weights) for clip in clips]
    first, second = (model(clip).sum() for clip in clips)
    for _ in range(2):  # a graph may be gone through twice
        torch.testing.assert_close(torch.autograd.grad(first, weights, retain_graph=True), expected[0], atol=0, rtol=0)
        torch.testing.assert_close(torch.autograd.grad(second, weights, retain_graph=True), expected[1], atol=0, rtol=0)


def test_without_numba_the_plain_formulation_serves(monkeypatch):
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "released"), torch.rand(1, 2, 3, 8, 16)
    with torch.no_grad():
        expected = model(frames)
        monkeypatch.setattr(cpu, "cpu_kernels", None)
        torch.testing.assert_close(model(frames), expected, atol=1e-6, rtol=0)


def test_scratch_memory_begins_with_zeros():
    """Rows that are only there to fill up are multiplied as well: forty times as slowly on Intel's processors where
    they hold denormal numbers, as memory that was another's may."""
    torch.use_deterministic_algorithms(True)  # fills what `torch.empty` gives with NaN
    try:
        assert not Scratch().of("samples", 5, 32).any()
    finally:
        torch.use_deterministic_algorithms(False)
