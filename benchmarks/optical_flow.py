"""Frames/s of optical flow from PNG frames to PNG flow images: decoding, flow, colouring, writing.

    python benchmarks/optical_flow.py                       DIS at 1024x512
    python benchmarks/optical_flow.py raft_large 1024       RAFT (random weights are as fast) at 2048x1024
    python benchmarks/optical_flow.py raft_large 1024 10    the first 10 frames only

Also measures how long it takes to find that a finished folder of 1,000 frames is finished.
"""

import sys
import tempfile
import time
from itertools import islice, pairwise
from pathlib import Path

import cv2
import torch
import torchvision

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import report
from distributed import choose_device
from files import write_image
from flow.folders import make_flow
from flow.methods import FlowSettings, load_flows
from video.decode import all_frames


def main(method="dis", height="512", count="48"):
    arguments, device = [method, height, count], choose_device("")
    height, count = int(height), int(count)
    size = 2 * height, height
    frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
              for frame in islice(all_frames(ROOT / "data" / "videos" / "sample.mp4"), count)]
    with (report.written("optical_flow", arguments, device) as line,
          tempfile.TemporaryDirectory() as folder):
        folder, weights = Path(folder), ""
        if method != "dis":
            weights = folder / "random.pth"
            torch.save(getattr(torchvision.models.optical_flow, method)(weights=None).state_dict(), weights)
        settings = FlowSettings(method, str(weights), height, save_raw=False, compute=True, folder="")
        list(load_flows(settings, device)(pairwise(frames[:3])))  # warm up
        (folder / "frames" / "000").mkdir(parents=True)
        for index, frame in enumerate(frames):
            write_image(folder / "frames" / "000" / f"000_{index:04d}.png", frame)
        folders = (folder / "frames", folder / "flow", ["000"], settings, device)
        began = time.perf_counter()
        make_flow(*folders)
        seconds = time.perf_counter() - began
        line(f"* {method} on {device}, {size[0]} x {size[1]}: {len(frames) / seconds:.1f} frames/s")

        for index in range(len(frames), 1000):
            for kind in ("frames", "flow"):
                (folder / kind / "000" / f"000_{index:04d}.png").touch()
        began = time.perf_counter()
        make_flow(*folders)
        line(f"* 1,000 finished frames: {1000 * (time.perf_counter() - began):.1f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
