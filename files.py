"""Files: read with one clear line when something is wrong, written beside and then renamed, so that no reader ever
sees half a file and an interrupted run can simply be started again."""

import os
import re
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from errors import InputError

cv2.utils.logging.setLogLevel(0)  # what OpenCV complains of on stderr, we say in one line, with the file's name

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@contextmanager
def replacing(path):
    """Yields a path beside `path` to write to; renames it to `path` on success, removes it on failure.

    The temporary name carries the process id, so that several processes may make the same file (the last one wins,
    whole), and ends in .partial, so that nobody takes it for a finished one: a writer that chooses its format by the
    name's end has to be told the format.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as problem:  # a full disk names no file
        problem.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a small text file atomically, UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_image(path, image):
    """Writes an 8-bit image, (H, W) grey or (H, W, 3) BGR, atomically; the format follows the suffix."""
    encoded, data = cv2.imencode(Path(path).suffix, image)
    assert encoded, f"cannot encode {image.shape} {image.dtype} as {path}"
    with replacing(path) as partial:
        partial.write_bytes(data)


def read_image(path, flags=cv2.IMREAD_COLOR):
    """Returns the image as uint8 BGR (H, W, 3), or (H, W) with `cv2.IMREAD_GRAYSCALE`.

    Raises InputError naming the file when it is missing, empty, cut short or no image at all. (cv2.imread would
    return None, or for a PNG that was cut short an image whose lower part is black.)
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    if not data:
        raise InputError(f"{path} is empty (0 bytes); delete it and make it again")
    whole = not data.startswith(b"\x89PNG") or b"IEND" in data[-16:]
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if whole else None
    if image is None:
        raise InputError(f"{path} is not an image that can be read, or was cut short; delete it and make it again")
    return image


def write_figure(path, figure):
    """Writes a matplotlib figure as PNG, atomically."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def frame_number(path):
    """The number that ends a file's name: 12 for 000_0012.png; None where there is none."""
    digits = re.search(r"\d+$", Path(path).stem)
    return int(digits.group()) if digits else None


def list_images(folder):
    """The images of a folder, ordered by frame number (000_9999.png before 000_10000.png), hidden files left out."""
    images = [path for path in Path(folder).iterdir()
              if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    return sorted(images, key=lambda path: (frame_number(path) or 0, path.name))


def number_images(folder):
    """{frame number: path} of a folder's images, in order of the number, those without one left out; empty where there
    is no such folder."""
    images = list_images(folder) if Path(folder).is_dir() else []
    return {number: path for path in images if (number := frame_number(path)) is not None}


def list_folders(folder):
    """The folders inside `folder`, sorted by name, hidden ones left out."""
    return sorted(path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))


def read_split(path):
    """The video names of a split file, in order: one line of names separated by commas. Spaces, blank lines and names
    over several lines are fine. Raises InputError naming the file when it is missing, empty or lists a video twice."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; it lists video names on one line, separated by commas") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; it lists video names on one line, separated by commas") from None
    names = [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]
    if not names:
        raise InputError(f"{path} lists no videos; write their names on one line, separated by commas")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} lists {', '.join(twice)} more than once")
    return names
