"""What the errors of optical flow cost: maps from the flow of each method beside maps from the true flow, and CPU time.

    python benchmarks/flow_quality.py --model=SST_Sal.pth --stills=PANORAMAS [VIDEO ...]

Rendered clips: a panorama that rests or turns, discs that move over it along great circles, noise of 2 grey levels.
Without --stills the panorama is the landscape of the sample clip. Videos, best of a camera at rest: what the gate
changes in their maps, above all what it lights up. --seed, --clips, --frames, --height: what is rendered.
"""

import argparse
import sys
import tempfile
import time
from itertools import islice, pairwise, product
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import config
from benchmarks import report
from errors import run
from files import list_images
from flow.colours import flow_to_colour
from flow.dis import METHODS
from metrics import cc
from model import load_model
from prediction import predict_frames, predictor_of
from render import sample_scene
from synthetic.camera import rotation
from synthetic.discs import frame, random_disc, true_flow
from synthetic.material import read_still
from video.decode import SAMPLES_PER_SECOND, all_frames, sampled
from video.encode import write_video
from video.pipeline import serial_opencv
from video.resize import limit_rows

ROWS = 512, 384
NOISE = 2.0         # standard deviation, grey levels
VIDEO_FRAMES = 40   # of a video, at most
DARK, LIT = 0.2, 0.4    # shares of a map's range
COLUMNS = f"""
No flow: pixels where it is zero, %. CC: of the maps without and with the gate. Lit: pixels that were below {DARK} of
their map's range and are above {LIT} now, %. Increase: the largest, as a share of the range. Then CPU milliseconds for
each frame without and with the gate.

| video | frames | no flow | CC | lit | increase | without | with |
|---|---|---|---|---|---|---|---|"""


def render(rng, stills, turns, options):
    """(frames, BGR uint8; their true flows, one fewer) of a clip. turns: whether the panorama does."""
    still, discs = stills[rng.integers(len(stills))], [random_disc(rng, stills) for _ in range(rng.integers(2, 6))]
    start, axis = rotation((0, 0, 1), rng.uniform(0, 2 * np.pi)), (*(0.25 * rng.standard_normal(2)), 1)
    speed = np.radians(rng.uniform(5, 40)) * rng.choice([-1, 1]) if turns else 0
    times = np.arange(options.frames) / SAMPLES_PER_SECOND
    cameras = [rotation(axis, speed * time) @ start for time in times]
    pictures = (255 * frame(still, discs, *when, options.height) for when in zip(cameras, times))
    noisy = (picture + NOISE * rng.standard_normal(picture.shape) + 0.5 for picture in pictures)
    frames = [np.clip(picture, 0, 255).astype(np.uint8) for picture in noisy]
    return frames, [true_flow(discs, *pairs, options.height) for pairs in zip(pairwise(cameras), pairwise(times))]


def limit_length(flow):
    """The flow, nowhere longer than its longest between 60 degrees N and S. True flow of a camera that turns grows
    without limit towards the poles, where neither RAFT nor DIS follows: relative to that, the rest would be white."""
    length, height = np.hypot(flow[..., 0], flow[..., 1]), len(flow)
    most = length[height // 6 : height - height // 6].max()
    return flow * np.minimum(1, most / np.maximum(length, 1e-6))[..., None]


def encoded(frames):
    """The frames as a video holds them."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder, "clip.mp4"), frames, SAMPLES_PER_SECOND)
        return list(all_frames(Path(folder, "clip.mp4")))


def timed_flows(of_pair, frames, rows):
    """(flows of the pairs of frames, CPU milliseconds for each)."""
    small = [limit_rows(picture, rows) for picture in frames]
    with serial_opencv():
        began = time.process_time()
        flows = [of_pair(pair) for pair in pairwise(small)]
        return flows, 1000 * (time.process_time() - began) / len(flows)


def maps_from(predictor, frames, flows):
    """The maps of frames, (T, height, width), from the flows of their pairs; the last one counts twice."""
    colours = [flow_to_colour(flow) for flow in flows]
    images = [*colours, colours[-1]]
    return torch.from_numpy(np.stack(list(predict_frames(
        frames, predictor, lambda read, first: (image for _, image in zip(read, images))))))


def measure(predictor, clips, line):
    """Writes the table of rendered clips, {name: [(frames, maps from their true flow)]}."""
    line("Mean CC with the maps from the true flow, then CPU milliseconds for each frame:\n\n| flow | "
         + " | ".join([*clips, *(f"ms {name}" for name in clips)]) + " |\n" + "|---" * (1 + 2 * len(clips)) + "|")
    variants = [(f"{name}, {rows} rows", of_pair, rows) for name, of_pair in METHODS.items() for rows in ROWS]
    for name, of_pair, rows in [*variants, ("no motion", lambda pair: np.zeros((*pair[0].shape[:2], 2), "f4"), 16)]:
        scores, times = [], []
        for kind in clips.values():
            found = [timed_flows(of_pair, frames, rows) for frames, _ in kind]
            scores.append(np.mean([cc(maps_from(predictor, frames, flows), truth).mean()
                                   for (flows, _), (frames, truth) in zip(found, kind)]))
            times.append(np.mean([milliseconds for _, milliseconds in found]))
        cells = [*(f"{score:.3f}" for score in scores), *(f"{milliseconds:.0f}" for milliseconds in times)]
        line(f"| {name} | {' | '.join(cells)} |")


def compare(predictor, video, rows, line):
    """Writes a row on what the gate changes in the maps of a video."""
    frames = list(islice(sampled(video), VIDEO_FRAMES))
    plain, gated = (timed_flows(of_pair, frames, rows) for of_pair in METHODS.values())
    maps = [maps_from(predictor, frames, flows) for flows, _ in (plain, gated)]
    least, most = maps[0].amin((1, 2), True), maps[0].amax((1, 2), True)
    before, after = ((found - least) / (most - least) for found in maps)
    lit = (before < DARK) & (after > LIT)
    still = np.mean([(flow == 0).all(axis=2).mean() for flow in gated[0]])
    line(f"| {Path(video).name} | {len(frames)} | {100 * still:.0f} | {cc(*maps).mean():.3f} | "
         f"{100 * lit.double().mean():.2f} | {(after - before).max():.2f} | {plain[1]:.0f} | {gated[1]:.0f} |")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--model", default=config.inference_model)
    parser.add_argument("--stills", default="")
    for name, default in (("seed", 0), ("clips", 8), ("frames", 20), ("height", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options, device = parser.parse_args(argv), torch.device("cpu")
    predictor = predictor_of(load_model(options.model, device), config, device)
    stills = [read_still(path, options.height) for path in list_images(options.stills)] if options.stills else [
        sample_scene(options.height, 2 * options.height).render(0).astype(np.float32) / 255]
    clips = {"at rest": [], "at rest, H.264": [], "turning": []}
    for clip, turns in product(range(options.clips), (False, True)):
        frames, flows = render(np.random.default_rng((options.seed, turns, clip)), stills, turns, options)
        flows = [limit_length(flow) for flow in flows]
        for kind in ("turning",) if turns else ("at rest", "at rest, H.264"):
            frames = encoded(frames) if "H.264" in kind else frames
            clips[kind].append((frames, maps_from(predictor, frames, flows)))
    with report.written("flow_quality", argv, device) as line:
        measure(predictor, clips, line)
        if options.videos:
            line(f"\nWhat the gate changes in videos, on {config.flow_resolution} rows.{COLUMNS}")
        for video in options.videos:
            compare(predictor, video, config.flow_resolution, line)


if __name__ == "__main__":
    run(main)
