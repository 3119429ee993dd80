"""Optical flow of equirectangular (ERP) video, as the colour images that models with 6 input channels read.

    python optical_flow.py --videos_folder=clips     (extracts frames first; what exists is kept)

A flow is (H, W, 2), float32: how far each pixel moves until the next sampled frame, to the right and down, in pixels
of the ERP frame at the size flow was computed at (at most flow_resolution rows). Towards the poles rows are stretched,
so a small motion there is many pixels. This is left as it is: the published models were trained on flow in ERP pixels.
The colour image shows direction as hue and length as saturation (Baker et al., IJCV 2011), full saturation being the
largest motion *of that frame*, as in RAFT's own viewer. No motion anywhere is white.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

import config
from distributed import choose_device
from extraction import extract_frames
from files import InputError, list_folders, list_images, read_image, replacing, write_image
from flow_methods import choose_method, load_flows
from utils import configure, in_order, run

SMALLEST = 12  # rows of a frame that DIS can work with


# -------------------------------------------------------------------------------------------------------- colour images


RADIUS = 256  # pixels of the colour wheel; more would not show in 8 bits


def make_colour_wheel():
    """The colours of all flows of length up to 1, as a picture to read them from: BGR uint8 (2 * RADIUS + 2,
    2 * RADIUS + 1), rest in the middle, full saturation on the circle. Colours jump where the direction is due right,
    so that row stands there twice: as the end of all flows upwards, and as the beginning of those downwards."""
    red_to_red = [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]
    corners = 255 * np.array(red_to_red)
    hues = [corner + np.sign(following - corner) * np.floor(255 * np.arange(count) / count)[:, None]
            for corner, following, count in zip(corners, corners[1:], (15, 6, 4, 11, 13, 6))]
    hues = np.concatenate(hues)  # (55, 3), from due right, by down, left and up, to almost due right
    u, v = np.arange(-RADIUS, RADIUS + 1), np.arange(RADIUS + 1)[:, None]
    turned = np.arctan2(v, -u)  # (RADIUS + 1, 2 * RADIUS + 1): half the wheel, downwards; 0 is due left, pi due right
    turned = np.concatenate([np.flipud(turned), -turned])
    hue = (turned / np.pi + 1) / 2 * (len(hues) - 1)
    pure = np.stack([np.interp(hue, np.arange(len(hues)), channel) for channel in hues.T], axis=2)
    length = np.hypot(u, np.concatenate([np.flipud(v), v]))[..., None] / RADIUS
    return np.clip(255 - length * (255 - pure), 0, 255).astype(np.uint8)


COLOUR_WHEEL = make_colour_wheel()


def flow_to_colour(flow):
    """Colour image of a flow (H, W, 2), float32, relative to its largest motion: BGR uint8 (H, W, 3).

    What `torchvision.utils.flow_to_image` gives (in RGB), within one grey level, several times faster; and without
    PyTorch's threads, which wait for each other where every core has a pair of frames to work on already.
    """
    u, v = cv2.split(flow)
    scale = RADIUS / (cv2.magnitude(u, v).max() + np.finfo(np.float32).eps)
    column, row = RADIUS + scale * u, RADIUS + scale * v + (v >= 0)
    return cv2.remap(COLOUR_WHEEL, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def limit_rows(frame, rows):
    """The frame, or if it has more than `rows` rows the frame reduced to that many; its shape (W / H) stays."""
    H, W = frame.shape[:2]
    return frame if rows >= H else cv2.resize(frame, (round(W * rows / H), rows), interpolation=cv2.INTER_AREA)


def flow_images(frames, flows, rows):
    """Yields the colour image of each frame's flow, BGR uint8, for an iterable of BGR frames of one size, as they come
    (from a decoder, say), reading ahead by a few: the same images that `make_flow` writes.

    flows: what `load_flows` returns. rows: see `limit_rows`. A frame's flow is to the next one; the last frame repeats
    the flow of the one before it, and a single frame moves nowhere.
    """
    frames = (limit_rows(frame, rows) for frame in frames)
    first = next(frames, None)
    if first is None:
        return
    colour = None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for colour in in_order(pool, flow_to_colour, flows(pairwise(chain([first], frames)))):
            yield colour
    yield np.full_like(first, 255) if colour is None else colour


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


def make_flow(frames_dir, flow_dir, ids, method, weights, rows, save_raw, device):
    """Writes flow_dir/ID/ID_FRAME.png for every frame of frames_dir/ID that has none yet; returns what was wrong with
    frames, a line each, after all that can be done is done.

    method, weights, device: see `load_flows`; method "" chooses. rows: see `limit_rows`. save_raw: also keep the flow
    itself as ID_FRAME.npz, array `flow`, float16 (H, W, 2). Raises InputError as `load_flows` does.
    """
    videos, problems = find_missing(frames_dir, flow_dir, ids, [".png", ".npz"] if save_raw else [".png"])
    videos = [video for video in videos if video.missing]
    if not videos:
        return problems
    method = choose_method(method, device)
    flows = load_flows(method, weights, device)
    with (tqdm(total=sum(len(video.missing) for video in videos), desc=f"optical flow ({method})", unit="frame") as bar,
          ThreadPoolExecutor(os.cpu_count()) as pool):
        for video in videos:
            video.folder.mkdir(parents=True, exist_ok=True)
            reader = FrameReader(video, rows, pool)
            for _ in in_order(pool, write_flow, missing_flows(video, reader, flows, save_raw)):
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


def provide_flow(frames_dir, ids, device):
    """The folder with the flow of frames_dir/ID, for every id, and what was wrong with frames, a line each.

    Of the settings: compute_flow makes what is missing; without it the first that is raises InputError.
    """
    frames_dir = Path(frames_dir)
    flow_dir = flow_folder(config.optical_flow_dir, frames_dir)
    if config.compute_flow:
        return flow_dir, make_flow(frames_dir, flow_dir, ids, config.flow_method, config.flow_weights,
                                   config.flow_resolution, config.flow_save_raw, device)
    folder = f" --optical_flow_dir={config.optical_flow_dir}" if config.optical_flow_dir else ""
    command = f"python optical_flow.py --videos_folder={frames_dir.parent}{folder}"
    require_flow(frames_dir, flow_dir, ids, command if frames_dir.name == "frames" else "--compute_flow=True")
    return flow_dir, []


def main(argv):
    configure(config, argv)
    device = choose_device(config.device)
    problems = extract_frames(config.videos_folder, config.stereo_layout)
    frames_dir = Path(config.videos_folder, "frames")
    ids = [folder.name for folder in list_folders(frames_dir)] if frames_dir.is_dir() else []
    if not ids and not problems:
        raise InputError(f"{config.videos_folder} holds neither videos nor frames/ID/ID_FRAME.png")
    config.compute_flow = True  # what this script is for
    problems += provide_flow(frames_dir, ids, device)[1]
    if problems:
        raise InputError("\n".join(problems))


if __name__ == "__main__":
    run(main)
