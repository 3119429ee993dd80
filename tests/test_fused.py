"""The network, by the CPU's kernels and by the plain formulation, against the straightforward one: in pieces as small
as they get, on any number of threads."""

import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import spherical_conv
from benchmarks.reference import conv_lstm, sphere_conv, sphere_max_pool, straightforward
from fused import lstm_step
from kernels import cpu
from kernels.taps import GEOMETRIES
from kernels.threads import for_each
from model import SST_Sal
from spherical_conv import SphereConv2d, SphereMaxPool2d

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")


def clear_caches():
    for cache in (spherical_conv.sampling, spherical_conv.source_pieces, cpu.split_tiles):
        cache.cache_clear()


@pytest.fixture(params=[1, 30, 10**6], ids=["a row a tile", "some rows a tile", "one tile"])
def tile_pixels(monkeypatch, request):
    for module in (spherical_conv, cpu):
        monkeypatch.setattr(module, "TILE_PIXELS", request.param)
    monkeypatch.setattr(cpu, "PIECE_SAMPLES", 9 * 5 * request.param)
    monkeypatch.setattr(cpu, "FEWEST_PIECES", 1)
    clear_caches()
    yield
    clear_caches()


@pytest.fixture(params=["kernels", "plain"])
def path(monkeypatch, request):
    """Both ways that float32 can take on a CPU: the compiled kernels, and what serves where numba is missing."""
    assert cpu.cpu_kernels, "numba is not installed"
    if request.param == "plain":
        monkeypatch.setattr(cpu, "cpu_kernels", None)


@pytest.fixture
def threads():
    """torch.set_num_threads, undone."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gradients(output, inputs):
    torch.manual_seed(5)
    return torch.autograd.grad((output * torch.randn(output.shape, dtype=output.dtype)).sum(), inputs)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("latitude", [False, True])
def test_model_equals_the_straightforward_formulation(geometry, latitude, tile_pixels):
    torch.manual_seed(0)
    model = SST_Sal(3, 5, geometry, latitude).double()
    frames = torch.rand(2, 3, 3, 7, 12, dtype=torch.float64, requires_grad=True)
    maps, expected = model(frames), straightforward(model, frames)
    torch.testing.assert_close(maps, expected)
    inputs = [frames, *model.parameters()]
    torch.testing.assert_close(gradients(maps, inputs), gradients(expected, inputs))
    with torch.no_grad():
        torch.testing.assert_close(model(frames), expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(13, 24), (2, 8)])
def test_model_in_single_precision(geometry, size, tile_pixels, path):
    torch.manual_seed(0)
    model, frames = SST_Sal(6, 5, geometry, True), torch.rand(2, 3, 6, *size, requires_grad=True)
    maps, expected = model(frames), straightforward(model, frames)
    torch.testing.assert_close(maps, expected, atol=1e-6, rtol=0)
    for ours, theirs in zip(*(gradients(result, [frames, *model.parameters()]) for result in (maps, expected))):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(frames), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(2, 5), (5, 2)], ids=["sampled first", "multiplied first"])
def test_layers_equal_the_straightforward_formulation(geometry, stride, channels, tile_pixels):
    torch.manual_seed(0)
    conv, pool = SphereConv2d(*channels, stride, True, geometry).double(), SphereMaxPool2d(stride, geometry)
    x = torch.randn(2, channels[0], 9, 16, dtype=torch.float64, requires_grad=True)
    for ours, expected, inputs in ((conv(x), sphere_conv(x, conv), [x, *conv.parameters()]),
                                   (pool(x), sphere_max_pool(x, pool), [x])):
        torch.testing.assert_close(ours, expected)
        torch.testing.assert_close(gradients(ours, inputs), gradients(expected, inputs))


@pytest.mark.parametrize("input_dim, hidden_dim", [(2, 2), (5, 1)], ids=["sampled first", "multiplied first"])
def test_lstm_step_has_the_right_gradients(input_dim, hidden_dim, tile_pixels):
    torch.manual_seed(0)
    shapes = ((2, input_dim, 4, 6), (2, hidden_dim, 4, 6), (2, hidden_dim, 4, 6),
              (4 * hidden_dim, input_dim + hidden_dim, 3, 3), (4 * hidden_dim,))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *inputs: lstm_step(*inputs, "exact"), tensors)


def test_lstm_step_skips_an_input_without_gradient(path):
    torch.manual_seed(0)
    conv = SphereConv2d(5, 12, 1, True, "released")
    x, hidden, cell = torch.randn(2, 2, 6, 8), torch.randn(2, 3, 6, 8, requires_grad=True), torch.randn(2, 3, 6, 8)
    ours = lstm_step(x, hidden, cell, conv.weight, conv.bias, "released")
    expected = conv_lstm(lambda joined: sphere_conv(joined, conv), x, (hidden, cell))
    torch.testing.assert_close(ours, expected)
    inputs = [hidden, conv.weight, conv.bias]
    torch.testing.assert_close(gradients(torch.cat(ours), inputs), gradients(torch.cat(expected), inputs))


def test_constant_image_shares_the_gradient_of_its_largest_samples(path):
    x = torch.ones(1, 1, 6, 8, requires_grad=True)
    SphereMaxPool2d(1, "exact")(x).sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(48.0))


def test_step_leaves_its_state_as_it_was(path):
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact").eval(), torch.rand(1, 3, 3, 6, 12)
    with torch.no_grad():
        _, state = model.step(frames[:, 0], None)
        kept = [values.clone() for part in state for values in part]
        first, _ = model.step(frames[:, 1], state)
        again, _ = model.step(frames[:, 1], state)
    torch.testing.assert_close([values for part in state for values in part], kept, atol=0, rtol=0)
    torch.testing.assert_close(first, again, atol=0, rtol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_maps(mode, count, threads, tile_pixels, path):
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "released"), torch.rand(2, 2, 3, 9, 16)
    expected = straightforward(model, frames).detach()
    threads(count)
    with mode():
        torch.testing.assert_close(model(frames), expected, atol=1e-6, rtol=0)
    assert torch.get_num_threads() == count


def test_training_after_inference_mode(path):
    clear_caches()  # the sampling is then made in inference mode
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact"), torch.rand(1, 2, 3, 6, 12)
    with torch.inference_mode():
        expected = model(frames).clone()
    maps = model(frames)
    maps.sum().backward()
    torch.testing.assert_close(maps.detach(), expected)


def test_half_precision_is_near():
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact"), torch.rand(1, 3, 3, 6, 12)
    expected = straightforward(model, frames)
    maps = model.bfloat16()(frames.bfloat16())
    maps.sum().backward()
    assert maps.dtype == torch.bfloat16 and all(weights.grad.isfinite().all() for weights in model.parameters())
    torch.testing.assert_close(maps.float(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("count", [1, 2])
def test_reduced_precision_where_autocast_asks_for_it(path, threads, count):
    threads(count)
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 8, "exact", latitude=True), torch.rand(1, 3, 3, 8, 16)
    weights = list(model.parameters())
    expected = model(frames)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(frames)
    assert maps.dtype == torch.float32 and not torch.equal(maps, expected)
    torch.testing.assert_close(maps, expected, atol=0.01, rtol=0)
    for ours, exact in zip(torch.autograd.grad(maps.sum(), weights), torch.autograd.grad(expected.sum(), weights)):
        assert float((ours - exact).norm() / exact.norm()) < 0.02


def test_gradients_repeat_exactly_whatever_the_number_of_threads(threads, monkeypatch, path):
    for module in (spherical_conv, cpu):
        monkeypatch.setattr(module, "TILE_PIXELS", 32)
    monkeypatch.setattr(cpu, "PIECE_SAMPLES", 9 * 5 * 32)
    clear_caches()
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact"), torch.rand(1, 3, 3, 12, 16)
    results = []
    for count in (1, 2, 3, 3):
        threads(count)
        results.append(gradients(model(frames), model.parameters()))
    clear_caches()
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=0, rtol=0)


def test_each_piece_is_handled_once_by_serial_threads_that_record_nothing(threads):
    threads(3)
    seen, x = [], torch.ones(2, requires_grad=True)
    with torch.no_grad():
        for_each(lambda n: seen.append((n, torch.get_num_threads(), (2 * x).requires_grad)), range(100), CPU)
    assert sorted(seen) == [(n, 1, False) for n in range(100)]
    assert torch.get_num_threads() == 3
    numbers = []
    other = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert numbers == [3]


def test_an_error_in_a_piece_is_raised(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError):
        for_each(lambda n: 1 // n, range(5), CPU)


def fork_and_work():
    for_each(lambda n: n, range(4), CPU)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_threads_of_its_own(threads):
    threads(2)
    fork_and_work()
    child = multiprocessing.get_context("fork").Process(target=fork_and_work)
    child.start()
    child.join(20)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()


def test_quick_benchmark():
    run = subprocess.run([sys.executable, ROOT / "benchmarks" / "model.py", "--quick"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("difference") == 2 * len(GEOMETRIES)
