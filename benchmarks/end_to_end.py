"""inference.py as a whole process beside the straightforward script, from a video and from frames and flow on disk.

    python benchmarks/end_to_end.py VIDEO [--model=MODEL.pth] [--rows=1024] [--repeats=3]

VIDEO is written again with that many rows at 30 frames a second first. The straightforward script reads the PNGs of
frames and flow one after the other, resizes them, runs the straightforward formulation
(benchmarks/straightforward.py) over windows of 20 that share 4 frames, and writes the maps. The processes take turns;
each is timed from start to end. No pages are made, which no other script makes either.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from benchmarks.straightforward import straightforward_maps
from distributed import choose_device
from files import write_image
from maps.levels import grey_levels
from model import load_model
from video.decode import all_frames
from video.encode import write_video
from video.resize import resized
from video.sources import list_frame_folders
from windows import split_windows

ROOT = Path(__file__).resolve().parent.parent


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SST_Sal.pth", help="one with 6 channels")
    parser.add_argument("--rows", type=int, default=1024, help="of the frames; twice as many columns")
    parser.add_argument("--seconds", type=int, default=10, help="of video")
    parser.add_argument("--repeats", type=int, default=3)
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
    count = 8 * options.seconds
    line(f"{count} sampled frames, {2 * options.rows} x {options.rows}, {torch.get_num_threads()} CPU threads\n\n"
         "| | frames/s: median | fastest | speed | peak memory, MB |\n|---|---|---|---|---|")
    slow = [seconds for seconds, _ in next(iter(runs.values()))]
    for name, values in runs.items():
        times, memory = zip(*values)
        speed = statistics.median(a / b for a, b in zip(slow, times))
        line(f"| {name} | {count / statistics.median(times):.2f} | {count / min(times):.2f} | {speed:.2f} x | "
             f"{max(memory):.0f} |")


def main(argv):
    options = parse(argv)
    if options.straightforward:
        predict_straightforwardly(options.straightforward, options.model, options.straightforward.parent / "results")
        return
    with report.written("end_to_end", argv, choose_device("")) as line, tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder), line)


if __name__ == "__main__":
    main(sys.argv[1:])
