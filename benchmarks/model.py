"""The straightforward formulation, a planar model of the same widths and our model side by side.

    python benchmarks/model.py                      prediction and one training step, timed and compared
    python benchmarks/model.py --growth             our model's time and memory against resolution and length
    python benchmarks/model.py --quick              compares small cases only, in every geometry; nothing is timed

The formulations take turns, so that whatever else the machine does disturbs them alike; a ratio is the median of the
turns' ratios. Memory is that of a process of its own, beyond what it needs before it starts.
"""

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from benchmarks.straightforward import Planar, straightforward_maps
from devices import Captured
from kernels.taps import GEOMETRIES
from model import SST_Sal

FORMULATIONS = ("straightforward", "planar", "ours")
RESOLUTIONS = ((120, 160), (240, 320), (480, 640), (480, 960), (960, 1920))
LENGTHS = (5, 10, 20, 40)
TOLERANCE = 1e-4  # of a map, in (-1, 1), and of a gradient, relative to its largest entry; float32


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=20, help="of a clip")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=6, help="channels: 3, or 6 with optical flow")
    parser.add_argument("--hidden", type=int, default=36, help="channels of the encoder's state")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="released")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "tf32", "bf16"), default="float32", help="on a GPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="on a CPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(argv)


def formulation(name, options):
    """(a function from frames to maps, its module), with the same weights each time."""
    torch.manual_seed(0)
    model = SST_Sal(options.inputs, options.hidden, options.geometry).to(options.device)
    if name.startswith("planar"):
        model = Planar(options.inputs, options.hidden, compiled=name == "planar, compiled").to(options.device)
    forward = (lambda frames: straightforward_maps(model, frames)) if name == "straightforward" else model

    def in_precision(frames):
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            return forward(frames).float()

    return in_precision, model


def formulations(options):
    """Their names. torch.compile needs its compiler for the device, which is sure to be there only on a GPU; only there
    are CUDA graphs, with which inference.py and train.py run."""
    if not on_gpu(options):
        return FORMULATIONS
    return (*FORMULATIONS[:2], "planar, compiled", *FORMULATIONS[2:], "ours, captured")


def clip(options):
    torch.manual_seed(1)
    return torch.rand(options.batch, options.frames, options.inputs, *options.size, device=options.device)


def predict(forward, model, frames):
    with torch.no_grad():
        return forward(frames)


def train_step(forward, model, frames):
    """The weights' gradients."""
    gradient = torch.autograd.grad(forward(frames).square().mean(), list(model.parameters()))
    return torch.cat([each.flatten() for each in gradient])


TASKS = {"prediction": predict, "training step": train_step}


def runner(task, name, options):
    """The function of frames that does a task."""
    forward, model = formulation(name, options)
    run = Captured(lambda model, frames: TASKS[task](forward, model, frames))
    return partial(run if name == "ours, captured" else run.function, model)


def warm_up(run, frames):
    """Builds the sampling positions, wakes the threads; on a GPU, compiles and captures for these shapes."""
    for _ in range(3 if frames.is_cuda else 1):
        run(frames if frames.is_cuda else frames[:, :2])


# ------------------------------------------------------------------------------------------------------ time and memory


def seconds(run, frames):
    if frames.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run(frames)
    if frames.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory():
    """Of this process so far, bytes; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_of_one(task, name, options):
    prepare(options)
    run, frames = runner(task, name, options), clip(options)
    if frames.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(2):  # the second call captures
            run(frames)
        return torch.cuda.max_memory_allocated() - before
    before = peak_memory()
    run(frames)
    return peak_memory() - before


def memory(task, name, options):
    """Bytes that a task needs at its peak, infinity if a GPU has not so many; on a CPU, in a new process. To be asked
    while this one is small: some systems count the memory of the process that starts another as the new one's."""
    if on_gpu(options):  # whose own count starts afresh in one process, too
        try:
            return memory_of_one(task, name, options)
        except torch.cuda.OutOfMemoryError:
            return math.inf
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(memory_of_one, (task, name, options))


def differences_from_straightforward(task, runs, frames):
    """{name: the difference} of our formulations, if the straightforward one runs: of maps, or of gradients, relative
    to the largest."""
    if "straightforward" not in runs:
        return {}
    expected = runs["straightforward"](frames)
    scale = 1.0 if task == "prediction" else float(expected.abs().max())
    return {name: float((run(frames) - expected).abs().max()) / scale
            for name, run in runs.items() if name.startswith("ours")}


def compare(options, line):
    """Writes a table for each task, a line at a time."""
    digits = ".3f" if on_gpu(options) else ".1f"
    peaks = {(task, name): memory(task, name, options) for task in TASKS for name in formulations(options)}
    frames = clip(options)
    for task in TASKS:
        names = [name for name in formulations(options) if peaks[task, name] < math.inf]
        times, runs = {name: [] for name in names}, {name: runner(task, name, options) for name in names}
        for run in runs.values():
            warm_up(run, frames)
        for _ in range(options.repeats):
            for name, run in runs.items():
                times[name].append(seconds(run, frames))
        differences = differences_from_straightforward(task, runs, frames)
        count = options.batch * options.frames
        line(f"\n{task}, {options.batch} x {options.frames} x {options.inputs} x {options.size[0]} x "
             f"{options.size[1]}, {options.hidden} hidden channels, {options.geometry}, {where(options)}\n\n"
             "| | ms a frame: median | fastest | speed | peak memory, MB | difference |\n|---|---|---|---|---|---|")
        for name in formulations(options):
            if name not in names:
                line(f"| {name} | not enough memory | | | | |")
                continue
            speed = statistics.median(a / b for a, b in zip(times.get("straightforward", [math.nan]), times[name]))
            line(f"| {name} | {1e3 * statistics.median(times[name]) / count:{digits}} | "
                 f"{1e3 * min(times[name]) / count:{digits}} | {speed:.2f} x | {peaks[task, name] / 1e6:.0f} | "
                 f"{f'{differences[name]:.1e}' if name in differences else ''} |")


def on_gpu(options):
    return torch.device(options.device).type == "cuda"


def prepare(options):
    """Sets what holds for the whole process."""
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = options.precision == "tf32"  # of the other formulations' convolutions


def where(options):
    if on_gpu(options):
        return f"{options.precision}, {torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{options.threads} CPU threads, torch {torch.__version__}"


def growth(options, line):
    """Writes our model's time and memory against resolution (clips of 3 frames) and against length."""
    line(f"ours, {options.hidden} hidden channels, {options.geometry}, {where(options)}\n\n"
         "| frames | height x width | prediction: ms a frame | ns a pixel | MB | training: ms a frame | ns a pixel "
         "| MB |\n|---|---|---|---|---|---|---|---|")
    cases = [(3, size) for size in RESOLUTIONS] + [(length, tuple(options.size)) for length in LENGTHS]
    peaks = []
    for options.frames, options.size in cases:
        peaks.append({task: memory(task, "ours", options) for task in TASKS})
    for peak, (options.frames, options.size) in zip(peaks, cases):
        frames = clip(options)
        cells = [f"{options.frames}", f"{options.size[0]} x {options.size[1]}"]
        for task in TASKS:
            run = runner(task, "ours", options)
            warm_up(run, frames)
            frame = min(seconds(run, frames) for _ in range(options.repeats)) / options.frames
            cells += [f"{1e3 * frame:.1f}", f"{1e9 * frame / (options.size[0] * options.size[1]):.0f}",
                      f"{peak[task] / 1e6:.0f}"]
        line(f"| {' | '.join(cells)} |")


def quick(options):
    """Whether ours and the straightforward formulation agree on small cases; prints the differences."""
    options.size, options.frames, options.hidden, options.batch = (13, 24), 3, 5, 2
    agree = True
    for options.geometry in GEOMETRIES:
        for task in TASKS:
            ours, expected = (runner(task, name, options)(clip(options)) for name in ("ours", "straightforward"))
            scale = 1.0 if task == "prediction" else float(expected.abs().max())
            difference = float((ours - expected).abs().max()) / scale
            agree &= difference < TOLERANCE
            print(f"{options.geometry}, {task}: difference {difference:.1e}")
        runner(task, "planar", options)(clip(options))
    return agree


def main(argv):
    options = parse(argv)
    prepare(options)
    if options.quick:
        return 0 if quick(options) else 1
    with report.written("model", argv, torch.device(options.device)) as line:
        (growth if options.growth else compare)(options, line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
