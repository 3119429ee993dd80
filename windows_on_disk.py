"""Frames, and where the model uses it their optical flow, as windows of a video for the model to run over.

Frames are BGR as OpenCV reads them, resized with INTER_AREA: the published weights were trained so.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from errors import InputError
from files import list_folders, list_images, read_image
from video.pipeline import serial_opencv
from video.resize import resized


class Video(NamedTuple):
    """The frames of a video on disk, in order."""

    id: str
    frames: list  # of paths


class Window(NamedTuple):
    """Frames start to stop - 1 of a video; the maps from `first` on are kept, those before it warm up the state."""

    video: Video
    start: int
    stop: int
    first: int


def list_frames(frames_dir):
    """A `Video` for every folder of frames in frames_dir, sorted by id. Raises InputError where there is none."""
    folders = list_folders(frames_dir) if Path(frames_dir).is_dir() else []
    videos = [Video(folder.name, images) for folder in folders if (images := list_images(folder))]
    if not videos:
        raise InputError(f"{frames_dir} holds no frames (folders of images, one a video)")
    return videos


def split_windows(video, sequence_length, overlap):
    """The windows of a video that give every frame exactly one map.

    Windows share `overlap` frames, which only warm up the later one, as published. Beyond the published code, the first
    window keeps its warm-up frames, and the last one is moved back to end at the last frame; a video shorter than a
    window is one short window.
    """
    count, windows, kept = len(video.frames), [], 0
    while kept < count:
        start = max(0, min(kept - overlap, count - sequence_length)) if windows else 0
        stop = min(start + sequence_length, count)
        windows.append(Window(video, start, stop, kept))
        kept = stop
    return windows


class FrameWindows(Dataset):
    """Windows as clips: item k is (clip, problem), the clip uint8 (T, H, W, C), or None and one line on what is wrong.

    flow_dir: holds flow_dir/ID/NAME for every frame, or None for a model without flow.
    """

    def __init__(self, windows, flow_dir, resolution):
        self.windows, self.flow_dir, self.resolution = windows, flow_dir, resolution

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, k):
        video, start, stop, _ = self.windows[k]
        paths = video.frames[start:stop]
        try:
            images = [read_image(path) for path in paths]
            check_sizes(paths, images)
            clip = [resized(image, self.resolution) for image in images]
            if self.flow_dir:
                flow = [resized(read_image(Path(self.flow_dir, video.id, f"{path.stem}.png")), self.resolution)
                        for path in paths]
                clip = [np.concatenate(pair, axis=2) for pair in zip(clip, flow)]
        except InputError as problem:
            return None, str(problem)
        return torch.from_numpy(np.stack(clip)), None


def check_sizes(paths, images):
    """Raises InputError naming the first image that has another size than the one before it."""
    for (before, image), (path, other) in pairwise(zip(paths, images)):
        if image.shape != other.shape:
            (H, W), (height, width) = image.shape[:2], other.shape[:2]
            raise InputError(f"{path} is {width} x {height} pixels, but {before.name} before it {W} x {H}: frames of a "
                             "video must have one size; delete the folder and extract them again")


def read_windows(windows, flow_dir, resolution, num_workers):
    """An iterator over the items of `FrameWindows`, in order; `num_workers` processes read ahead."""
    with serial_opencv():  # in which the processes start
        return iter(DataLoader(FrameWindows(windows, flow_dir, resolution), batch_size=None, num_workers=num_workers,
                               worker_init_fn=one_thread))


def one_thread(_):
    """A reading process is one of several: OpenCV's own threads would only fight over the cores."""
    cv2.setNumThreads(1)
