"""One step of a convolutional LSTM on the sphere (paper, section 3.2) for the images' pixels a tile at a time: samples,
products and gates of a tile are made and used up while they are in cache.

For training only the activated gates and the state are kept; the backward pass samples again, tile by tile.
"""

import torch
from torch.autograd.function import once_differentiable

from kernels import cpu
from kernels.threads import for_each
from spherical_conv import channels_first, convolve, convolve_backward, pixels_first, product_type


def lstm_step(x, hidden, cell, weight, bias, geometry):
    """The next hidden and cell state, (B, hidden, H, W) each; the hidden state may have no channels, for zero.

    x: (B, C, H, W); weight: (4 * hidden, C + hidden, 3, 3), the gates in the order input, forget, output, candidate;
    bias: (4 * hidden,).
    """
    H, W = x.shape[2:]
    if cpu.serves(x):
        return cpu.lstm_step(x, hidden, cell, weight, bias, geometry)
    key = H, W, 1, geometry, x.device, x.dtype
    tensors = x, pixels_first(hidden), pixels_first(cell), weight, bias
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        state = _LSTMStep.apply(*tensors, key, product_type(x))
    else:
        state = advance(*tensors, key, product_type(x))
    return tuple(channels_first(values, H, W) for values in state)


def advance(x, hidden, cell, weight, bias, key, dtype, gates=None):
    """The next state; also fills gates (B, pixels, 4 * hidden), activated, where they are to be kept."""
    next_hidden, next_cell = torch.empty_like(cell), torch.empty_like(cell)

    def finish(b, tile, gates):
        pixels = b, slice(tile.start, tile.stop)
        gates[:, -cell.shape[2]:].mul_(2)  # tanh x = 2 sigmoid(2 x) - 1: one function for all gates, the faster one
        i, f, o, g = gates.sigmoid_().chunk(4, dim=1)
        g.mul_(2).sub_(1)
        here = torch.mul(f, cell[pixels], out=next_cell[pixels]).addcmul_(i, g)
        torch.mul(o, tanh(here), out=next_hidden[pixels])

    convolve(join(x, hidden), weight, bias, key, dtype, finish, gates)
    return next_hidden, next_cell


def join(x, hidden):
    """The channels of x (B, C, H, W), then those of hidden (B, H * W, hidden): (B, H * W, C + hidden)."""
    B, C, H, W = x.shape
    joined = hidden.new_empty(B, H * W, C + hidden.shape[2])
    rows_a_piece = -(-H // 16)

    def work(piece):
        b, top = piece
        bottom = min(top + rows_a_piece, H)
        here = joined[b, top * W:bottom * W]
        here[:, :C].unflatten(0, (-1, W)).copy_(x[b, :, top:bottom].permute(1, 2, 0))
        here[:, C:].copy_(hidden[b, top * W:bottom * W])

    for_each(work, [(b, top) for b in range(B) for top in range(0, H, rows_a_piece)], x.device)
    return joined


def tanh(x):
    """Hyperbolic tangent: on a CPU several times faster than torch's, whose sigmoid is."""
    return (2 * x).sigmoid_().mul_(2).sub_(1)


class _LSTMStep(torch.autograd.Function):
    """See `lstm_step`."""

    @staticmethod
    def forward(ctx, x, hidden, cell, weight, bias, key, dtype):
        gates = hidden.new_empty(*hidden.shape[:2], len(bias))
        next_state = advance(x, hidden, cell, weight, bias, key, dtype, gates)
        ctx.key, ctx.dtype = key, dtype
        ctx.save_for_backward(x, hidden, cell, weight, gates, next_state[1])
        return next_state

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_hidden, grad_cell):
        x, hidden, cell, weight, all_gates, next_cell = ctx.saved_tensors
        C = x.shape[1]
        grad_previous = torch.empty_like(cell)

        def gradient(b, tile):
            pixels = b, slice(tile.start, tile.stop)
            gates, grad = all_gates[pixels], grad_hidden[pixels]
            i, f, o, g = gates.chunk(4, dim=1)
            tanh_cell = tanh(next_cell[pixels])
            grad_c = torch.addcmul(grad_cell[pixels], grad * o, 1 - tanh_cell.square())
            torch.mul(grad_c, f, out=grad_previous[pixels])
            slope = gates * (1 - gates)
            torch.sub(1, g.square(), out=slope.chunk(4, dim=1)[3])
            return torch.cat([grad_c * g, grad_c * cell[pixels], grad * tanh_cell, grad_c * i], dim=1).mul_(slope)

        skipped = 0 if ctx.needs_input_grad[0] else C
        joined = join(x, hidden)
        grad, grad_weight, grad_bias = convolve_backward(joined, weight, ctx.key, ctx.dtype, gradient, skipped)
        grad_x = None if skipped else channels_first(grad[:, :, :C], *x.shape[2:])
        return grad_x, grad[:, :, C - skipped:], grad_previous, grad_weight, grad_bias, None, None
