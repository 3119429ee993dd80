"""What a GPU does while the host goes on, as far as a CPU can show it: CUDA graphs are replayed by a stand-in."""

import warnings
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import devices
import train
from kernels import reference
from loss import SphericalKLDiv
from model import SST_Sal
from windows import maps_of_clips

CPU = torch.device("cpu")


def test_bytes_are_scaled_with_one_rounding():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(devices.unit_interval(levels), (levels.double() / 255).float())
    assert torch.equal(devices.unit_interval(levels), levels.float() / 255)


def test_numbers_are_read_in_order_and_on_a_gpu_a_step_later(monkeypatch):
    for behind in (0, 1, 2):
        monkeypatch.setitem(devices.STEPS_BEHIND, "cpu", behind)
        readouts, read = devices.Readouts(CPU), []
        for step in range(4):
            readouts.add(torch.tensor([step, 0.5], requires_grad=True), step)
            read += readouts.read()
            assert read == [([before, 0.5], before) for before in range(step + 1 - behind)]
        assert len(read + list(readouts.read(to_the_end=True))) == 4
        assert not list(readouts.read(to_the_end=True))


# -------------------------------------------------------------------------------------------------------- CUDA graphs


class Recorder(TorchDispatchMode):
    """Writes down every operation with the memory that it reads and writes, as a CUDA graph does. As there, nothing may
    be read back."""

    def __init__(self, operations):
        super().__init__()
        self.operations = operations

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if "_local_scalar_dense" in str(function):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        result = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, result))
        return result


class Graph:
    """A stand-in for torch.cuda.CUDAGraph."""

    def __init__(self):
        self.operations, self.replays = [], 0

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for function, args, kwargs, result in self.operations:
                for old, new in zip(tree_leaves(result), tree_leaves(function(*args, **kwargs))):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are captured, each of them on a CPU that counts as a GPU. The network runs in plain PyTorch."""
    made = []

    @contextmanager
    def capturing(graph, **how):
        made.append(graph)
        with Recorder(graph.operations):
            yield

    monkeypatch.setattr(devices, "can_capture", lambda device: True)
    streams = []
    for name, value in (("CUDAGraph", Graph), ("graph", capturing), ("Stream", object), ("device", nullcontext),
                        ("current_stream", lambda: "before"), ("set_stream", streams.append)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr("spherical_conv.kernels_for", lambda x: reference)
    monkeypatch.setattr("model.kernels_for", lambda x: reference)
    yield made
    assert set(streams) == {"before"}  # whether the capture succeeded or not


def test_the_windows_of_a_shape_are_captured_once_and_replayed(graphs):
    torch.manual_seed(0)
    model = SST_Sal(3, 2, "released", latitude=True).eval()
    clips = torch.randint(256, (5, 2, 3, 6, 8, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for number, batch in enumerate(clips):
            maps = maps_of_clips(model, batch).clone()
            assert torch.equal(maps, maps_of_clips.function(model, batch)), number
            maps_of_clips(model, batch[:1])  # another shape
    assert [graph.replays for graph in graphs] == [4, 4]
    del model
    assert not maps_of_clips.graphs  # nor their memory


def test_the_gradient_of_a_step_is_captured_once_and_replayed(graphs):
    torch.manual_seed(0)
    model, loss_fn = SST_Sal(3, 2, "exact"), SphericalKLDiv("proper", check_targets=False)
    compute = train.make_losses_and_gradient(model, loss_fn)
    for _ in range(4):
        clips, targets, counts = torch.rand(2, 3, 3, 6, 8), torch.rand(2, 3, 6, 8), torch.tensor([[1.0], [0.0]])
        found = [each.clone() for each in compute(model, clips, targets, counts)]
        expected = compute.function(model, clips, targets, counts)
        assert all(map(torch.equal, found, expected))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), found[1:]):
                parameter -= 0.1 * gradient  # a graph reads the weights as they are then
    assert [graph.replays for graph in graphs] == [3]


def test_what_cannot_be_captured_is_called_each_time_and_one_warning_says_so(graphs):
    model, calls = SST_Sal(3, 2, "exact"), []

    def reads_back(model, x):
        calls.append(x.sum().item())
        return x + 1

    function = devices.Captured(reads_back)
    assert function(model, torch.ones(2))[0] == 2
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph can be captured \(operation not permitted.*capturing\)"):
        assert function(model, torch.ones(2))[0] == 2
    with warnings.catch_warnings(action="error"):
        assert function(model, torch.ones(2))[0] == 2
    assert calls == [2.0, 2.0, 2.0]


def test_few_shapes_are_captured(graphs):
    model, function = SST_Sal(3, 2, "exact"), devices.Captured(lambda model, x: x + 1)
    for _ in range(3):
        for size in range(1, 12):
            assert torch.equal(function(model, torch.zeros(size)), torch.ones(size))
    assert len(graphs) == devices.MOST_GRAPHS
