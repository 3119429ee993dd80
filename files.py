"""Reading and writing of files. What cannot be read is reported in one clear line. A file is written under a temporary
name and then renamed, so that nobody ever reads half a file and an interrupted run can simply be started again."""

import hashlib
import os
import re
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from errors import InputError

cv2.utils.logging.setLogLevel(0)  # no warnings of OpenCV on stderr: our own error is one line and names the file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@contextmanager
def replacing(path):
    """Yields a temporary path beside `path` to write to. On success it is renamed to `path`, on failure removed.

    The temporary name contains the process id, so that several processes may write the same file; the last one to
    finish wins. It ends in .partial, so that nobody takes it for a finished file; a library that chooses the format by
    the suffix has to be told the format.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as problem:  # the error of a full disk names no file
        problem.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a small text file atomically, UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_image(path, image):
    """Writes a uint8 image, (H, W) grey or (H, W, 3) BGR, atomically, in the format of the path's suffix."""
    encoded, data = cv2.imencode(Path(path).suffix, image)
    assert encoded, f"cannot encode {image.shape} {image.dtype} as {path}"
    with replacing(path) as partial:
        partial.write_bytes(data)


def read_image(path, flags=cv2.IMREAD_COLOR):
    """The image in a file: uint8 BGR (H, W, 3), or (H, W) with `cv2.IMREAD_GRAYSCALE`.

    Raises InputError naming the file if it is missing, empty, cut short or not an image. (cv2.imread would return
    None; of a PNG that was cut short it would return an image whose lower part is black.)
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


def checksum(path):
    """SHA-256 of a file in hexadecimal; "" where there is none."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""


def write_figure(path, figure):
    """Writes a matplotlib figure as PNG, atomically."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def frame_number(path):
    """The number at the end of a file's name, 12 for 000_0012.png, or None if it does not end in a number."""
    digits = re.search(r"\d+$", Path(path).stem)
    return int(digits.group()) if digits else None


def list_images(folder):
    """The paths of a folder's images, ordered by frame number (000_9999.png before 000_10000.png), without hidden
    files."""
    images = [path for path in Path(folder).iterdir()
              if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    return sorted(images, key=lambda path: (frame_number(path) or 0, path.name))


def number_images(folder):
    """{frame number: path} of a folder's images, in order; images without a number are left out. A folder that does
    not exist gives {}."""
    images = list_images(folder) if Path(folder).is_dir() else []
    return {number: path for path in images if (number := frame_number(path)) is not None}


def list_folders(folder):
    """The paths of the folders inside `folder`, sorted by name, without hidden ones."""
    return sorted(path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))


def made_after(path, sources):
    """Whether the file `path` exists and is newer than every one of its sources, which are paths."""
    return path.exists() and all(path.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)


def read_split(path):
    """The video names in a split file, in order. The file is one line of names separated by commas; spaces, blank lines
    and several lines are fine too. Raises InputError naming the file if it is missing, empty or lists a video twice."""
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
