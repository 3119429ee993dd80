"""Matrix products in the precision that the caller asks for with `torch.autocast`, which itself reaches neither into
autograd functions of one's own nor into other threads."""

import torch


def product_type(x):
    """The type that matrix products of x are to be computed in: autocast's on x's device, or else x's own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def multiply(a, b, dtype, out=None):
    """The matrix product of a and b, computed in `dtype`, in a's type: out, where that is not None."""
    if out is None:
        out = a.new_empty(len(a), b.shape[1])
    if dtype == a.dtype:
        return torch.mm(a, b, out=out)  # with out= autocast keeps its hands off
    return out.copy_(torch.mm(a.to(dtype), b.to(dtype)))


def add_product(total, a, b, dtype):
    """Adds the product of a and b, computed in `dtype`."""
    if dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total.add_(torch.mm(a.to(dtype), b.to(dtype)))
