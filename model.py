"""SST-Sal (paper, section 3): a spherical ConvLSTM encoder, spherical max-pooling, a spherical ConvLSTM decoder.

B batch, T frames, C channels, H height, W width. Input channels: 0-2 the frame (BGR), 3-5 its optical flow (BGR), both
in [0, 1]. Output: o * tanh(c) of the decoder's cell, in (-1, 1); whoever shows a map scales it.
"""

import io
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from errors import InputError
from files import replacing
from model_files import MAX_CHANNELS, check_archive
from published_weights import read_published
from sphere import pixel_to_sphere
from spherical_conv import SphereConv2d, SphereMaxPool2d, kernels_for

FORMAT = 1  # of our checkpoints


class SphericalConvLSTMCell(nn.Module):
    """A convolutional LSTM on the sphere (paper, section 3.2): one convolution of input and hidden state for all gates.

    forward: x (B, C, H, W) and the state -> the next state. A state is (hidden, cell), (B, hidden_dim, H, W) each; None
    stands for zeros.
    """

    def __init__(self, input_dim, hidden_dim, geometry):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.conv = SphereConv2d(input_dim + hidden_dim, 4 * hidden_dim, stride=1, bias=True, geometry=geometry)

    def forward(self, x, state):
        B, C, H, W = x.shape
        if C + self.hidden_dim != self.conv.in_channels:
            raise ValueError(f"the input must have {self.conv.in_channels - self.hidden_dim} channels, got {C}")
        weight = self.conv.weight
        if state is None:  # only the input is convolved: this saves a twentieth of the time of a window of 20 frames
            weight = weight[:, :C]
            state = x.new_empty(B, 0, H, W), x.new_zeros(B, self.hidden_dim, H, W)
        return kernels_for(x).lstm_step(x, *state, weight, self.conv.bias, self.conv.geometry)


class SST_Sal(nn.Module):
    """Saliency of 360° video.

    input_dim: channels of the caller's frames, 3 or, with optical flow, 6. geometry: see kernels/taps.py. latitude: the
    encoder also sees sin and cos of every pixel's latitude; without it the geometry `exact` cannot tell the horizon
    from the poles. Frames may have any height; their width is a multiple of 4 and at least 8.
    """

    def __init__(self, input_dim, hidden_dim, geometry, latitude=False):
        super().__init__()
        self.input_dim, self.hidden_dim, self.geometry, self.latitude = input_dim, hidden_dim, geometry, latitude
        encoder = SphericalConvLSTMCell(input_dim + 2 * latitude, hidden_dim, geometry)
        self.encoder = nn.ModuleDict({"lstm": encoder})
        self.pool = SphereMaxPool2d(stride=2, geometry=geometry)
        self.decoder = nn.ModuleDict({"lstm": SphericalConvLSTMCell(hidden_dim, 1, geometry)})

    def forward(self, frames):
        """(B, T, C, H, W) -> (B, T, 1, H, W), from a state of zeros."""
        B, T, C, H, W = frames.shape
        state, maps = None, []
        for frame in self.encoder_input(frames).unbind(dim=1):
            state = self.next_state(frame, state)
            maps.append(state[1][0])  # (B, 1, ceil(H / 2), W / 2)
        return F.interpolate(torch.cat(maps), size=(H, W), mode="nearest").unflatten(0, (T, B)).transpose(0, 1)

    def step(self, frame, state):
        """One frame (B, C, H, W) and the state, None at first -> its map (B, 1, H, W) and the next state."""
        state = self.next_state(self.encoder_input(frame), state)
        return F.interpolate(state[1][0], size=frame.shape[2:], mode="nearest"), state

    def encoder_input(self, frames):
        """The encoder's input for frames (..., C, H, W): with `latitude`, (..., C + 2, H, W). Raises ValueError for
        frames that the model does not take."""
        C, H, W = frames.shape[-3:]
        if self.input_dim != C:
            raise ValueError(f"the model takes {self.input_dim} channels, got {C}")
        if W % 4 or W < 8:
            raise ValueError(f"the width must be a multiple of 4 and at least 8 (it is halved once), got {W}")
        return torch.cat([frames, latitude_channels(frames)], dim=-3) if self.latitude else frames

    def next_state(self, x, state):
        """The states of encoder and decoder, (hidden, cell) each, after one more input of the encoder."""
        encoder_state, decoder_state = state or (None, None)
        encoder_state = self.encoder["lstm"](x, encoder_state)
        decoder_state = self.decoder["lstm"](self.pool(encoder_state[0]), decoder_state)
        return encoder_state, decoder_state


@torch.no_grad()
def widen(model, hidden_dim):
    """A model with more hidden channels that gives the same maps: the new channels have random weights, and nothing
    reads them yet (as in Net2Net, Chen et al., ICLR 2016)."""
    wide, old_dim = SST_Sal(model.input_dim, hidden_dim, model.geometry, model.latitude), model.hidden_dim
    old, new = (each.encoder["lstm"].conv for each in (model, wide))
    weight = new.weight.unflatten(0, (4, hidden_dim))  # (gates, hidden_dim, inputs and hidden_dim, 3, 3)
    weight[:, :old_dim, old.in_channels:] = 0
    weight[:, :old_dim, :old.in_channels] = old.weight.unflatten(0, (4, old_dim))
    new.bias.unflatten(0, (4, hidden_dim))[:, :old_dim] = old.bias.unflatten(0, (4, old_dim))
    old, new = (each.decoder["lstm"].conv for each in (model, wide))
    new.weight.zero_()
    new.weight[:, :old_dim], new.weight[:, hidden_dim:] = old.weight[:, :old_dim], old.weight[:, old_dim:]
    new.bias.copy_(old.bias)
    return wide


def latitude_channels(frames):
    """sin and cos of the latitude of every pixel, for frames (..., C, H, W): (..., 2, H, W)."""
    *leading, _, H, W = frames.shape
    lat = pixel_to_sphere(torch.arange(H, device=frames.device, dtype=frames.dtype), 0, H, W)[0]
    return torch.stack([lat.sin(), lat.cos()])[:, :, None].expand(*leading, 2, H, W)


# --------------------------------------------------------------------------------------------------------- checkpoints


def save_model(model, path, config):
    """Writes a checkpoint of plain types only, atomically. config: the settings it was trained with, a dict."""
    checkpoint = {"format": FORMAT, "input_dim": model.input_dim, "hidden_dim": model.hidden_dim,
                  "geometry": model.geometry, "latitude": model.latitude, "config": config,
                  "state_dict": {name: value.detach().cpu() for name, value in model.state_dict().items()}}
    save_state(path, checkpoint)


def save_state(path, state):
    """Writes a dict of plain types and tensors, atomically. Serialised in memory first, so that a full disk is the
    OSError that it is (torch.save itself raises a RuntimeError) and leaves the file that was there."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with replacing(path, durable=True) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_model(path, device, geometry=""):
    """The `SST_Sal` in a file, in eval mode: one of our checkpoints, or one of the authors' two published files.

    Sizes come from the file. geometry: overrides the file's own; the authors' files have none and default to
    `released`. Nothing in the file is executed. Raises InputError naming the file and what is wrong with it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"the model {path} does not exist")
    with path.open("rb"):  # a file that may not be read is no damaged one
        pass
    checkpoint = read_checkpoint(path)
    try:
        weights = {name: checkpoint["state_dict"][name] for name in STATE_DICT}
        check_sizes(checkpoint["input_dim"], checkpoint["hidden_dim"], weights)
        sizes = [checkpoint["input_dim"], checkpoint["hidden_dim"]]
        model = SST_Sal(*sizes, geometry or checkpoint["geometry"], bool(checkpoint["latitude"]))
        model.load_state_dict(weights)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        reason = f"{problem} is missing" if isinstance(problem, KeyError) else str(problem).replace("\n", " ")
        raise InputError(f"{path} does not hold an SST-Sal model: {reason}") from None
    return model.to(device).eval()


def check_sizes(input_dim, hidden_dim, weights):
    """Raises ValueError, before a model takes memory, if these cannot be the channels and weights of one."""
    for name, value in (("input_dim", input_dim), ("hidden_dim", hidden_dim)):
        if type(value) is not int or not 1 <= value <= MAX_CHANNELS:
            raise ValueError(f"{name} must be a whole number in [1, {MAX_CHANNELS}], got {str(value)[:40]}")
    for name, weight in weights.items():
        if not isinstance(weight, torch.Tensor) or weight.numel() > 36 * MAX_CHANNELS * (2 * MAX_CHANNELS + 2):
            raise ValueError(f"{name} is not a tensor of weights")
        if not weight.isfinite().all():
            raise ValueError(f"{name} holds weights that are not finite")


def load_fitting_model(path, device, geometry, with_flow):
    """The model of a file, as `load_model`. Raises InputError if it does not read frames with flow, or without, as
    asked."""
    model = load_model(path, device, geometry)
    if model.input_dim != (6 if with_flow else 3):
        wanted = {3: "frames only: --of_available=False", 6: "frames and optical flow: --of_available=True"}
        takes = wanted.get(model.input_dim, f"{model.input_dim} channels")
        raise InputError(f"of_available={with_flow}, but the model {path} takes {takes}")
    return model


STATE_DICT = [f"{part}.lstm.conv.{kind}" for part in ("encoder", "decoder") for kind in ("weight", "bias")]


def read_checkpoint(path):
    """What `save_model` wrote, or the same dict made from one of the authors' files. Raises InputError."""
    if not zipfile.is_zipfile(path) or not check_archive(path):
        return read_published(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damaged in one of a dozen ways, which the reader below names
        return read_published(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise InputError(f"{path} is not an SST-Sal checkpoint (save_model writes those)")
    if checkpoint.get("format") != FORMAT:
        raise InputError(f"{path} has checkpoint format {checkpoint.get('format')}; this version reads {FORMAT}")
    return checkpoint
