"""A cache of images that are decoded and resized once. Each folder of images (a video's frames, flow or maps) becomes
one uint8 array in a .npy file, which every process maps into memory.

The file's name contains a digest of the images' names, sizes, times of change and last bytes (where a PNG has its
checksums), so a file of that name is current: after a change of the images the name is another one. Whether it is whole
is checked by its size.
"""

import contextlib
import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from files import clear_partials, read_image, replacing
from video.resize import resized
from video.stored_maps import StoredMap

TAIL = 4096     # bytes at the end of an image's file that tell it from another


def build(lists, resolution, cache_dir, threads):
    """Writes the arrays that are missing, with one progress bar, and returns the paths of all arrays.

    lists: of (images, flags): the paths of one folder's images in order, and the cv2.IMREAD_* flags to read them with.
    resolution: (height, width), pixels. threads: how many read images. Several processes may build in one cache_dir; an
    interrupted build continues with the first array that is missing. Raises InputError naming an image that cannot be
    read.
    """
    arrays = [array_path(images, flags, resolution, cache_dir) for images, flags in lists]
    for folder in {array.parent for array in arrays}:
        clear_partials(folder)
    missing = [(array, *source) for array, source in zip(arrays, lists) if not is_whole(array, len(source[0]))]
    if missing:
        total = sum(len(images) for _, images, _ in missing)
        pool = ThreadPoolExecutor(threads)
        try:
            with tqdm(total=total, desc="caching images", unit="image") as bar:
                for array, images, flags in missing:
                    read = functools.partial(read_resized, flags=flags, resolution=resolution)
                    _write(array, len(images), _counted(pool.map(read, images), bar))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C the rest of the folder is not read
    return arrays


def array_path(images, flags, resolution, cache_dir):
    """The path of the array of these images, existing or not: cache_dir/FOLDER-DIGEST/NAME_HEIGHTxWIDTH_DIGEST.npy. The
    first digest is of the full path of the folder, the second of flags and images."""
    folder = images[0].parent.resolve()
    sources = [(image.name, (stat := image.stat()).st_size, stat.st_mtime_ns, last_bytes(image)) for image in images]
    directory = f"{folder.parent.name}-{_digest(folder.parent)}"
    height, width = resolution
    return Path(cache_dir, directory, f"{folder.name}_{height}x{width}_{_digest((flags, sources))}.npy")


def last_bytes(image):
    """A digest of the end of an image's file; "" of a `StoredMap`, whose file holds many."""
    if isinstance(image, StoredMap):
        return ""
    with image.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - TAIL))
        return _digest(file.read(TAIL))


def is_whole(array, count):
    """Whether there is an array of so many images in the file, and it is as long as it says."""
    try:
        return array.is_file() and len(np.load(array, mmap_mode="r")) == count
    except (OSError, ValueError, EOFError, TypeError):
        return False


def _digest(value):
    return hashlib.blake2b(repr(value).encode(), digest_size=6).hexdigest()


def read_resized(path, flags, resolution):
    """The image of a file, or a `StoredMap`, at `resolution` (height, width), uint8 BGR (H, W, 3) or grey (H, W)."""
    if isinstance(path, StoredMap):
        return path.read(resolution)
    return resized(read_image(path, flags), resolution)


def _counted(images, bar):
    """Yields the images and counts them on the progress bar."""
    for image in images:
        yield image
        bar.update()


def _write(array, count, images):
    """Writes `count` images of one shape as a .npy file, then removes the outdated arrays of the same folder.

    It uses plain writes and not a writable memory map: on a full disk a write fails with an error, a map kills the
    process.
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
            with contextlib.suppress(OSError):  # Windows does not remove a file that another process has open
                outdated.unlink(missing_ok=True)


@functools.cache
def open_array(path):
    """The memory-mapped array at a path that `build` returned, (N, H, W, 3) or (N, H, W). A process opens it once."""
    return np.load(path, mmap_mode="r")
