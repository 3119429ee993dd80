"""Writes one step of the model as an ONNX file, for video players and game engines: a frame and the recurrent state go
in, the saliency and the next state come out.

    python export.py                                                      models/SST_Sal.onnx
    python export.py --inference_model=models/SST_Sal_wo_OF.pth           frames only, no optical flow
    python export.py --resolution="(120, 160)" --export_file=small.onnx   smaller frames

Inputs: frame (1, C, H, W), float32, BGR in [0, 1], with a model of 6 channels the flow's colours as channels 3-5; and
encoder_h, encoder_c, decoder_h, decoder_c, zeros before the first frame. Outputs: saliency (1, 1, H, W) in (-1, 1), and
next_encoder_h and so on, the inputs of the next step. Sizes are fixed. Needs the packages of requirements-dev.txt.

The graph is kernels/reference.py: gathers that read the four corners of every tap, and a matrix product. The file is
small because it holds only where column 0 reads; the graph computes the other columns, which a runtime does once, when
it loads the file.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from files import checksum, replacing
from kernels import reference
from model import latitude_channels, load_model
from settings import configure
from video.decode import SAMPLES_PER_SECOND

OPSET = 15  # the latest that Unity's importer documents (7 to 15) before Sentis 2.6
STATE = ("encoder_h", "encoder_c", "decoder_h", "decoder_c")
CHECKED_STEPS = 4
TOLERANCE = 1e-4  # of the maps, which lie in (-1, 1)

# -------------------------------------------------------------------------------------------------------------- graph


class Taps(nn.Module):
    """The `TapTensors` of a sampling as buffers, so that they become constants of the graph."""

    def __init__(self, height, width, stride, geometry):
        super().__init__()
        taps = reference.tap_tensors(height, width, stride, geometry, torch.device("cpu"), torch.float32)
        for name, values in taps._asdict().items():
            self.register_buffer(name, values)

    def forward(self):
        return reference.TapTensors(**dict(self.named_buffers()))


class Step(nn.Module):
    """`SST_Sal.step` for one size, in operators that ONNX has: frame (1, C, H, W) and the four tensors of the state ->
    map (1, 1, H, W) and the next four. A state of zeros is the empty one."""

    def __init__(self, model, height, width):
        super().__init__()
        self.width = width
        self.encoder, self.encoder_taps = model.encoder["lstm"].conv, Taps(height, width, 1, model.geometry)
        self.pool_taps = Taps(height, width, 2, model.geometry)
        self.decoder = model.decoder["lstm"].conv
        self.decoder_taps = Taps(-(-height // 2), width // 2, 1, model.geometry)
        latitude = latitude_channels(torch.empty(1, 1, height, 1)) if model.latitude else None
        self.register_buffer("latitude", latitude)  # (1, 2, H, 1)
        self.register_buffer("rows", torch.arange(height) // 2)
        self.register_buffer("columns", torch.arange(width) // 2)

    def forward(self, frame, encoder_h, encoder_c, decoder_h, decoder_c):
        if self.latitude is not None:
            frame = torch.cat([frame, self.latitude.repeat(1, 1, 1, self.width)], dim=1)
        encoder_h, encoder_c = reference.lstm_step_from_taps(frame, encoder_h, encoder_c, self.encoder.weight,
                                                             self.encoder.bias, self.encoder_taps())
        pooled = reference.max_pool_from_taps(encoder_h, self.pool_taps())  # (1, hidden_dim, ceil(H / 2), W / 2)
        decoder_h, decoder_c = reference.lstm_step_from_taps(pooled, decoder_h, decoder_c, self.decoder.weight,
                                                             self.decoder.bias, self.decoder_taps())
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
    if path.suffix.lower() != ".onnx":
        raise InputError(f"export_file must end in .onnx, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    difference = write_onnx(model, config.resolution, path, describe(model, source, config.resolution))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, maps within {difference:.1g} of the model's")


if __name__ == "__main__":
    run(main)
