"""Matrix products in the precision that the caller asks for with `torch.autocast`, which itself reaches neither into
autograd functions of one's own nor into other threads."""

import platform
from pathlib import Path

import torch

from threads import scratch

try:
    import amx
except ImportError:  # numba is missing
    amx = None


def product_type(x):
    """The type that matrix products of x are to be computed in: autocast's on x's device, or else x's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def prefers_onednn():
    """Whether products in float32 on a CPU are to go through oneDNN, which PyTorch by itself uses for convolutions and
    linear layers alone. On an AMD processor with AVX-512 it is twice as fast as MKL, which torch.mm calls and which has
    none of those instructions there; on Intel's own processors MKL is the faster."""
    cpu = Path("/proc/cpuinfo")
    intel = "GenuineIntel" in (cpu.read_text() if cpu.is_file() else platform.processor())
    return (platform.machine() in ("x86_64", "AMD64") and not intel and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_linear_pointwise"))


ONEDNN = prefers_onednn()
AMX = amx is not None and amx.available()


def multiply(a, b, dtype, out=None):
    """The matrix product of a and b, computed in `dtype`, in a's type: out, where that is not None."""
    if dtype == a.dtype == torch.float32 and a.device.type == "cpu" and ONEDNN:
        product = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
        return product if out is None else out.copy_(product)
    if out is None:
        out = a.new_empty(len(a), b.shape[1])
    if dtype == a.dtype:
        return torch.mm(a, b, out=out)  # with out= autocast keeps its hands off
    return out.copy_(torch.mm(a.to(dtype), b.to(dtype)))


def multiplier(a, dtype):
    """A function for products of a with many b: what can be done with a is done once. (b, out=None) gives the product,
    computed in `dtype`; without out it lives until this thread's next. All NumPy, float32."""
    if not suits_tiles(dtype, *a.shape):
        left = torch.from_numpy(a)

        def multiply_by(b, out=None):
            return multiply(left, torch.from_numpy(b), dtype, None if out is None else torch.from_numpy(out)).numpy()

        return multiply_by
    packed, rows = amx.pack(a), len(a)

    def multiply_tiles(b, out=None):
        if out is None:
            out = scratch.of("product", rows, b.shape[1])
        amx.multiply(packed, b, out)
        return out

    return multiply_tiles


def add_product(total, a, b, dtype):
    """Adds to total the product of a and the transpose of b, computed in `dtype`; all NumPy."""
    if suits_tiles(dtype, *total.shape):
        amx.add_product(total, a, b)
    else:
        total, a, b = map(torch.from_numpy, (total, a, b))
        total.add_(multiply(a, b.t(), dtype))


def suits_tiles(dtype, rows, columns):
    """Whether `amx` is the fastest for products with a matrix of that size: where its tiles are well filled."""
    return AMX and dtype == torch.float32 and min(rows, columns) >= 100
