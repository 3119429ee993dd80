"""How a GPU works while the host goes on: bytes sent to it, CUDA graphs, numbers read once they are there. On a CPU,
all of this happens at once."""

import warnings
import weakref
from collections import deque

import torch

STEPS_BEHIND = {"cuda": 1}  # how many steps later numbers are read; at once on other devices
MOST_GRAPHS = 8  # of a function and model: each holds memory

# ------------------------------------------------------------------------------------------------------ to the device


def upload(tensor, device):
    """The tensor on the device. The host does not wait for a GPU: it copies from memory that is pinned first."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def unit_interval(levels):
    """Bytes as float32 in [0, 1], with the same numbers on every device. Asked to divide by a number, CUDA multiplies
    by its reciprocal, which rounds otherwise; asked to divide by a tensor, it divides."""
    return levels.float().div_(torch.full((), 255.0, device=levels.device))


# ---------------------------------------------------------------------------------------------------- from the device


class Readout:
    """Numbers of a tensor (N,), on their way to the host. `read` waits for them, but not for what the device was asked
    to do later."""

    def __init__(self, numbers):
        self.numbers, self.event = numbers.detach(), None
        if numbers.is_cuda:
            self.numbers = torch.empty_like(numbers, device="cpu", pin_memory=True)
            self.numbers.copy_(numbers, non_blocking=True)
            with torch.cuda.device(numbers.device):
                self.event = torch.cuda.current_stream().record_event()

    def read(self):
        """The numbers, a list."""
        if self.event:
            self.event.synchronize()
        return self.numbers.tolist()


class Readouts:
    """Numbers of one step after the other, read in this order. Those of a GPU are read when it has the next step to do,
    so it is never idle while the host reads."""

    def __init__(self, device):
        self.behind, self.waiting = STEPS_BEHIND.get(device.type, 0), deque()

    def add(self, numbers, step):
        """Takes the numbers, a tensor (N,), of a step, which may be anything."""
        self.waiting.append((Readout(numbers), step))

    def read(self, to_the_end=False):
        """Yields (numbers, step) of the steps whose time has come, or of all."""
        while len(self.waiting) > (0 if to_the_end else self.behind):
            readout, step = self.waiting.popleft()
            yield readout.read(), step


# -------------------------------------------------------------------------------------------------------- CUDA graphs


class Captured:
    """A function of a model and tensors on one device, which returns tensors. On a GPU, its second call with tensors of
    some shapes is captured as a CUDA graph, and later ones replay that: one launch instead of hundreds. What they
    return is overwritten by the next call.

    The function must do the same in every call, and read nothing back from the device. Where its graph cannot be
    captured, a warning says so, and the function is called each time.
    """

    def __init__(self, function):
        self.function, self.graphs = function, weakref.WeakKeyDictionary()  # {model: {shapes: replay, or None}}

    def __call__(self, model, *tensors):
        if not can_capture(tensors[0].device):
            return self.function(model, *tensors)
        graphs = self.graphs.setdefault(model, {})
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors)
        if shapes not in graphs:  # the first call compiles what it needs, which a graph cannot hold
            if len(graphs) < MOST_GRAPHS:
                graphs[shapes] = None
            return self.function(model, *tensors)
        if graphs[shapes] is None:
            try:
                graphs[shapes] = capture(self.function, model, tensors)
            except RuntimeError as problem:
                graphs[shapes], (why, *_) = False, str(problem).splitlines() or [""]
                warnings.warn(f"no CUDA graph can be captured ({why}): the network's kernels are launched one by one",
                              RuntimeWarning, stacklevel=2)
        return graphs[shapes](*tensors) if graphs[shapes] else self.function(model, *tensors)


def can_capture(device):
    return device.type == "cuda"


def capture(function, model, tensors):
    """A function of tensors like these that replays function(model, *tensors)."""
    inputs, graph = [tensor.clone() for tensor in tensors], torch.cuda.CUDAGraph()
    with torch.cuda.device(tensors[0].device):
        stream = torch.cuda.current_stream()
        try:  # another thread may pin memory meanwhile, as a DataLoader does: "thread_local" allows that
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
                outputs = function(model, *inputs)
        finally:
            torch.cuda.set_stream(stream)  # PyTorch does so only where the capture succeeds

    def replay(*tensors):
        with torch.cuda.device(tensors[0].device):
            for own, tensor in zip(inputs, tensors):
                own.copy_(tensor)
            graph.replay()
        return outputs

    return replay
