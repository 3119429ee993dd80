"""The layers on a GPU, in Triton: the fast twin of reference.py, with the same functions, for float32.

Here autograd gets its backward passes, and the programs of cuda_programs.py their launches: one for a layer and image.
Samples go through no memory: the backward pass makes them again. Of an LSTM step, training keeps the activated gates,
of max-pooling two bytes for each output. Nothing is added by atomics, so two runs give the same bits.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from kernels import cuda_programs as programs
from kernels.taps import bilinear_taps

# These sizes need the fewest instructions of those that were compiled (docs/gpu.md).
COLUMNS = 64  # of a program
SUMMED = 32  # columns, and channels at most, that a program adds to the gradient of a weight at a time
CHANNELS = 16  # that a program samples at a time: the fewest that tl.dot takes
LARGEST_BLOCK = 128  # of outputs in one sum of a program
PARTS = 64  # of the gradient of a weight, which are then added up
VALUES = 1024  # of a program that works value by value

# ------------------------------------------------------------------------------------------------------------- sampling


class RowSums(NamedTuple):
    """How each tap of each row is a sum of runs of source rows, on a device.

    For column j, an entry (source row, shift) with two weights reads column (step * j + shift) % width and the next
    one, counted in the larger of the two images. Where the source is the smaller one, it has only every `divisor`-th
    of these columns; the others count as zero.
    """

    starts: torch.Tensor | None  # (9 * rows + 1,) int32: the first entry of each row and tap; None: two entries each
    entries: torch.Tensor  # (entries, 4) int32: source row, shift, and the column where either weight counts as zero
    weights: torch.Tensor  # (entries, 2) float32
    step: int
    divisor: int
    edge: str  # which column that is: the one that is "read", or "written"; "" where columns wrap

    def constants(self):
        return {"STEP": self.step, "DIVISOR": self.divisor, "EDGE": self.edge}


@cache  # CUDA graphs read these tensors as long as they live
def row_sums(height, width, stride, geometry, device):
    """(`RowSums` of a sampling, those of its transpose, which gather the gradient of the input)."""
    taps = bilinear_taps(height, width, stride, geometry)
    row, col = taps.row[..., ::2], taps.col[..., ::2]  # (H_out, 9, 2): of the northern and the southern run
    outside = np.broadcast_to(taps.outside[..., None, :2], (*row.shape, 2))  # the same for both runs
    entries = np.concatenate([row[..., None], col[..., None], outside], axis=-1).reshape(-1, 4)
    weights = taps.weight.reshape(-1, 2)
    edge = geometry == "released"

    row_out, tap, _ = (index.ravel() for index in np.indices(row.shape))
    target = 9 * entries[:, 0] + tap  # of the transpose: the row that it writes, and the tap
    order = np.argsort(target, kind="stable")
    order = order[weights[order].any(axis=1)]
    starts = np.searchsorted(target[order], np.arange(9 * height + 1))
    # The eastern weight leads from column j to column stride * j + col + 1, so that is now the first to be read.
    transposed = np.stack([row_out, (-1 - entries[:, 1]) % width, entries[:, 3], entries[:, 2]], axis=-1)[order]

    def on_device(values, dtype):
        return torch.from_numpy(np.ascontiguousarray(values)).to(device, dtype)

    with torch.inference_mode(False):  # training cannot use what is made in inference mode
        forward = RowSums(None, on_device(entries, torch.int32), on_device(weights, torch.float32), stride, 1,
                          "read" if edge else "")
        backward = RowSums(on_device(starts, torch.int32), on_device(transposed, torch.int32),
                           on_device(weights[order][:, ::-1], torch.float32), 1, stride, "written" if edge else "")
    return forward, backward


# ------------------------------------------------------------------------------------------------------------- launches


def launch(program, grid, *arguments, **constants):
    """Starts a program for each point of a grid, on the device of its first argument. One stage: loads that are made
    ahead cost more instructions than they save time, since several programs share a core (docs/gpu.md)."""
    warps = 8 if constants.get("BLOCK", 0) >= 64 else 4  # so that a thread's part of the sums fits its registers
    with torch.cuda.device_of(arguments[0]):
        program[grid](*arguments, **constants, num_warps=warps, num_stages=1)


def precision():
    """How products are computed, as the user asked PyTorch: in the type of autocast, in TF32, or in true float32."""
    types = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
    number_type = tl.float32
    if torch.is_autocast_enabled("cuda"):
        number_type = types.get(torch.get_autocast_dtype("cuda"), tl.float32)
    tf32 = torch.get_float32_matmul_precision() != "highest" and not torch.version.hip
    return {"TYPE": number_type, "PRECISION": "tf32" if tf32 else "ieee"}


def power_of_two(count, smallest, largest):
    """The least power of two that is not below count, between two others."""
    return min(max(triton.next_power_of_2(count), smallest), largest)


def output_blocks(count):
    """({BLOCK, REST}, programs): how the programs share `count` outputs, BLOCK + REST each, in powers of two of at
    least 16 (tl.dot). The 144 of the paper's encoder are 128 + 16, with no padding."""
    block = power_of_two(count, 16, LARGEST_BLOCK)
    for smaller in (block, block // 2):
        rest = power_of_two(count - smaller, 16, LARGEST_BLOCK)
        if 16 <= smaller < count and rest <= smaller // 2 and smaller + rest >= count:
            return {"BLOCK": smaller, "REST": rest}, 1
    return {"BLOCK": block, "REST": 0}, -(-count // block)


def runs(height, width):
    """How many programs share an image: a run of columns of one row each."""
    return height * -(-width // COLUMNS)


def packed(weight, gates):
    """weight (O, C, 3, 3) -> (9, O, C). The O outputs are `gates` groups: those of one hidden channel then follow one
    another."""
    O, C = weight.shape[:2]
    return weight.detach().reshape(gates, -1, C, 9).permute(3, 1, 0, 2).reshape(9, O, C)


def padded(kernel, outputs):
    """kernel (9, O, C) with zeros after its outputs and channels: (9, outputs, a multiple of CHANNELS), contiguous."""
    _, O, C = kernel.shape
    return F.pad(kernel, (0, -C % CHANNELS, 0, outputs - O)).contiguous()


def unpacked(kernel, gates):
    """The inverse of `packed`."""
    _, O, C = kernel.shape
    return kernel.reshape(9, -1, gates, C).permute(2, 1, 3, 0).reshape(O, C, 3, 3)


def convolved(out, x, kernel, bias, sums, numbers):
    """Fills out (B, O, H_out, W_out) with a convolution of x (B, C, H, W), or with its transpose. kernel: (9, O, C);
    bias: (O,) or None."""
    (B, O, H_out, W_out), (_, C, H, W) = out.shape, x.shape
    blocks, count = output_blocks(O)
    kernel = padded(kernel, count * sum(blocks.values()))
    launch(programs.conv, (runs(H_out, W_out), B, count), out, x, kernel, bias, sums.starts, sums.entries, sums.weights,
           X=C, OUTPUTS=O, OUTPUT_STRIDE=kernel.stride(1), TAP_STRIDE=kernel.stride(0), PIXELS=H * W,
           PIXELS_OUT=H_out * W_out, WIDTH_OUT=W_out, WIDTH=max(W, W_out), CHANNELS=CHANNELS, COLUMNS=COLUMNS,
           **sums.constants(), **blocks, **numbers)
    return out


def input_gradient(grad, kernel, first, size, sums, numbers):
    """The gradient of the input's channels from `first` on. grad: (B, O, H_out, W_out); size: H, W; sums: transposed
    ones."""
    out = grad.new_empty(len(grad), kernel.shape[2] - first, *size)
    return convolved(out, grad, kernel[:, :, first:].transpose(1, 2), None, sums, numbers)


def weight_gradient(grad, x, hidden, sums, numbers):
    """The gradient of a `packed` weight: (9, O, C). grad: (B, O, H_out, W_out); the input is x, then hidden."""
    (B, O, H_out, W_out), (_, X, H, W), HIDDEN = grad.shape, x.shape, hidden.shape[1]
    rows = B * H_out
    rows_each = -(-rows // PARTS)
    parts = grad.new_empty(-(-rows // rows_each), 9, O, X + HIDDEN)
    blocks, count = output_blocks(O)
    channels = power_of_two(X + HIDDEN, 16, SUMMED)
    launch(programs.weight_gradient, (9 * -(-(X + HIDDEN) // channels), len(parts), count), parts, grad, x, hidden,
           sums.entries, sums.weights, rows, rows_each, X=X, HIDDEN=HIDDEN, OUTPUTS=O, PIXELS=H * W,
           PIXELS_OUT=H_out * W_out, WIDTH_OUT=W_out, WIDTH=W, CHANNELS=channels, COLUMNS=SUMMED, **sums.constants(),
           **blocks, **numbers)
    return parts.sum(dim=0)


# ---------------------------------------------------------------------------------------------------------- convolution


def conv(x, weight, bias, stride, geometry):
    """A convolution: (B, C, H, W), weight (O, C, 3, 3), bias (O,) -> (B, O, ceil(H / stride), W / stride)."""
    return Conv.apply(x.contiguous(), weight, bias, stride, geometry)


class Conv(torch.autograd.Function):
    """See `conv`."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, geometry):
        (B, _, H, W), O = x.shape, len(weight)
        ctx.sums, ctx.numbers = row_sums(H, W, stride, geometry, x.device), precision()
        ctx.save_for_backward(x, weight)
        out = x.new_empty(B, O, -(-H // stride), W // stride)
        return convolved(out, x, packed(weight, 1), bias.contiguous(), ctx.sums[0], ctx.numbers)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad, (forward, transposed) = grad.contiguous(), ctx.sums
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(grad, packed(weight, 1), 0, x.shape[2:], transposed, ctx.numbers)
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            grad_weight = unpacked(weight_gradient(grad, x, x[:, :0], forward, ctx.numbers), 1)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


# ------------------------------------------------------------------------------------------------------------ LSTM step


def lstm_step(x, hidden, cell, weight, bias, geometry):
    """A step of a convolutional LSTM: see `reference.lstm_step`."""
    tensors = x.contiguous(), hidden.contiguous(), cell.contiguous(), weight, bias.contiguous()
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return LSTMStep.apply(*tensors, geometry)
    return lstm_forward(*tensors, geometry, None)


def lstm_forward(x, hidden, cell, weight, bias, geometry, gates):
    """The next hidden and cell state. gates: (B, hidden, 4, H, W), to be filled with the activated gates, or None."""
    (B, C, H, W), HIDDEN = x.shape, cell.shape[1]
    sums, _ = row_sums(H, W, 1, geometry, x.device)
    next_hidden, next_cell = torch.empty_like(cell), torch.empty_like(cell)
    blocks, count = output_blocks(4 * HIDDEN)
    kernel = padded(packed(weight, 4), count * sum(blocks.values()))
    launch(programs.lstm_step, (runs(H, W), B, count), next_hidden, next_cell, gates, x, hidden, cell, kernel, bias,
           sums.entries, sums.weights, X=C, HIDDEN_READ=hidden.shape[1], HIDDEN=HIDDEN, OUTPUT_STRIDE=kernel.stride(1),
           TAP_STRIDE=kernel.stride(0), PIXELS=H * W, WIDTH=W, CHANNELS=CHANNELS, COLUMNS=COLUMNS, **sums.constants(),
           **blocks, **precision())
    return next_hidden, next_cell


class LSTMStep(torch.autograd.Function):
    """See `lstm_step`."""

    @staticmethod
    def forward(ctx, x, hidden, cell, weight, bias, geometry):
        B, HIDDEN, H, W = cell.shape
        gates = cell.new_empty(B, HIDDEN, 4, H, W)
        state = lstm_forward(x, hidden, cell, weight, bias, geometry, gates)
        ctx.geometry, ctx.numbers = geometry, precision()
        ctx.save_for_backward(x, hidden, cell, weight, state[1], gates)
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_hidden, grad_cell):
        x, hidden, cell, weight, next_cell, gates = ctx.saved_tensors
        X, H, W = x.shape[1:]
        forward, transposed = row_sums(H, W, 1, ctx.geometry, x.device)
        grad_gates, grad_before = torch.empty_like(gates), torch.empty_like(cell)
        launch(programs.gate_gradients, (-(-cell.numel() // VALUES),), grad_gates, grad_before,
               grad_hidden.contiguous(), grad_cell.contiguous(), gates, cell, next_cell, cell.numel(), PIXELS=H * W,
               VALUES=VALUES)
        grad_x = grad_read = grad_weight = grad_bias = None
        if ctx.needs_input_grad[4]:
            grad_bias = grad_gates.sum(dim=(0, 3, 4)).T.flatten()  # (HIDDEN, 4) -> (4 * HIDDEN,)
        grad_gates = grad_gates.flatten(1, 2)
        if ctx.needs_input_grad[3]:
            grad_weight = unpacked(weight_gradient(grad_gates, x, hidden, forward, ctx.numbers), 4)
        first = 0 if ctx.needs_input_grad[0] else X
        if first < weight.shape[1] and any(ctx.needs_input_grad[:2]):
            grad_inputs = input_gradient(grad_gates, packed(weight, 4), first, (H, W), transposed, ctx.numbers)
            grad_x, grad_read = grad_inputs[:, :X - first], grad_inputs[:, X - first:]
        return None if first else grad_x, grad_read, grad_before, grad_weight, grad_bias, None


# -------------------------------------------------------------------------------------------------------------- pooling


def max_pool(x, stride, geometry):
    """(B, C, H, W) -> (B, C, ceil(H / stride), W / stride). Taps that are equally large share the gradient."""
    return MaxPool.apply(x.contiguous(), stride, geometry)


class MaxPool(torch.autograd.Function):
    """See `max_pool`."""

    @staticmethod
    def forward(ctx, x, stride, geometry):
        B, C, H, W = x.shape
        forward, ctx.transposed = row_sums(H, W, stride, geometry, x.device)
        ctx.size = x.shape
        out = x.new_empty(B, C, -(-H // stride), W // stride)
        largest_taps = torch.empty_like(out, dtype=torch.int16) if ctx.needs_input_grad[0] else None
        launch(programs.max_pool, (runs(*out.shape[2:]), B, -(-C // CHANNELS)), out, largest_taps, x, forward.entries,
               forward.weights, X=C, PIXELS=H * W, PIXELS_OUT=out[0, 0].numel(), WIDTH_OUT=W // stride, WIDTH=W,
               CHANNELS=CHANNELS, COLUMNS=COLUMNS, **forward.constants())
        ctx.save_for_backward(largest_taps)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        largest_taps, = ctx.saved_tensors
        B, C, H, W = ctx.size
        sums, grad_x = ctx.transposed, grad.new_empty(ctx.size)
        launch(programs.max_pool_backward, (runs(H, W), B, -(-C // CHANNELS)), grad_x, grad.contiguous(), largest_taps,
               sums.starts, sums.entries, sums.weights, X=C, PIXELS=grad[0, 0].numel(), PIXELS_OUT=H * W, WIDTH_OUT=W,
               WIDTH=W, CHANNELS=CHANNELS, COLUMNS=COLUMNS, **sums.constants())
        return grad_x, None, None
