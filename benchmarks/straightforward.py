"""The yardsticks of the benchmarks and tests: the straightforward formulation by `grid_sample`, which gives the model's
numbers, and a planar model of the same widths, which a user without a sphere would run."""

from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from kernels.taps import sampling_grid
from model import latitude_channels

# ------------------------------------------------------------------------------------------- straightforward, spherical


@lru_cache(maxsize=16)
def normalised_grid(height, width, stride, geometry, device, dtype):
    """`sampling_grid` as grid_sample (align_corners=False) reads the result of `pad`: (1, 3 H_out, 3 W_out, 2)."""
    rows, cols = sampling_grid(height, width, stride, geometry)
    top, side = (geometry == "exact"), (geometry != "released")
    y = (2 * (rows + top) + 1) / (height + 2 * top) - 1
    x = (2 * (cols + side) + 1) / (width + 2 * side) - 1
    grid = torch.stack([torch.from_numpy(x), torch.from_numpy(y)], dim=-1)  # (H_out, W_out, 3, 3, 2)
    return grid.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)[None].to(device, dtype)


def pad(x, geometry):
    """The image with one more column, and in `exact` one more row, on each side: grid_sample itself has zeros there."""
    if geometry == "exact":
        beyond = x.roll(x.shape[3] // 2, dims=3)
        x = torch.cat([beyond[:, :, :1], x, beyond[:, :, -1:]], dim=2)
    return x if geometry == "released" else torch.cat([x[..., -1:], x, x[..., :1]], dim=3)


def expand(x, stride, geometry):
    """The nine taps of every output pixel side by side: (B, C, H, W) -> (B, C, 3 H_out, 3 W_out)."""
    grid = normalised_grid(*x.shape[2:], stride, geometry, x.device, x.dtype)
    return F.grid_sample(pad(x, geometry), grid.expand(len(x), -1, -1, -1), mode="bilinear", align_corners=False)


def sphere_conv(x, conv):
    """What a `SphereConv2d` computes."""
    return F.conv2d(expand(x, conv.stride, conv.geometry), conv.weight, conv.bias, stride=3)


def sphere_max_pool(x, pool):
    """What a `SphereMaxPool2d` computes."""
    return F.max_pool2d(expand(x, pool.stride, pool.geometry), kernel_size=3, stride=3)


def conv_lstm(conv, x, state):
    """The next hidden and cell state of a convolutional LSTM; conv(x and hidden) are its four gates."""
    hidden, cell = state
    i, f, o, g = conv(torch.cat([x, hidden], dim=1)).chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def straightforward_maps(model, frames):
    """What an `SST_Sal` computes: (B, T, C, H, W) -> (B, T, 1, H, W)."""
    encoder, decoder = model.encoder["lstm"], model.decoder["lstm"]
    if model.latitude:
        frames = torch.cat([frames, latitude_channels(frames)], dim=2)
    return recurrence(frames, lambda x: sphere_conv(x, encoder.conv), lambda x: sphere_max_pool(x, model.pool),
                      lambda x: sphere_conv(x, decoder.conv), encoder.hidden_dim)


def recurrence(frames, encoder, pool, decoder, hidden_dim, step=conv_lstm):
    """The network around its three layers, frame by frame."""
    B, T, C, H, W = frames.shape
    encoder_state = (frames.new_zeros(B, hidden_dim, H, W),) * 2
    decoder_state = (frames.new_zeros(B, 1, -(-H // 2), W // 2),) * 2
    maps = []
    for frame in frames.unbind(dim=1):
        encoder_state = step(encoder, frame, encoder_state)
        decoder_state = step(decoder, pool(encoder_state[0]), decoder_state)
        maps.append(F.interpolate(decoder_state[0], size=(H, W), mode="nearest"))
    return torch.stack(maps, dim=1)


# --------------------------------------------------------------------------------------------------------------- planar


class Planar(nn.Module):
    """The same network with plain 3x3 convolutions and max-pooling, channels last. compiled: by torch.compile, a step
    of a layer at a time."""

    def __init__(self, input_dim, hidden_dim, compiled=False):
        super().__init__()
        self.hidden_dim, self.step = hidden_dim, torch.compile(conv_lstm) if compiled else conv_lstm
        self.encoder = nn.Conv2d(input_dim + hidden_dim, 4 * hidden_dim, 3, padding=1)
        self.decoder = nn.Conv2d(hidden_dim + 1, 4, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, frames):
        B, T, C, H, W = frames.shape
        frames = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (B, T))
        return recurrence(frames, self.encoder, nn.MaxPool2d(3, stride=2, padding=1), self.decoder, self.hidden_dim,
                          self.step)
