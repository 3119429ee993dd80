"""The training data: windows of consecutive frames with their flow and ground-truth maps, read from cached arrays, and
the order in which an epoch goes through them. Letters as in model.py."""

import math
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from devices import unit_interval, upload
from errors import InputError
from files import number_images
from video.catalogue import read_catalogue
from video.image_cache import open_array
from video.names import explain_missing, find_folders
from video.sources import FrameFolder
from video.stored_maps import find_maps

PADDING = -1  # index of a dummy clip with zero loss, so that every process has a last batch


class TrainingVideo(NamedTuple):
    """One video's images, each {frame number: path} in order (of maps also `StoredMap`). There may be fewer maps and
    flows than frames."""

    name: str
    frames: dict
    maps: dict
    flows: dict  # empty for training without flow

    def sources(self):
        """What to cache, as (images, flags of cv2.imread): frames, maps and, where used, flows."""
        return [(list(images.values()), flags) for images, flags in self.kinds()]

    def kinds(self):
        """(images by frame number, flags of cv2.imread) of each kind that is used."""
        kinds = [(self.frames, cv2.IMREAD_COLOR), (self.maps, cv2.IMREAD_GRAYSCALE), (self.flows, cv2.IMREAD_COLOR)]
        return [(images, flags) for images, flags in kinds if images]


def split_videos(names, validation_split):
    """(training, validation) names: the first ceil(validation_split * n) of the list are for validation."""
    count = math.ceil(validation_split * len(names))
    return names[count:], names[:count]


def find_videos(names, frames_dir, gt_dir, optical_flow_dir, frames_ids="", gt_first_frame=0, gt_fps=0.0):
    """A `TrainingVideo` for each name that has ground-truth maps: its frames in frames_dir, and of its maps in gt_dir
    and its flow images in optical_flow_dir ("": no flow) those that have a frame's number. frames_ids: see
    `find_folders`; gt_first_frame, gt_fps: first_number and rate of `find_maps`.

    Raises InputError naming each video that has no frames or no flow at all, or if no video has maps. `TrainingWindows`
    leaves out single frames that have none.
    """
    rows = read_catalogue(frames_dir)
    folders = find_folders(names, frames_dir, rows, frames_ids)
    videos, problems, mapless = [], [], []
    for name in names:
        folder = folders.get(name, name)
        source = FrameFolder(Path(frames_dir, folder), rows.get(folder)) if name in folders else None
        frames = number_images(source.path) if source else {}
        if not frames:
            problems.append(explain_missing(name, frames_dir, rows))
            continue
        maps = common(find_maps(gt_dir, name, gt_first_frame, source.seconds, gt_fps), frames)
        if not maps:
            mapless.append(name)
            continue
        flows = {}
        if optical_flow_dir:
            flows = common(number_images(Path(optical_flow_dir, folder)), frames)
            if not flows:
                problems.append(f"{Path(optical_flow_dir, folder)} holds no flow images for the frames of video {name} "
                                "(optical_flow.py makes them)")
        videos.append(TrainingVideo(name, frames, maps, flows))
    if mapless and not videos:
        problems += [f"{Path(gt_dir, name)} holds no ground-truth maps for the frames of video {name} (gaze.py makes "
                     "them)" for name in mapless]
    if problems:
        raise InputError("\n".join(problems))
    return videos


def common(images, frames):
    """Those of the images, {frame number: path}, that have a frame's number, in the order of the frames."""
    return {number: images[number] for number in frames if number in images}


class TrainingWindows(Dataset):
    """Windows of `length` frames, one after the other, without the first `skip_frames` of each video, as published (but
    the last full window is kept). A window with a frame that has no map or no flow is left out and counted.

    Item `index` is (clip, target, index): clip (T, H, W, 3 or 6), BGR frame and BGR flow, and target (T, H, W), both
    uint8. videos: what `find_videos` returns; arrays: for each video the paths of its cached arrays, in the order of
    its `sources`. Raises InputError naming maps that are constant, which have no loss.
    """

    def __init__(self, videos, arrays, length, skip_frames):
        self.length = length
        self.arrays = arrays
        self.names = [video.name for video in videos]
        self.numbers = [list(video.frames) for video in videos]
        self.windows = []  # (video, first row in each of its arrays)
        self.left_out, self.too_short = 0, []
        constant = []
        for position, video in enumerate(videos):
            starts = range(skip_frames, len(video.frames) - length + 1, length)
            complete = list(complete_windows(video, starts, length))
            self.windows += [(position, rows) for rows in complete]
            self.left_out += len(starts) - len(complete)
            if not starts:
                self.too_short.append(video.name)
            constant += constant_maps(video, arrays[position][1], [rows[1] for rows in complete], length)
        if constant:
            more = f" (and {len(constant) - 5} more)" * (len(constant) > 5)
            raise InputError("ground-truth maps must not be constant, which says nothing about where people look; "
                             f"remove them to leave their windows out: {', '.join(map(str, constant[:5]))}{more}")

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        position, rows = self.windows[index]
        frames, target, *flow = [open_array(array)[row : row + self.length]
                                 for array, row in zip(self.arrays[position], rows)]
        clip = np.concatenate([frames, *flow], axis=-1)  # (T, H, W, C)
        return torch.from_numpy(clip), torch.from_numpy(np.array(target)), index

    def summary(self):
        """One line: how many windows there are, and what was left out."""
        text = f"{len(self)} windows of {self.length} frames from {len(self.names)} videos"
        if self.left_out:
            text += f"; {self.left_out} windows left out, whose frames do not all have a map (and flow)"
        if self.too_short:
            text += f"; too short for a window: {', '.join(self.too_short)}"
        return text

    def describe(self, index):
        """Which window it is, for messages: "video 166, frames 40 to 59", numbers as in the files' names."""
        position, (first, *_) = self.windows[index]
        numbers = self.numbers[position][first : first + self.length]
        return f"video {self.names[position]}, frames {numbers[0]} to {numbers[-1]}"


def complete_windows(video, starts, length):
    """Yields, for each window that has all its maps and flow, the row where it begins in each of the video's arrays.
    starts: the rows where windows begin among the frames."""
    numbers = list(video.frames)
    rows = [{number: row for row, number in enumerate(images)} for images, _ in video.kinds()]
    for start in starts:
        window = numbers[start : start + length]
        if all(number in kind for number in window for kind in rows):
            yield tuple(kind[window[0]] for kind in rows)  # frames are consecutive there too: none lies in between


def constant_maps(video, array, rows, length):
    """Paths of the maps that have one value everywhere, in the windows that begin at these rows of `array`."""
    maps, paths = open_array(array), list(video.maps.values())
    return [path for row in rows
            for path in compress(paths[row : row + length], np.ptp(maps[row : row + length], axis=(1, 2)) == 0)]


class EpochBatches(Sampler):
    """The batches, lists of indices, that one of `world_size` processes reads in an epoch. The processes together go
    through an order that depends only on seed and epoch, batch_size * world_size clips at a time. So W processes with
    batch_size B do the same as one with batch_size W B, and every clip comes once. seed None: always in order."""

    def __init__(self, count, batch_size, seed, rank, world_size):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.begin(0, 0)

    def begin(self, epoch, done):
        """Makes the next pass one of this epoch, without its first `done` clips (of all processes together)."""
        self.epoch, self.done = epoch, done

    def __len__(self):
        return math.ceil((self.count - self.done) / (self.batch_size * self.world_size))

    def clips_at_once(self, done):
        """How many clips the processes read together after the epoch's first `done` clips."""
        return min(self.batch_size * self.world_size, self.count - done)

    def __iter__(self):
        order = list(range(self.count))
        if self.seed is not None:
            order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        for start in range(self.done, self.count, self.batch_size * self.world_size):
            batch = order[start : start + self.clips_at_once(start)]
            yield batch[self.rank :: self.world_size] or [PADDING]


def batches_on(device, loader):
    """Yields the loader's batches as the model takes them: clips (B, T, C, H, W) and targets (B, T, H, W), floats in
    [0, 1] on the device, and a list of their indices. The images go to the device as bytes, a quarter of the size."""
    for clips, targets, indices in loader:
        clips = upload(clips, device).permute(0, 1, 4, 2, 3)  # channels stay last in memory
        yield unit_interval(clips), unit_interval(upload(targets, device)), indices.tolist()
