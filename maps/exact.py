"""Predicted maps with their own scale, as `predict` yields them: results_dir/ID_maps.npy, float32 (T, height, width).

While it grows it has another name, .ID_maps.npy. It can be memory-mapped: np.load(path, mmap_mode="r").
"""

from pathlib import Path

import numpy as np

from files import sync

HEADER = 128  # bytes before the first map: enough for any number of maps


def header(count, height, width):
    """The first HEADER bytes of a .npy file (format 1.0) of that many maps."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {height}, {width}), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + f"{text:<{HEADER - 11}}\n".encode("ascii")


class ExactMaps:
    """The maps of one video, (height, width) each, in the file `path`. Any map may be written at any time; the file
    gets its name by `finish`."""

    def __init__(self, path, height, width):
        self.path, self.growing = Path(path), Path(path).with_name(f".{Path(path).name}")
        self.shape, self.map_bytes, self.file = (height, width), 4 * height * width, None

    def begin(self):
        """Opens the file to write to. A finished one goes on growing."""
        if self.path.exists() and not self.growing.exists():
            self.path.replace(self.growing)
        self.file = self.growing.open("r+b" if self.growing.exists() else "w+b")

    def write(self, position, saliency):
        """Writes a map, float32. Returns its bytes."""
        data = np.ascontiguousarray(saliency, "<f4").tobytes()
        self.file.seek(HEADER + position * self.map_bytes)
        self.file.write(data)
        self.file.flush()
        return data

    def read_bytes(self, position):
        """The bytes of a map, fewer where the file ends before; b"" where there is none."""
        path = self.growing if self.growing.exists() else self.path
        try:
            with path.open("rb") as file:
                file.seek(HEADER + position * self.map_bytes)
                return file.read(self.map_bytes)
        except FileNotFoundError:
            return b""

    def read(self, position):
        """A map: float32 (height, width)."""
        return np.frombuffer(self.read_bytes(position), "<f4").reshape(self.shape)

    def finish(self, count):
        """Gives the file, which holds `count` maps, its header and its name."""
        self.file.truncate(HEADER + count * self.map_bytes)
        self.file.seek(0)
        self.file.write(header(count, *self.shape))
        self.close()
        sync(self.growing)
        self.growing.replace(self.path)
        sync(self.path.parent)

    def remove(self):
        """Removes the file, finished or not."""
        self.path.unlink(missing_ok=True)
        self.growing.unlink(missing_ok=True)

    def close(self):
        if self.file:
            self.file.close()
            self.file = None
