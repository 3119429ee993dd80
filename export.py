"""Writes one step of the model as an ONNX file, for video players and game engines: a frame and the recurrent state go
in, the saliency and the next state come out.

    python export.py                                                      models/SST_Sal.onnx
    python export.py --inference_model=models/SST_Sal_wo_OF.pth           frames only, no optical flow
    python export.py --resolution="(120, 160)" --export_file=small.onnx   smaller frames

Inputs: frame (1, C, H, W), float32, BGR in [0, 1], with a model of 6 channels the flow's colours as channels 3-5; and
encoder_h, encoder_c, decoder_h, decoder_c, zeros before the first frame. Outputs: saliency (1, 1, H, W) in (-1, 1), and
next_encoder_h and so on, the inputs of the next step. Sizes are fixed. Needs the packages of requirements-dev.txt.

The graph is the plain formulation: gathers that read the four corners of every tap, and a matrix product. The file is
small because it holds where column 0 reads; the graph itself adds the other columns, constants that a runtime computes
once, when it loads the file.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import config
from errors import InputError, run
from files import replacing
from inference import checksum
from kernels.taps import bilinear_entries
from model import latitude_channels, load_model
from settings import configure
from video.decode import SAMPLES_PER_SECOND

OPSET = 15  # the latest that Unity's importer documents (7 to 15) before Sentis 2.6
STATE = ("encoder_h", "encoder_c", "decoder_h", "decoder_c")
CHECKED_STEPS = 4
TOLERANCE = 1e-4  # of the maps, which lie in (-1, 1)

# -------------------------------------------------------------------------------------------------------------- graph


class Samples(nn.Module):
    """The nine taps of every output pixel: x (1, C, H, W) -> (H_out, W_out, 9, C).

    Channels last, since a gather then copies C numbers at a time: on a CPU 15 times as fast as one by one.
    """

    def __init__(self, height, width, stride, geometry):
        super().__init__()
        self.pixels, self.width = height * width, width
        entries = bilinear_entries(height, width, stride, geometry)
        self.register_buffer("first_pixel", corners(entries.row * width, torch.int64))  # of the source row
        self.register_buffer("first_column", corners(entries.col % width, torch.int64))
        self.register_buffer("weight", corners(entries.weight, torch.float32)[..., None])
        self.register_buffer("columns", stride * torch.arange(width // stride)[:, None])
        outside = np.where(entries.nearer, -1, entries.edge)  # the source column that is read as zero, or none
        self.register_buffer("outside", corners(outside, torch.int64) if geometry == "released" else None)

    def forward(self, x):
        column = (self.first_column + self.columns) % self.width  # (4, H_out, W_out, 9)
        pixel, weight = self.first_pixel + column, self.weight
        if self.outside is not None:
            weight = weight * (column != self.outside)[..., None].float()
        x = x.reshape(-1, self.pixels).t()
        north_west, north_east, south_west, south_east = (x[pixel[k]] * weight[k] for k in range(4))
        return north_west + north_east + south_west + south_east


def corners(values, dtype):
    """What `bilinear_entries` says of each corner, (H_out, 9, 4), as a tensor (4, H_out, 1, 9)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)[:, :, None])).to(dtype)


class Cell(nn.Module):
    """`SphericalConvLSTMCell` for one size: x (1, C, H, W), hidden and cell (1, hidden_dim, H, W) -> the next two."""

    def __init__(self, cell, height, width):
        super().__init__()
        self.hidden_dim, self.height, self.width = cell.hidden_dim, height, width
        self.samples = Samples(height, width, 1, cell.conv.geometry)
        self.register_buffer("kernel", cell.conv.weight.detach().permute(0, 2, 3, 1).flatten(1))  # (4 * hidden, 9 * C)
        self.register_buffer("bias", cell.conv.bias.detach())

    def forward(self, x, hidden, cell):
        samples = self.samples(torch.cat([x, hidden], dim=1)).reshape(self.height * self.width, -1)
        gates = F.linear(samples, self.kernel, self.bias).t()  # (4 * hidden, pixels)
        i, f, o, g = gates.reshape(1, -1, self.height, self.width).split(self.hidden_dim, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell


class Step(nn.Module):
    """`SST_Sal.step` for one size, in operators that ONNX has: frame (1, C, H, W) and the four tensors of the state ->
    map (1, 1, H, W) and the next four. A state of zeros is the empty one."""

    def __init__(self, model, height, width):
        super().__init__()
        self.width = width
        self.encoder = Cell(model.encoder["lstm"], height, width)
        self.pool = Samples(height, width, 2, model.geometry)
        self.decoder = Cell(model.decoder["lstm"], -(-height // 2), width // 2)
        latitude = latitude_channels(torch.empty(1, 1, height, 1)) if model.latitude else None
        self.register_buffer("latitude", latitude)  # (1, 2, H, 1)
        self.register_buffer("rows", torch.arange(height) // 2)
        self.register_buffer("columns", torch.arange(width) // 2)

    def forward(self, frame, encoder_h, encoder_c, decoder_h, decoder_c):
        if self.latitude is not None:
            frame = torch.cat([frame, self.latitude.repeat(1, 1, 1, self.width)], dim=1)
        encoder_h, encoder_c = self.encoder(frame, encoder_h, encoder_c)
        pooled = self.pool(encoder_h).amax(dim=2).permute(2, 0, 1)[None]  # (1, hidden_dim, ceil(H / 2), W / 2)
        decoder_h, decoder_c = self.decoder(pooled, decoder_h, decoder_c)
        saliency = decoder_h.index_select(2, self.rows).index_select(3, self.columns)  # each pixel twice as large
        return saliency, encoder_h, encoder_c, decoder_h, decoder_c


def empty_state(model, height, width):
    """The four tensors of the state before the first frame."""
    encoder = torch.zeros(1, model.encoder["lstm"].hidden_dim, height, width)
    decoder = torch.zeros(1, 1, -(-height // 2), width // 2)
    return encoder, encoder, decoder, decoder


# --------------------------------------------------------------------------------------------------------------- file


def import_onnx():
    """The modules onnx and onnxruntime, which only this script needs. Raises InputError where they are missing."""
    try:
        import onnx
        import onnxruntime
    except ImportError as problem:
        raise InputError(f"export.py needs {problem.name}: pip install -r requirements-dev.txt") from None
    return onnx, onnxruntime


def write_onnx(model, resolution, path, about):
    """Writes one step of an `SST_Sal` in float32 on the CPU, at `resolution` (height, width), atomically.

    about: dict of texts, the file's metadata. Returns the largest difference between its maps and the model's; raises
    InputError, and writes nothing, where that is above TOLERANCE.
    """
    onnx, onnxruntime = import_onnx()
    inputs, buffer = (torch.zeros(1, model.input_dim, *resolution), *empty_state(model, *resolution)), io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # that there is a newer exporter, which writes later opsets only
        torch.onnx.export(Step(model, *resolution).eval(), inputs, buffer, dynamo=False, opset_version=OPSET,
                          do_constant_folding=False,  # which would write out where every column reads
                          input_names=["frame", *STATE], output_names=["saliency", *(f"next_{name}" for name in STATE)])
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(graph, about)
    onnx.checker.check_model(graph, full_check=True)
    file = graph.SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    difference = largest_difference(session, model, resolution)
    if not difference <= TOLERANCE:
        raise InputError(f"{path} is not written: its maps would be up to {difference:.1g} from the model's")
    with replacing(path) as partial:
        partial.write_bytes(file)
    return difference


def largest_difference(session, model, resolution):
    """The largest difference between the maps of an onnxruntime session and those of the model, over a few steps on
    random frames; nan if any is."""
    generator, state = torch.Generator().manual_seed(0), None
    session_state = [tensor.numpy() for tensor in empty_state(model, *resolution)]
    differences = []
    for _ in range(CHECKED_STEPS):
        frame = torch.rand(1, model.input_dim, *resolution, generator=generator)
        with torch.no_grad():
            expected, state = model.step(frame, state)
        saliency, *session_state = session.run(None, {"frame": frame.numpy(), **dict(zip(STATE, session_state))})
        differences.append(np.abs(saliency - expected.numpy()).max())
    return float(np.max(differences))


def describe(model, model_file, resolution):
    """What the file says of itself: a dict of texts."""
    channels = "0-2 frame (BGR)" + (", 3-5 optical flow (BGR)" if model.input_dim == 6 else "")
    return {"model": Path(model_file).name, "sha256": checksum(model_file),
            "geometry": model.geometry, "latitude": str(model.latitude), "channels": channels,
            "resolution": f"{resolution[0]} x {resolution[1]}", "frames_per_second": str(SAMPLES_PER_SECOND)}


def main(argv):
    configure(config, argv)
    import_onnx()  # before anything takes time
    source = Path(config.inference_model)
    model = load_model(source, "cpu", config.geometry)
    path = Path(config.export_file or source.with_suffix(".onnx"))
    if path.resolve() == source.resolve():
        raise InputError(f"export_file must be another file than the model {source}")
    path.parent.mkdir(parents=True, exist_ok=True)
    difference = write_onnx(model, config.resolution, path, describe(model, source, config.resolution))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, maps within {difference:.1g} of the model's")


if __name__ == "__main__":
    run(main)
