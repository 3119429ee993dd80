"""The kernels for GPUs: run by Triton's interpreter on a CPU, compiled for cards that are not there, run on a card that
is; and who serves where."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

import spherical_conv
from kernels import reference

# In a process of its own, without what only other tests need.
TESTS = ("-m", "pytest", "-q", "-n0", "--noconftest", "-p", "no:cacheprovider",
         ROOT / "tests" / "interpreted_kernels_cuda.py")


@pytest.fixture
def needs_triton():
    pytest.importorskip("triton", reason="NOT TESTED: kernels/cuda.py, since triton is not installed (torch for Linux "
                                         "brings it)")


def run(*command, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | variables
    result = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return result.stdout


def test_the_programs_equal_the_reference_in_tritons_interpreter(needs_triton):
    assert " passed" in run(*TESTS, TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_programs_equal_the_reference_on_a_gpu(needs_triton):
    assert " passed" in run(*TESTS)


def test_the_programs_compile_without_a_gpu_and_spill_no_registers(needs_triton, tmp_path):
    table = run("benchmarks/compile_cuda.py", "--hidden=9", "--precision", "tf32", "--capability", "80",
                BENCHMARK_RESULTS=str(tmp_path))
    assert (tmp_path / "compile_cuda.md").is_file()
    assert {"lstm_step", "max_pool", "weight_gradient", "gate_gradients", "conv", "max_pool_backward"} <= {
        line.split()[1] for line in table.splitlines() if line.startswith("| ")}


# ------------------------------------------------------------------------------------------------ which kernels serve


def tensor_on(device, dtype=torch.float32):
    return SimpleNamespace(device=torch.device(device), dtype=dtype)


@pytest.fixture(autouse=True)
def fresh():
    yield
    spherical_conv.kernels_of_device.cache_clear()


def test_float32_on_a_gpu_has_kernels_of_its_own(needs_triton, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert spherical_conv.kernels_for(tensor_on("cuda:0")).__name__ == "kernels.cuda"
    assert spherical_conv.kernels_for(tensor_on("cuda:0", torch.float64)) is reference


def test_an_old_gpu_gets_the_reference(needs_triton, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old Card")
    with pytest.warns(RuntimeWarning, match="Old Card is older .* plain PyTorch"):
        assert spherical_conv.kernels_for(tensor_on("cuda:0")) is reference


def test_without_triton_the_reference_serves_and_one_warning_says_so(monkeypatch, recwarn):
    for name in [name for name in sys.modules if name.startswith(("triton", "kernels.cuda"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)  # import triton is an ImportError
    monkeypatch.delattr(sys.modules["kernels"], "cuda", raising=False)
    for _ in range(2):
        assert spherical_conv.kernels_for(tensor_on("cuda:0")) is reference
    assert [str(warning.message).partition(":")[0] for warning in recwarn] == ["Triton cannot be used"]


def test_other_devices_get_the_reference():
    with pytest.warns(RuntimeWarning, match="no kernels for mps"):
        assert spherical_conv.kernels_for(tensor_on("mps")) is reference


def test_an_error_in_the_kernels_own_files_is_not_taken_for_a_missing_triton(monkeypatch):
    monkeypatch.delattr(sys.modules["kernels"], "cuda", raising=False)
    monkeypatch.setitem(sys.modules, "kernels.cuda", None)
    with pytest.raises(ImportError):
        spherical_conv.kernels_for(tensor_on("cuda:0"))
