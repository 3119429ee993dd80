"""The layers in plain PyTorch, for every device and floating-point type (paper, sections 3.1 and 3.2).

The faster kernels beside this file have the same three functions (conv, max_pool, lstm_step) and are compared with
these; export.py writes these as an ONNX graph. Images are (B, C, H, W).
"""

from functools import cache, wraps
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kernels.taps import bilinear_taps

# ------------------------------------------------------------------------------------------------------------ sampling


class TapTensors(NamedTuple):
    """`BilinearTaps` on a device, the four pixels of a tap first: (4, H_out, 1, 9). The output's column 0 is enough to
    compute all the others, and keeps the ONNX file small."""

    row_start: torch.Tensor  # the source row's first pixel, pixels counted row by row
    col: torch.Tensor
    weight: torch.Tensor  # (4, H_out, 1, 9, 1)
    steps: torch.Tensor  # (W_out, 1): how many columns further east each column of the output reads
    outside: torch.Tensor | None = None  # the column that counts as zero, where columns do not wrap


@cache  # CUDA graphs read these tensors as long as they live
def tap_tensors(height, width, stride, geometry, device, dtype):
    """The `TapTensors` of a sampling."""
    taps = bilinear_taps(height, width, stride, geometry)
    with torch.inference_mode(False):  # training cannot use what is made in inference mode
        row_start, col, weight, outside = (torch.from_numpy(values).movedim(-1, 0)[:, :, None].contiguous().to(device)
                                           for values in (taps.row * width, taps.col, taps.weight, taps.outside))
        steps = stride * torch.arange(width // stride, device=device)[:, None]
        weight = weight[..., None].to(dtype)
        return TapTensors(row_start, col, weight, steps, outside if geometry == "released" else None)


def taps_for(x, stride, geometry):
    """The `TapTensors` that sample x (B, C, H, W)."""
    return tap_tensors(*x.shape[2:], stride, geometry, x.device, x.dtype)


def sizes(x):
    """The shape as numbers: while the ONNX exporter traces, x.shape is part of the graph."""
    return tuple(map(int, x.shape))


def gather_taps(x, taps):
    """The values at the nine taps of every output pixel: (B, C, H, W) -> (B, H_out * W_out, 9, C)."""
    B, C, H, W = sizes(x)
    col = (taps.col + taps.steps) % W  # (4, H_out, W_out, 9)
    pixel, weight = taps.row_start + col, taps.weight
    if taps.outside is not None:
        weight = weight * (col != taps.outside)[..., None].to(weight.dtype)
    pixels = x.permute(2, 3, 0, 1).reshape(H * W, B * C)  # channels last: a pixel is one run of numbers
    # F.embedding is a gather. Its backward pass adds up in a fixed order on CUDA too, so gradients repeat bit for bit;
    # that of index_select adds in whatever order the threads come.
    values = F.embedding(pixel[0], pixels).mul_(weight[0])  # (H_out, W_out, 9, B * C)
    for corner in (1, 2, 3):
        values += F.embedding(pixel[corner], pixels).mul_(weight[corner])
    return values.reshape(-1, 9, B, C).permute(2, 0, 1, 3)


# --------------------------------------------------------------------------------------------- layers, from tap tensors


def conv_from_taps(x, weight, bias, taps):
    """The convolution: (B, C, H, W), weight (O, C, 3, 3), bias (O,) -> (B, O, H_out, W_out)."""
    (B, C, _, _), O, W_out = sizes(x), sizes(weight)[0], sizes(taps.steps)[0]
    values, kernel = gather_taps(x, taps).reshape(B, -1, 9 * C), weight.permute(0, 2, 3, 1).flatten(1)
    products = F.linear(values, kernel, bias).to(x.dtype)  # (B, H_out * W_out, O); autocast makes it another type
    return products.reshape(B, -1, W_out, O).permute(0, 3, 1, 2)


def max_pool_from_taps(x, taps):
    """The largest of the nine taps: (B, C, H, W) -> (B, C, H_out, W_out)."""
    B, C, _, _ = sizes(x)
    largest = gather_taps(x, taps).amax(dim=2)  # taps that are equally large share the gradient
    return largest.reshape(B, -1, sizes(taps.steps)[0], C).permute(0, 3, 1, 2)


def lstm_step_from_taps(x, hidden, cell, weight, bias, taps):
    """The next hidden and cell state; the gates' order is input, forget, output, candidate."""
    gates = conv_from_taps(torch.cat([x, hidden], dim=1), weight, bias, taps)  # (B, 4 * hidden, H, W)
    i, f, o, g = gates.split(sizes(cell)[1], dim=1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


# -------------------------------------------------------------------------------------------------------------- layers


def recomputed(layer):
    """The layer, which the backward pass computes again: until then training keeps only its arguments, and not the
    values at the taps, which are nine times as large as the input."""

    @wraps(layer)
    def call(*arguments):
        if not torch.is_grad_enabled():
            return layer(*arguments)
        return checkpoint(layer, *arguments, use_reentrant=False, preserve_rng_state=False)

    return call


@recomputed
def conv(x, weight, bias, stride, geometry):
    """A convolution: (B, C, H, W), weight (O, C, 3, 3), bias (O,) -> (B, O, ceil(H / stride), W / stride)."""
    return conv_from_taps(x, weight, bias, taps_for(x, stride, geometry))


@recomputed
def max_pool(x, stride, geometry):
    """(B, C, H, W) -> (B, C, ceil(H / stride), W / stride). Taps that are equally large share the gradient."""
    return max_pool_from_taps(x, taps_for(x, stride, geometry))


@recomputed
def lstm_step(x, hidden, cell, weight, bias, geometry):
    """A step of a convolutional LSTM: the next hidden and cell state, (B, hidden, H, W) each.

    x: (B, C, H, W); hidden: like the results, or without channels, which stands for zeros; weight: (4 * hidden,
    C + hidden, 3, 3), the gates in the order input, forget, output, candidate; bias: (4 * hidden,).
    """
    return lstm_step_from_taps(x, hidden, cell, weight, bias, taps_for(x, 1, geometry))
