"""TODO"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from errors import InputError
from files import list_images, read_image, replacing, write_image
from flow.colours import flow_to_colour
from flow.dis import SMALLEST
from flow.methods import choose_method, load_flows
from video.pipeline import in_order
from video.resize import limit_rows

# ------------------------------------------------------------------------------------------------------ whole folders


class Video(NamedTuple):
    """A video's frames in order, the folder of its flow, and the indices of frames whose flow is missing there."""

    frames: list[Path]
    folder: Path
    missing: set[int]


def flow_folder(optical_flow_dir, frames_dir):
    """The folder that the setting optical_flow_dir means: "" is optical_flow beside the frames folder."""
    return Path(optical_flow_dir) if optical_flow_dir else Path(frames_dir).parent / "optical_flow"


def find_missing(frames_dir, flow_dir, ids, suffixes):
    """(videos, problems): a `Video` for each of frames_dir/ID, with what has not a file of each suffix in flow_dir/ID;
    and a line for each folder that holds no frames."""
    videos, problems = [], []
    for identity in ids:
        folder = Path(frames_dir, identity)
        frames = list_images(folder) if folder.is_dir() else []
        if not frames:
            problems.append(f"{folder} holds no frames")
        flow = Path(flow_dir, identity)
        made = {path.name for path in flow.iterdir()} if flow.is_dir() else set()
        missing = {index for index, frame in enumerate(frames)
                   if not all(frame.stem + suffix in made for suffix in suffixes)}
        videos.append(Video(frames, flow, missing))
    return videos, problems


def require_flow(frames_dir, flow_dir, ids, command):
    """Raises InputError with the first flow image that is missing and the command that makes them, or with each
    folder that holds no frames."""
    videos, problems = find_missing(frames_dir, flow_dir, ids, [".png"])
    if problems:
        raise InputError("\n".join(problems))
    for video in videos:
        if video.missing:
            first = video.folder / f"{video.frames[min(video.missing)].stem}.png"
            raise InputError(f"the flow image {first} is missing; make all that are with: {command}")


def make_flow(frames_dir, flow_dir, ids, settings, device):
    """Writes flow_dir/ID/ID_FRAME.png for every frame of frames_dir/ID that has none yet; returns what was wrong with
    frames, a line each, after all that can be done is done.

    settings: a `FlowSettings`; with `save_raw` the flow itself is kept as well, as ID_FRAME.npz, array `flow`, float16
    (H, W, 2). Raises InputError as `load_flows` does.
    """
    videos, problems = find_missing(frames_dir, flow_dir, ids, [".png", ".npz"] if settings.save_raw else [".png"])
    videos = [video for video in videos if video.missing]
    if not videos:
        return problems
    flows = load_flows(settings, device)
    description = f"optical flow ({choose_method(settings.method, device)})"
    with (tqdm(total=sum(len(video.missing) for video in videos), desc=description, unit="frame") as bar,
          ThreadPoolExecutor(os.cpu_count()) as pool):
        for video in videos:
            video.folder.mkdir(parents=True, exist_ok=True)
            reader = FrameReader(video, settings.rows, pool)
            for _ in in_order(pool, write_flow, missing_flows(video, reader, flows, settings.save_raw)):
                bar.update()
            problems += reader.problems
    return problems


class FrameReader:
    """Reads the frames that a video's missing flow needs, each once, ahead of their use, and keeps what was wrong."""

    def __init__(self, video, rows, pool):
        self.frames, self.rows, self.pool, self.problems = video.frames, rows, pool, []
        last = len(video.frames) - 1
        self.starts = {max(0, min(index, last - 1)) for index in video.missing}  # the last one repeats

    def pairs(self):
        """Yields (index, frame, next frame) in order, where both can be read; a lone frame is its own next one."""
        last = len(self.frames) - 1
        needed = sorted(self.starts | {min(start + 1, last) for start in self.starts})
        images = self.checked(in_order(self.pool, self.read, [self.frames[index] for index in needed]))
        if last == 0:
            yield from ((0, image, image) for image in images if image is not None)
        for (start, first), (_, second) in pairwise(zip(needed, images)):
            if start in self.starts and first is not None and second is not None:
                yield start, first, second

    def read(self, path):
        """(path, BGR image of at most so many rows, or the InputError that says why there is none)."""
        try:
            image = limit_rows(read_image(path), self.rows)
        except InputError as problem:
            return path, problem
        if len(image) < SMALLEST:
            return path, InputError(f"{path} has {len(image)} rows; flow needs at least {SMALLEST}")
        return path, image

    def checked(self, images):
        """Yields what `read` returned as image or None. Another size than the first image's is one problem a video."""
        first, sizes_differ = None, False
        for path, image in images:
            if isinstance(image, InputError):
                self.problems.append(str(image))
                image = None
            elif first is None:
                first = path, image.shape
            elif image.shape != first[1]:
                if not sizes_differ:
                    (H, W), (rows, cols) = first[1][:2], image.shape[:2]
                    self.problems.append(f"{path} is {cols} x {rows} pixels, {first[0]} {W} x {H}: frames of a video "
                                         "must have one size; delete the folder and extract them again")
                image, sizes_differ = None, True
            yield image


def missing_flows(video, reader, flows, save_raw):
    """Yields (path of the flow image, flow, save_raw) for all that is missing and can be made, in order."""
    last, waiting = len(video.frames) - 1, deque()

    def pairs():
        for start, first, second in reader.pairs():
            waiting.append(start)
            yield first, second

    for flow in flows(pairs()):
        start = waiting.popleft()
        if last == 0:
            flow = np.zeros_like(flow)
        for index in sorted(video.missing & ({start, last} if start >= last - 1 else {start})):
            yield video.folder / f"{video.frames[index].stem}.png", flow, save_raw


def write_flow(made):
    """Writes one of `missing_flows`; the image last, since it says that all is there."""
    path, flow, save_raw = made
    if save_raw:
        with replacing(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
            np.savez(file, flow=flow.astype(np.float16))
    write_image(path, flow_to_colour(flow))


# ------------------------------------------------------------------------------------------------------------- script


def provide_flow(frames_dir, ids, settings, device):
    """The folder with the flow of frames_dir/ID, for every id, and what was wrong with frames, a line each.

    settings: a `FlowSettings`. With `compute`, what is missing is made; without it, the first flow image that is
    missing raises InputError.
    """
    frames_dir = Path(frames_dir)
    flow_dir = flow_folder(settings.folder, frames_dir)
    if settings.compute:
        return flow_dir, make_flow(frames_dir, flow_dir, ids, settings, device)
    folder = f" --optical_flow_dir={settings.folder}" if settings.folder else ""
    command = f"python optical_flow.py --videos_folder={frames_dir.parent}{folder}"
    require_flow(frames_dir, flow_dir, ids, command if frames_dir.name == "frames" else "--compute_flow=True")
    return flow_dir, []
