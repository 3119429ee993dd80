"""Reading and writing of files. What cannot be read is reported in one clear line. A file is written under a temporary
name and then renamed, so that nobody ever reads half a file and an interrupted run can simply be started again."""

import hashlib
import json
import os
import re
import secrets
import socket
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from checks import plain_name
from errors import InputError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None

cv2.utils.logging.setLogLevel(0)  # no warnings of OpenCV on stderr: our own error is one line and names the file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
HOST = re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())[:20]
PARTIAL = re.compile(r"\..*\.(\w*)-\d+-[0-9a-f]{8}\.partial")
OTHER_HOST_IS_GONE = 24 * 3600  # seconds after which a partial file of another host is removed, if nobody holds it
TEXT_LIMIT = 2**26  # bytes of a text file that is read whole

# ----------------------------------------------------------------------------------------------------- locks of files


def lock(descriptor):
    """Locks an open file for this process and returns True, or returns False if another process holds it. The system
    unlocks the file when the process ends, however it ends. Where files cannot be locked, it returns True."""
    if fcntl:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def is_still(descriptor, path):
    """Whether the open file is the one at `path`, which another process may have removed or replaced meanwhile."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    return False


def open_partial(path):
    """Makes an empty temporary file beside `path` and locks it: (its path, its descriptor). Its name holds the host and
    a random number, so that no two processes share it, in whatever container they run."""
    while True:
        partial = path.with_name(f".{path.name[:80]}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.partial")
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if lock(descriptor) and is_still(descriptor, partial):  # else `clear_partials` came in between
            return partial, descriptor
        os.close(descriptor)


def clear_partials(folder):
    """Removes the temporary files of `replacing` in a folder that no living process holds."""
    for path in Path(folder).glob(".*.partial"):
        with suppress(OSError):
            host = PARTIAL.fullmatch(path.name)
            recent = time.time() - path.lstat().st_mtime < OTHER_HOST_IS_GONE
            if not host or (host[1] != HOST and recent) or not path.is_file() or path.is_symlink():
                continue
            descriptor = os.open(path, os.O_RDWR)
            try:
                if lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


# ------------------------------------------------------------------------------------------------ writing, all or none


def sync(path):
    """Returns when the file or folder is on the disk, so that it is there after a loss of power, too."""
    with suppress(OSError):  # a folder cannot be opened on Windows
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replacing(path, durable=False):
    """Yields a temporary path beside `path` to write to. On success it is renamed to `path`, on failure removed.

    Several processes may write the same file; the last one to finish wins. The temporary name ends in .partial, so that
    nobody takes it for a finished file; a library that chooses the format by the suffix has to be told the format.
    durable: the file also outlives a loss of power. Raises OSError with the name of `path`.
    """
    path, partial, descriptor = Path(path), None, None
    try:
        partial, descriptor = open_partial(path)
        yield partial
        if durable:
            sync(partial)
        if not fcntl:  # Windows renames no open file
            os.close(descriptor)
            descriptor = None
        partial.replace(path)
        if durable:
            sync(path.parent)
    except OSError as problem:  # the error of a full disk names no file, and one of FFmpeg cannot be given a name
        if problem.errno is None:
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from None
    finally:
        if descriptor is not None:
            os.close(descriptor)
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_text(path, text, durable=False):
    """Writes a small text file atomically, UTF-8. durable: see `replacing`."""
    with replacing(path, durable) as partial:
        partial.write_text(text, encoding="utf-8")


def encoded(suffix, image):
    """A uint8 image, (H, W) grey or (H, W, 3) BGR, as the bytes of a file with that suffix."""
    done, data = cv2.imencode(suffix, image)
    assert done, f"cannot encode {image.shape} {image.dtype} as {suffix}"
    return data.tobytes()


def write_image(path, image):
    """Writes a uint8 image, (H, W) grey or (H, W, 3) BGR, atomically, in the format of the path's suffix."""
    with replacing(path) as partial:
        partial.write_bytes(encoded(Path(path).suffix, image))


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


# ------------------------------------------------------------------------------------ reading what others may have made


def read_text(path, what):
    """The text of a file, UTF-8. what: what the file should be, for the message. Raises InputError if it does not
    exist, is too large or is not text."""
    path = Path(path)
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= TEXT_LIMIT else None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; {what}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; {what}") from None
    if text is None:
        raise InputError(f"{path} has {size} bytes, which is too large; {what}")
    return text


def read_json(path):
    """The dict in a JSON file; {} where there is no such file, or something else in it."""
    try:
        if Path(path).stat().st_size <= TEXT_LIMIT:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            return value if isinstance(value, dict) else {}
    except (OSError, ValueError, RecursionError):
        pass
    return {}


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


def read_split(path):
    """The video names in a split file, in order. The file is one line of names separated by commas; spaces, blank lines
    and several lines are fine too. Raises InputError naming the file if it is missing, empty or lists a video twice."""
    text = read_text(path, "it lists video names on one line, separated by commas")
    names = [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]
    if not names:
        raise InputError(f"{path} lists no videos; write their names on one line, separated by commas")
    for name in names:
        plain_name(name, path)
    if len(set(names)) < len(names):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{path} lists {', '.join(twice)} more than once")
    return names
