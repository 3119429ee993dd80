"""The functions that numba compiles, against closed forms and the straightforward sampling."""

import gc
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.straightforward import expand
from kernels import cpu_lstm
from kernels.cpu import RecycledMemory, are_compiled, compile_ahead
from kernels.cpu_sampling import gather_taps, scatter_taps
from kernels.simd import compiled
from kernels.taps import GEOMETRIES, row_taps
from spherical_conv import compile_kernels

SIZES = st.tuples(st.integers(1, 11), st.integers(2, 40).map(lambda half: 2 * half), st.sampled_from([1, 2]))


def random_image(seed, height, width):
    return np.random.default_rng(seed).standard_normal((height, 5, width)).astype(np.float32)


def all_taps(image, geometry, stride):
    """The taps of all output pixels, (9 for each channel, pixels), by bands of two rows."""
    H, C, W = image.shape
    taps, bands = row_taps(H, W, stride, geometry), []
    for top in range(0, -(-H // stride), 2):
        bottom = min(top + 2, -(-H // stride))
        bands.append(np.full((9 * C, (bottom - top) * (W // stride)), np.nan, np.float32))
        gather_taps(image, taps, top, bottom, bands[-1], stride)
    return np.concatenate(bands, axis=1)


@given(SIZES, st.sampled_from(GEOMETRIES), st.integers(0, 99))
def test_gathered_taps_are_the_straightforward_ones(size, geometry, seed):
    height, width, stride = size
    image = random_image(seed, height, width)
    planes = torch.from_numpy(image).transpose(0, 1)[None].double()  # (1, 5, H, W)
    expected = expand(planes, stride, geometry)[0]  # (5, 3 H_out, 3 W_out)
    expected = expected.unflatten(1, (-1, 3)).unflatten(3, (-1, 3)).permute(0, 2, 4, 1, 3).reshape(45, -1)
    values = torch.from_numpy(all_taps(image, geometry, stride))
    torch.testing.assert_close(values, expected.float(), atol=2e-6, rtol=0)


@given(SIZES, st.sampled_from(GEOMETRIES), st.integers(0, 99))
def test_scattering_is_the_transpose_of_gathering(size, geometry, seed):
    height, width, stride = size
    image = random_image(seed, height, width)
    values = all_taps(image, geometry, stride)
    grad = np.random.default_rng(seed + 1).standard_normal(values.shape).astype(np.float32)
    received = np.zeros_like(image)
    scatter_taps(grad, row_taps(height, width, stride, geometry), 0, -(-height // stride), received, stride)
    product = np.vdot(image.astype(np.float64), received)
    assert np.vdot(values.astype(np.float64), grad) == pytest.approx(product, abs=1e-3)


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
def test_functions_are_compiled_once_for_all_processes(tmp_path, read_only):
    kernels = tmp_path / "kernels"
    shutil.copytree(ROOT / "kernels", kernels, ignore=shutil.ignore_patterns("__pycache__"))
    if read_only:
        (kernels / "__pycache__").write_text("no folder can be made here")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    program = "from kernels.gemm import padded; padded(3, 4); print(len(padded.stats.cache_misses))"

    def compiled():
        return int(subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, text=True,
                                  env=environment | {"HOME": str(tmp_path)}, capture_output=True).stdout)

    assert [compiled(), compiled()] == [1, 0]
    with (kernels / "simd.py").open("a") as file:  # parts of simd.py are compiled into the functions of other files
        file.write("# changed\n")
    assert [compiled(), compiled()] == [1, 0]
    assert (tmp_path / ".cache" / "sst_sal").exists() == read_only


def test_memory_is_recycled_when_nobody_holds_it():
    first, other = RecycledMemory(3, 5), RecycledMemory(3, 5)
    address = first.memory.data_ptr()
    assert other.memory.data_ptr() != address
    del first
    gc.collect()
    assert RecycledMemory(3, 5).memory.data_ptr() == address


def test_what_has_to_be_compiled_is_said_before_and_after(monkeypatch):
    compile_ahead(training=True)
    lines = []
    compile_kernels("cpu", lines.append, training=True)
    compile_kernels("cuda", lines.append)
    assert are_compiled(training=True) and are_compiled(training=False) and not lines
    monkeypatch.setattr("kernels.cpu.are_compiled", lambda training: False)
    compile_kernels("cpu", lines.append)
    assert lines[0].startswith("compiling the network's kernels") and re.fullmatch(r"compiled, in \d+ s", lines[1])
