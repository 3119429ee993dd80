"""Images decoded and resized once: for each folder of images (a video's frames, flow or maps) one uint8 array in a .npy
file, memory-mapped by every process that reads it.

An array's name carries a digest of its sources' names, sizes and times of change. A file of that name is therefore
whole (it was renamed from a partial one) and current; images that change lead to another name, and a new array.
"""

import contextlib
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from files import read_image, replacing
from video.resize import resized


def build(lists, resolution, cache_dir, threads):
    """Makes the arrays that are missing, under one progress bar, and returns the paths of all.

    lists: of (images, flags), the paths of one folder's images in order and the cv2.IMREAD_* flags to read them with.
    resolution: (height, width). Any number of processes may build in one cache_dir; an interrupted build continues
    with the first array that is not finished. Raises InputError naming an image that cannot be read.
    """
    arrays = [array_path(images, flags, resolution, cache_dir) for images, flags in lists]
    missing = [(array, *source) for array, source in zip(arrays, lists) if not array.exists()]
    if missing:
        total = sum(len(images) for _, images, _ in missing)
        pool = ThreadPoolExecutor(threads)
        try:
            with tqdm(total=total, desc="caching images", unit="image") as bar:
                for array, images, flags in missing:
                    read = functools.partial(read_resized, flags=flags, resolution=resolution)
                    _write(array, len(images), _counted(pool.map(read, images), bar))
        finally:
            pool.shutdown(cancel_futures=True)  # an error or Ctrl-C does not wait for the rest of the folder
    return arrays


def array_path(images, flags, resolution, cache_dir):
    """Where the array of these images is, or will be: cache_dir/FOLDER-DIGEST/NAME_HEIGHTxWIDTH_DIGEST.npy. The first
    digest is of the folder's full path, the second of the images themselves."""
    folder = images[0].parent.resolve()
    sources = [(image.name, (stat := image.stat()).st_size, stat.st_mtime_ns) for image in images]
    place = f"{folder.parent.name}-{_digest(folder.parent)}"
    height, width = resolution
    return Path(cache_dir, place, f"{folder.name}_{height}x{width}_{_digest((flags, sources))}.npy")


def _digest(value):
    return hashlib.blake2b(repr(value).encode(), digest_size=6).hexdigest()


def read_resized(path, flags, resolution):
    """The image of a file at `resolution` (height, width), uint8 BGR (H, W, 3) or grey (H, W)."""
    return resized(read_image(path, flags), resolution)


def _counted(images, bar):
    """The images, each moving the bar on by one."""
    for image in images:
        yield image
        bar.update()


def _write(array, count, images):
    """Writes `count` images of one shape as a .npy file, then removes what an older state of the same images left.

    Plain writes, not a writable memory map: on a full disk those fail with an error, a map kills the process.
    """
    array.parent.mkdir(parents=True, exist_ok=True)
    with replacing(array) as partial, partial.open("wb") as file:
        for position, image in enumerate(images):
            if position == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *image.shape)}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(image))
    stem = array.stem.rpartition("_")[0]
    for outdated in array.parent.glob(f"{stem}_*.npy"):
        if outdated != array:
            with contextlib.suppress(OSError):  # another process may have it open, which Windows does not allow
                outdated.unlink(missing_ok=True)


@functools.cache
def open_array(path):
    """The memory-mapped array of a path that `build` returned, (N, H, W, 3) or (N, H, W); opened once a process."""
    return np.load(path, mmap_mode="r")
