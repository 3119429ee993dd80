"""Ground-truth maps as data sets hand them out, taken where they lie: images, .npy arrays, and Salient360!'s .bin
files.

    gt_dir/VIDEO/0012.png, VIDEO_0012.png   a map of frame 12, any number of zeros; also in VIDEO/gauss (OpenSAL360)
    gt_dir/VIDEO/00012.npy, 0012_gt.npy     an array (h, w) or (1, h, w); VIDEO may end in .mp4 (Wild360, Sports-360)
    gt_dir/VIDEO.npy                        an array (T, h, w); Panonut360's have one map a second
    gt_dir/VIDEO_WxHxN_32b.bin              N maps of float32, row after row (salient360Toolbox, utils/readOutFile.py)

Nothing is ever unpickled.
"""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np

from errors import InputError
from files import list_images
from video.resize import resized

BINARY = re.compile(r"(.+)_(\d+)x(\d+)(?:x(\d+)f?)?_(16|32|64)b\.bin")
SUBFOLDERS = ("", "gauss")


class StoredMap:
    """One map of a file of arrays; it stands where the path of an image could be. parent: what holds all maps of its
    video, a folder or the file."""

    def __init__(self, path, index, parent):
        self.path, self.index, self.parent = path, index, parent
        self.name, self.stat = f"{path.name}[{index}]", path.stat

    def __str__(self):
        return f"{self.path} (map {self.index})"

    def read(self, resolution):
        """The map at `resolution` (height, width), scaled to a maximum of 255: uint8. A map of bytes keeps its scale.
        Raises InputError where a value is negative or not finite."""
        stored = open_maps(self.path)[self.index]
        with np.errstate(over="ignore"):  # to infinity, which is refused
            values = resized(np.ascontiguousarray(stored, np.float32), resolution)
        if not np.isfinite(values).all() or values.min() < 0:
            raise InputError(f"{self} has values that are negative or not finite")
        highest = 255 if stored.dtype == np.uint8 else values.max()
        return np.rint(values / (highest if highest > 0 else 1) * 255).astype(np.uint8)


@cache
def open_maps(path):
    """The maps in a .npy or .bin file, (T, h, w), memory-mapped. Raises InputError for other content."""
    match = BINARY.fullmatch(path.name)
    if match:
        width, height, count = int(match[2]), int(match[3]), int(match[4] or 1)
        kind = np.dtype(f"<f{int(match[5]) // 8}")
        if path.stat().st_size != width * height * count * kind.itemsize:
            raise InputError(f"{path} has {path.stat().st_size} bytes; {count} maps of {width} x {height} "
                             f"{match[5]}-bit numbers are {width * height * count * kind.itemsize}")
        size = (count, height, width)
        return np.memmap(path, kind, "r", shape=size) if all(size) else np.zeros((0, 1, 1))
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # a damaged header makes numpy raise many kinds
        raise InputError(f"{path} is not an array of numbers (.npy) that can be read; one of Python objects is a "
                         "pickle, which is not opened") from None
    array = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype.kind not in "fiub" or not array.size:
        raise InputError(f"{path} must hold maps (T, height, width), got {array.dtype} {array.shape}")
    return array


def last_number(path):
    """The last number in a file's name without its ending, 1 for 0001_gt.npy; None if there is none."""
    numbers = re.findall(r"\d+", Path(path).stem)
    return int(numbers[-1]) if numbers else None


def find_maps(gt_dir, name, first_number, frames=None, rate=0.0):
    """{frame number: path or StoredMap} of a video's ground-truth maps, in order; {} if there are none.

    first_number: the number of the first frame in the files' names, 0 or 1. frames: {number: when it is shown, seconds}
    of the video's extracted frames. rate: how many maps an array of all frames has a second; 0: one a frame, which are
    the extracted frames if there are as many of them, and otherwise the frames 0, 1, ... Raises InputError as
    `open_maps` does, and where the maps of an array seem to be one a second.
    """
    for folder in (Path(gt_dir, f"{name}{ending}", inner) for ending in ("", ".mp4") for inner in SUBFOLDERS):
        if folder.is_dir() and (maps := maps_in(folder)):
            return {number - first_number: maps[number] for number in sorted(maps) if number >= first_number}
    path, frames = find_stack(gt_dir, name), frames or {}
    if path is None:
        return {}
    count = len(open_maps(path))
    if rate and not all(math.isfinite(seconds) for seconds in frames.values()):
        raise InputError(f"{path} has {rate:g} maps a second (gt_fps), and the frames of video {name}, which tell the "
                         "time of each, are not in frames_dir")
    if rate and frames:
        indices = {number: int(seconds * rate + 1e-6) for number, seconds in frames.items()}
        return {number: StoredMap(path, index, path) for number, index in indices.items() if index < count}
    if len(frames) == count:
        return {number: StoredMap(path, index, path) for index, number in enumerate(frames)}
    if frames and count <= max(frames) and abs(count - max(frames.values()) - 0.5) <= 1:
        raise InputError(f"{path} has {count} maps for a video of about {count} seconds: set gt_fps to 1 if there is "
                         "one map a second, or to the rate of the video if these are its first frames")
    return {index: StoredMap(path, index, path) for index in range(count)}


def maps_in(folder):
    """{number: path or StoredMap} of the images of a folder, or if there are none, of its arrays."""
    images = {number: path for path in list_images(folder) if (number := last_number(path)) is not None}
    if images:
        return images
    arrays = {path: last_number(path) for path in sorted(folder.glob("*.npy")) if not path.name.startswith(".")}
    if len(arrays) == 1 and len(open_maps(path := next(iter(arrays)))) > 1:
        return {index: StoredMap(path, index, path) for index in range(len(open_maps(path)))}
    return {number: StoredMap(path, 0, folder) for path, number in arrays.items() if number is not None}


def find_stack(gt_dir, name):
    """The file gt_dir/NAME.npy or gt_dir/NAME_WxHxN_32b.bin, or None."""
    for path in sorted(Path(gt_dir).iterdir()) if Path(gt_dir).is_dir() else []:
        match = BINARY.fullmatch(path.name)
        if path.name == f"{name}.npy" or (match and match[1] == name):
            return path
    return None
