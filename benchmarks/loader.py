"""Clips/s that the loader gives a training run: 20 frames with flow and map, 240 x 320, out of PNGs and then the cache.

    python benchmarks/loader.py                 2 worker processes
    python benchmarks/loader.py 8               8 of them; 0: in the training process

The first line is what happens once, decoding the PNGs, 1024 x 512; the others are epochs that read the cache, up to the
bytes that are sent to a GPU.
"""

import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402
import train  # noqa: E402
from benchmarks import report  # noqa: E402
from dataset import TrainingWindows, find_videos  # noqa: E402
from files import write_image  # noqa: E402
from video import image_cache  # noqa: E402
from video.decode import all_frames  # noqa: E402

VIDEOS, FRAMES, EPOCHS = 12, 100, 5


def write_videos(folder):
    """Frames of the sample clip as frames, flow and maps of several videos."""
    images = list(islice(all_frames(ROOT / "data" / "videos" / "sample.mp4"), FRAMES))
    for kind in ("frames", "flow", "maps"):
        for video in range(VIDEOS):
            (folder / kind / f"{video:03d}").mkdir(parents=True)
            for number, image in enumerate(images):
                path = folder / kind / f"{video:03d}" / f"{video:03d}_{number:04d}.png"
                if video == 0:
                    write_image(path, image if kind != "maps" else image[..., 1])
                else:
                    path.hardlink_to(folder / kind / "000" / f"000_{number:04d}.png")


def main(workers="2"):
    config.num_workers = int(workers)
    with (report.written("loader", [workers], torch.device("cpu")) as line,
          tempfile.TemporaryDirectory() as folder):
        folder = Path(folder)
        write_videos(folder)
        names = [f"{video:03d}" for video in range(VIDEOS)]
        videos = find_videos(names, folder / "frames", folder / "maps", folder / "flow")
        began = time.perf_counter()
        arrays = [image_cache.build(video.sources(), config.resolution, folder / "cache", max(1, config.num_workers))
                  for video in videos]
        line(f"* decoding: {3 * VIDEOS * FRAMES / (time.perf_counter() - began):.0f} images/s")
        loader = train.make_loader(TrainingWindows(videos, arrays, config.sequence_length, 0), 0,
                                   torch.device("cpu"))
        line(f"* {len(loader.dataset)} clips an epoch, {config.num_workers} worker processes")
        for epoch in range(EPOCHS):
            loader.batch_sampler.begin(epoch, 0)
            began = time.perf_counter()
            clips = sum(len(indices) for _, _, indices in loader)
            line(f"* epoch {epoch + 1}: {clips / (time.perf_counter() - began):.1f} clips/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
