"""inference.py as a whole process beside the straightforward script, from a video and from frames and flow on disk.

    python benchmarks/end_to_end.py VIDEO [--model=MODEL.pth] [--rows=1024] [--repeats=3]
    python benchmarks/end_to_end.py VIDEO --profile         what each stage costs, with flow, overlay and page

VIDEO is written again with that many rows at 30 frames a second first. The straightforward script reads the PNGs of
frames and flow one after the other, resizes them, runs the straightforward formulation
(benchmarks/straightforward.py) over windows of 20 that share 4 frames, and writes the maps. The processes take turns;
each is timed from start to end. No pages are made, which no other script makes either.

The profile runs inference.py in a process that counts the CPU time of each stage, and the time in which it waits, and
then decodes the same video and runs the network on the same frames once more, each alone.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import inference
import windows
from benchmarks import report
from benchmarks.stages import DECODING, MEASURING, Stages
from benchmarks.straightforward import straightforward_maps
from distributed import choose_device
from files import list_images, write_image
from maps.levels import grey_levels
from model import load_model
from video.decode import VideoReader, all_frames, list_videos, probe
from video.encode import write_video
from video.resize import resized
from video.sources import list_frame_folders
from windows import split_windows

ROOT = Path(__file__).resolve().parent.parent
NETWORK, BEGIN, PROFILE = "network", "beginning", "sampled frames:"
STAGES = {
    DECODING: ["video.decode:decoded"],
    "conversion to BGR": ["video.colour:to_bgr"],
    "reductions": ["video.resize:resized"],
    "flow": ["flow.dis:dis_flow", "flow.dis:gated_dis_flow"],
    "colours of flow": ["flow.colours:flow_to_colour"],
    NETWORK: ["windows:next_maps", "kernels.threads:thread_pool"],
    "planes": ["video.planes:to_planes"],
    "blending the overlay": ["viewer.overlay:overlay", "viewer.overlay:overlay_in_planes"],
    "composing the page": ["viewer.page:compose"],
    "shares and extents": ["maps.regions:region_shares", "maps.extent:extent"],
    "encoding": ["video.encode:Encoder.write", "video.encode:Encoder.finish"],
    "PNG": ["files:encoded"],
    BEGIN: ["video.decode:probe", "model:load_fitting_model", "spherical_conv:compile_kernels"]}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SST_Sal.pth", help="one with 6 channels")
    parser.add_argument("--rows", type=int, default=1024, help="of the frames; twice as many columns")
    parser.add_argument("--seconds", type=int, default=10, help="of video")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--profiled", type=Path, help=argparse.SUPPRESS)  # the other process: a folder of clips
    parser.add_argument("--straightforward", type=Path, help=argparse.SUPPRESS)  # the other process: a folder of clips
    return parser.parse_args(argv)


def write_clip(source, path, rows, seconds):
    """Writes a video again in another size, at 30 frames a second, from its beginning wherever it has ended."""
    frames = (frame for again in cycle([source]) for frame in all_frames(again))
    large = (cv2.resize(frame, (2 * rows, rows), interpolation=cv2.INTER_CUBIC) for frame in frames)
    write_video(path, islice(large, 30 * seconds), 30)


def predict_straightforwardly(clips, model, results):
    """What a script without any of our care does with clips/frames and clips/optical_flow."""
    device = choose_device("")
    model = load_model(model, device)
    for video in list_frame_folders(clips / "frames", {}):
        for window, first, kept in split_windows(video.images, 20, 4):
            inputs = []
            for path in window:
                flow = clips / "optical_flow" / video.id / path.name
                images = [resized(cv2.imread(str(image)), (240, 320)) for image in (path, flow)]
                inputs.append(np.concatenate(images, axis=2))
            frames = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2)[None].float() / 255
            with torch.no_grad():
                maps = straightforward_maps(model, frames.to(device))[0, :, 0].cpu().numpy()
            for position in range(kept, first + len(window)):
                (results / video.id).mkdir(parents=True, exist_ok=True)
                write_image(results / video.id / video.images[position].name, grey_levels(maps[position - first]))


def seconds_and_megabytes(*command):
    """How long a command takes, and the most memory that it holds."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(errors.decode())
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def compare(options, folder, line):
    """Writes a table, a line at a time."""
    clips, results = folder / "clips", folder / "results"
    (folder / "video").mkdir()
    write_clip(options.video, folder / "video" / "a.mp4", options.rows, options.seconds)
    ours = (ROOT / "inference.py", f"--inference_model={options.model}", f"--results_dir={results}", "--viewer=False")
    shutil.copytree(folder / "video", clips)
    seconds_and_megabytes(*ours, f"--videos_folder={clips}", "--save_frames=True")
    ways = {
        "straightforward script, from frames and flow": (
            __file__, "video", f"--straightforward={clips}", f"--model={options.model}"),
        "ours, from frames and flow": (*ours, f"--videos_folder={clips}", "--overlay=False"),
        "ours, from frames and flow, with overlay": (*ours, f"--videos_folder={clips}"),
        "ours, from the video, with flow and overlay": (*ours, f"--videos_folder={folder / 'video'}")}
    runs = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, command in ways.items():
            shutil.rmtree(results)
            runs[name].append(seconds_and_megabytes(*command))
    count = len(list_images(results / "000"))
    line(f"{count} sampled frames, {2 * options.rows} x {options.rows}, {torch.get_num_threads()} CPU threads\n\n"
         "| | frames/s: median | fastest | speed | peak memory, MB |\n|---|---|---|---|---|")
    slow = [seconds for seconds, _ in next(iter(runs.values()))]
    for name, values in runs.items():
        times, memory = zip(*values)
        speed = statistics.median(a / b for a, b in zip(slow, times))
        line(f"| {name} | {count / statistics.median(times):.2f} | {count / min(times):.2f} | {speed:.2f} x | "
             f"{max(memory):.0f} |")


def cpu_seconds(function, *arguments):
    """The CPU time of a call, of all threads."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def print_profile(clips, model, results):
    """Runs inference.py on the video in a folder, and prints what its stages cost as Markdown."""
    imports, calls = time.process_time(), {"number": 0}
    stages = Stages(STAGES)
    predict_one_by_one = windows.predict_one_by_one

    def remember_and_predict(*arguments):
        calls.update(number=calls["number"] + 1, last=arguments)
        return predict_one_by_one(*arguments)

    windows.predict_one_by_one = remember_and_predict
    inference.main([f"--videos_folder={clips}", f"--inference_model={model}", f"--results_dir={results}"])
    stages.stop()
    peak, path = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, list_videos(clips)[0]
    count = len(list_images(results / "000"))
    begin, measuring = imports + stages.cpu.pop(BEGIN), stages.cpu.pop(MEASURING)
    per_frame = {stage: 1000 * cpu / count for stage, cpu in stages.cpu.items()}
    alone = {DECODING: cpu_seconds(deque, VideoReader(path, probe(path)).pictures(), 0),
             NETWORK: calls["number"] * cpu_seconds(list, predict_one_by_one(*calls["last"]))}
    print(f"{PROFILE} {count}\n\n| stage | CPU, ms a sampled frame | waiting, ms | alone, CPU ms |\n"
          "|---|---|---|---|")
    for stage, cpu in sorted(per_frame.items(), key=lambda item: -item[1]):
        own = f"{1000 * alone[stage] / count:.1f}" if stage in alone else ""
        print(f"| {stage} | {cpu:.1f} | {1000 * stages.waits[stage] / count:.1f} | {own} |")
    chain, parts, alone = sum(per_frame.values()), per_frame[DECODING] + per_frame[NETWORK], sum(alone.values())
    print(f"| **sum** | {chain:.1f} | | {1000 * alone / count:.1f} |\n\n"
          f"{chain / parts:.2f} times decoding and network within the chain, {chain * count / 1000 / alone:.2f} times "
          f"both alone. With the beginning ({begin:.1f} s: imports, reading the model, loading the kernels) and the "
          f"measuring ({measuring:.1f} s) that is {begin + measuring + chain * count / 1000:.1f} s, of "
          f"{imports + stages.process:.1f} s of the process. "
          f"{stages.seconds:.1f} s by the clock; the cores were busy "
          f"{' and '.join(f'{100 * share:.0f} %' for share in stages.busy)} of it, with this process "
          f"{100 * stages.process / stages.seconds / len(stages.busy):.0f} %. Peak memory {peak:.0f} MB.")


def profile(options, folder, line):
    """Writes the profile of a process of its own."""
    (folder / "video").mkdir()
    write_clip(options.video, folder / "video" / "a.mp4", options.rows, options.seconds)
    command = [sys.executable, __file__, "video", f"--profiled={folder / 'video'}", f"--model={options.model}"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    line(f"{2 * options.rows} x {options.rows}, {printed[printed.index(PROFILE):].strip()}")


def main(argv):
    options = parse(argv)
    if options.profiled:
        print_profile(options.profiled, options.model, options.profiled.parent / "results")
        return
    if options.straightforward:
        predict_straightforwardly(options.straightforward, options.model, options.straightforward.parent / "results")
        return
    with report.written("end_to_end", argv, choose_device("")) as line, tempfile.TemporaryDirectory() as folder:
        (profile if options.profile else compare)(options, Path(folder), line)


if __name__ == "__main__":
    main(sys.argv[1:])
