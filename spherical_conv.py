"""Convolution and max-pooling on the sphere, for equirectangular images (paper, section 3.1): the modules, and which
kernels serve them. kernels/taps.py says where they read."""

import time
import warnings
from functools import lru_cache

import torch
from torch import nn

from kernels import reference
from kernels.taps import GEOMETRIES, check_sampling, sampling_grid

try:
    from kernels import cpu
except ImportError as problem:  # numba is not installed, does not fit this system, or is switched off
    if (problem.name or "").startswith("kernels"):
        raise
    cpu, why_not_cpu = None, str(problem)

__all__ = ["GEOMETRIES", "SphereConv2d", "SphereMaxPool2d", "kernels_for", "sampling_grid"]


def kernels_for(x):
    """The module whose conv, max_pool and lstm_step serve x: this is decided here and nowhere else.

    For float32, `kernels.cpu` on a CPU, where numba is there and autocast asks for nothing else; `kernels.cuda` on a
    GPU where Triton is there; else `kernels.reference`.
    """
    if x.device.type != "cpu":
        return kernels_of_device(x.device) if x.dtype == torch.float32 else reference
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return reference
    if cpu is None:
        warn_without_numba()
    return cpu or reference


@lru_cache
def kernels_of_device(device):
    """The module that serves float32 on a device that is no CPU. Where that is the reference, a warning says why, once
    in a process; Triton is imported only now, since that takes time."""
    why = f"Triton has no kernels for {device.type}"
    if device.type == "cuda":
        try:
            from kernels import cuda
        except ImportError as problem:  # Triton is not installed: it comes with torch on Linux
            if (problem.name or "").startswith("kernels"):
                raise
            why = f"Triton cannot be used: {problem}"
        else:
            if torch.cuda.get_device_capability(device) >= (8, 0):
                return cuda
            why = f"{torch.cuda.get_device_name(device)} is older than Triton's kernels need (compute capability 8.0)"
    warnings.warn(f"{why}; the network runs on {device} in plain PyTorch, which gives the same numbers more slowly",
                  RuntimeWarning, stacklevel=2)
    return reference


@lru_cache
def warn_without_numba():
    """Warns once in a process."""
    warnings.warn(f"numba cannot be used ({why_not_cpu}): without it the network is about 12 times slower on a CPU. "
                  "To install it: pip install -r requirements.txt", RuntimeWarning, stacklevel=2)


def compile_kernels(device, say, training=False):
    """Compiles the kernels that serve a model on the device, where they are compiled and have not been before. say is
    called with a line before that and with one after it."""
    if torch.device(device).type != "cpu" or cpu is None or cpu.are_compiled(training):
        return
    say(f"compiling the network's kernels for this processor, once: about {30 if training else 15} s")
    start = time.perf_counter()
    cpu.compile_ahead(training)
    say(f"compiled, in {time.perf_counter() - start:.0f} s")


class SphereConv2d(nn.Module):
    """3x3 convolution on the sphere: (B, C, H, W) -> (B, O, ceil(H / stride), W / stride).

    weight (O, C, 3, 3): axis 2 from north to south, axis 3 from west to east. Width even and at least 4.
    """

    def __init__(self, in_channels, out_channels, stride, bias, geometry):
        super().__init__()
        check_sampling(1, 4, 1, geometry)
        self.in_channels, self.out_channels, self.stride, self.geometry = in_channels, out_channels, stride, geometry
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Kaiming-uniform with a = sqrt 5, as torch's own convolutions and the authors'; biases start from zero."""
        nn.init.kaiming_uniform_(self.weight, a=5 ** 0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self):
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}, geometry={self.geometry!r}"

    def forward(self, x):
        C = x.shape[1]
        if self.in_channels != C:
            raise ValueError(f"the input must have {self.in_channels} channels, got {C}")
        bias = x.new_zeros(self.out_channels) if self.bias is None else self.bias
        return kernels_for(x).conv(x, self.weight, bias, self.stride, self.geometry)


class SphereMaxPool2d(nn.Module):
    """The largest of a 3x3 kernel's nine taps: (B, C, H, W) -> (B, C, ceil(H / stride), W / stride)."""

    def __init__(self, stride, geometry):
        super().__init__()
        check_sampling(1, 4, 1, geometry)
        self.stride, self.geometry = stride, geometry

    def extra_repr(self):
        return f"stride={self.stride}, geometry={self.geometry!r}"

    def forward(self, x):
        return kernels_for(x).max_pool(x, self.stride, self.geometry)
