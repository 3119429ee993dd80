"""Whether the network computes on a GPU what it should, and what the card could reach at best. gpu.sh runs this first.

    python benchmarks/gpu.py [--golden=FOLDER]

The maps and gradients in float32 must be those of the straightforward formulation in float64, in every geometry, and
the same bits twice. A batch of windows and a CUDA graph must give the bits of one window, launched kernel by kernel.
With FOLDER, maps and gradients must also be what the published code computed: layers.npz and model.npz, whose weights
are ../released/SST_Sal.pth. The floors of a frame follow from how fast this card copies memory and multiplies matrices.
If something differs, or 20 frames of training need more than 2.5 GB, the exit code is 1.
"""

import argparse
import copy
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402
from benchmarks.straightforward import straightforward_maps  # noqa: E402
from devices import Captured, unit_interval  # noqa: E402
from kernels.taps import GEOMETRIES  # noqa: E402
from model import SST_Sal, load_model  # noqa: E402
from spherical_conv import SphereConv2d, SphereMaxPool2d, kernels_for  # noqa: E402
from windows import maps_of_clips  # noqa: E402

MOST_GIGABYTES = 2.5
TOLERANCE = 2e-4  # of maps and outputs, absolute; of gradients, relative to the largest


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, help="a folder with model.npz and layers.npz")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--hidden", type=int, default=36, help="channels of the encoder's state")
    return parser.parse_args(argv)


def relative(ours, expected):
    """The largest difference, relative to the largest expected value."""
    return float((ours - expected).abs().max() / expected.abs().max())


def maps_and_gradients(forward, model, frames):
    maps = forward(frames)
    grads = torch.autograd.grad(maps.square().mean(), list(model.parameters()))
    return maps.detach(), torch.cat([grad.flatten() for grad in grads])


def differences_from_float64(options):
    """Yields (what, difference): maps and gradients in every geometry, and how far a second run is from the first."""
    for geometry in GEOMETRIES:
        torch.manual_seed(0)
        model = SST_Sal(6, options.hidden, geometry, latitude=True).to(options.device)
        frames = torch.rand(1, 3, 6, *options.size, device=options.device)
        maps, grads = maps_and_gradients(model, model, frames)
        same = all(map(torch.equal, (maps, grads), maps_and_gradients(model, model, frames)))
        exact = copy.deepcopy(model).double()
        expected = maps_and_gradients(partial(straightforward_maps, exact), exact, frames.double())
        yield f"{geometry}: maps", float((maps - expected[0]).abs().max())
        yield f"{geometry}: gradients", relative(grads, expected[1])
        yield f"{geometry}: the same bits twice", none_if(same)


def none_if(same):
    return 0.0 if same else float("inf")


@torch.inference_mode()
def differences_of_windows(options):
    """Yields (what, difference): of bytes that the device scales, windows in a batch, and a window as a CUDA graph."""
    levels = torch.arange(256, dtype=torch.uint8)
    yield "bytes scaled as on a CPU", none_if(torch.equal(unit_interval(levels.to(options.device)).cpu(), levels / 255))
    model = SST_Sal(6, options.hidden, "released").to(options.device).eval()
    clips = torch.randint(256, (3, 4, *options.size, 6), dtype=torch.uint8).to(options.device)
    one_by_one = torch.cat([maps_of_clips.function(model, clip[None]) for clip in clips])
    yield "windows in a batch: the bits of one at a time", none_if(torch.equal(
        maps_of_clips.function(model, clips), one_by_one))
    captured = [maps_of_clips(model, clips).clone() for _ in range(3)]  # the first is none, the second is captured
    yield "windows as a CUDA graph: the same bits", none_if(all(torch.equal(maps, one_by_one) for maps in captured))


def training_as_a_graph(options):
    """(whether the gradient of 20 frames as a CUDA graph has the same bits as launched kernel by kernel, the most
    memory that either took, GB or nan on a CPU)."""
    torch.manual_seed(0)
    model, on_gpu = SST_Sal(6, options.hidden, "exact", latitude=True).to(options.device), options.device != "cpu"
    frames = torch.rand(1, 20, 6, *options.size, device=options.device)
    compute = Captured(lambda model, frames: maps_and_gradients(model, model, frames))
    before = torch.cuda.memory_allocated() if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    first = [each.clone() for each in compute(model, frames)]
    same = all(all(map(torch.equal, compute(model, frames), first)) for _ in range(2))
    return same, (torch.cuda.max_memory_allocated() - before) / 1e9 if on_gpu else float("nan")


def differences_from_published_layers(path, device):
    """Yields (what, difference) for the layers' outputs and gradients of the published code."""
    golden = {name: torch.from_numpy(value).to(device) for name, value in np.load(path).items()}
    conv = SphereConv2d(5, 7, stride=1, bias=True, geometry="released").to(device)
    conv.load_state_dict({"weight": golden["weight"], "bias": golden["bias"]})
    x, pool_x = golden["x"].requires_grad_(), golden["pool_x"].requires_grad_()
    y, pooled = conv(x), SphereMaxPool2d(stride=2, geometry="released")(pool_x)
    y.backward(golden["grad_y"])
    pooled.backward(golden["pool_grad_y"])
    for ours, name in ((y, "y"), (x.grad, "grad_x"), (conv.weight.grad, "grad_weight"), (conv.bias.grad, "grad_bias"),
                       (pooled, "pool_y"), (pool_x.grad, "pool_grad_x")):
        yield f"published layers: {name}", relative(ours.detach(), golden[name])


def share_of_other_pixels(folder, device):
    """The share of the pixels of the published maps that differ by more than `TOLERANCE`; rounding makes it up to
    1e-4."""
    golden = np.load(folder / "model.npz")
    model = load_model(folder.parent / "released" / "SST_Sal.pth", device)
    clip = unit_interval(torch.from_numpy(golden["clip_bgr_flow_uint8"]).to(device).permute(0, 3, 1, 2)[None])
    with torch.no_grad():
        maps = model(clip)[0, :, 0, ::2, ::2].cpu()
    return float(((maps - torch.from_numpy(golden["saliency_of"])).abs() > TOLERANCE).float().mean())


def seconds(function, repeats=20):
    """How long a call takes on the device, once it is warm."""
    def synchronise():
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    function()
    synchronise()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    synchronise()
    return (time.perf_counter() - start) / repeats


def floors(options, line):
    """Writes what a frame of the encoder needs at least, from the rates of a copy and of a product on this card."""
    (H, W), hidden, size = options.size, options.hidden, 4096 if options.device != "cpu" else 512
    one, four = torch.rand(size, size, device=options.device), torch.rand(4, size, size, device=options.device)
    bandwidth = 2 * 4 * four.numel() / seconds(four.clone)
    moved, operations = 4 * H * W * (6 + 4 * hidden), 2 * 9 * (6 + hidden) * 4 * hidden * H * W
    line(f"\nFloors of the encoder, {H} x {W}, 6 input and {hidden} hidden channels, a frame: {moved / 1e6:.0f} MB of "
         f"input and states at {bandwidth / 1e9:.0f} GB/s (a copy): {1e3 * moved / bandwidth:.3f} ms\n\n"
         "| precision | TFLOP/s of a large product | ms for the frame's products |\n|---|---|---|")
    for name, setting, dtype in (("float32", "highest", torch.float32), ("tf32", "high", torch.float32),
                                 ("bf16", "highest", torch.bfloat16)):
        torch.set_float32_matmul_precision(setting)
        values = one.to(dtype)
        rate = 2 * size ** 3 / seconds(partial(torch.matmul, values, values))
        line(f"| {name} | {rate / 1e12:.1f} | {1e3 * operations / rate:.3f} |")
    torch.set_float32_matmul_precision("highest")


def main(argv):
    options, wrong = parse(argv), []
    device = torch.device(options.device)
    torch.backends.cudnn.allow_tf32 = False
    with report.written("gpu", argv, device) as line:
        kernels = kernels_for(torch.zeros(1, 1, 4, 8, device=device)).__name__
        line(f"{kernels}, float32, {options.size[0]} x {options.size[1]}\n\n| | difference |\n|---|---|")
        checks = [*differences_from_float64(options), *differences_of_windows(options)]
        same, gigabytes = training_as_a_graph(options)
        checks.append(("training as a CUDA graph: the same bits", none_if(same)))
        if options.golden:
            checks += differences_from_published_layers(options.golden / "layers.npz", device)
            checks.append((f"published maps: share of pixels off by more than {TOLERANCE}",
                           share_of_other_pixels(options.golden, device)))
        for what, difference in checks:
            line(f"| {what} | {difference:.1e} |")
            wrong += [what] if not difference <= TOLERANCE else []
        if not options.golden:
            line("\nNot compared with the published code: no folder of golden files was given.")
        line(f"\n20 frames of training: {gigabytes:.2f} GB at most (wanted: {MOST_GIGABYTES})")
        wrong += ["20 frames of training: GB"] if gigabytes > MOST_GIGABYTES else []
        floors(options, line)
    if wrong:
        print(f"error: not as wanted: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
