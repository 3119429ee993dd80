"""What maps are made of: a video file, or a folder of frames. Both have the same attributes and methods:

    id, title       "000" and "a.mp4"
    name            what to call it in messages: "000 a.mp4"
    path, bytes     the file or the folder, and its size
    rate            sampled frames a second
    limit           number of sampled frames where it is certain before they are read, or else infinity
    expected        the same as far as it can be told, 0 where it cannot
    stem(position)  how the image of sampled frame number `position` is called, without its ending: "000_0012"
    files(position) the files that this frame comes from
    frames()        yields the sampled frames in order, BGR uint8 (H, W, 3); an `InputError` in place of one that is bad
    describe()      its row of the catalogue (`catalogue.COLUMNS`), once frames() has come to its end
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from errors import InputError
from files import list_folders, list_images, read_image
from video.catalogue import COLUMNS, describe_video
from video.decode import SAMPLES_PER_SECOND, probe, sample_frames
from video.pipeline import in_order


class VideoFile:
    """A video file, whose frames come straight from the decoder. Raises InputError where it cannot be read."""

    def __init__(self, identity, path, stereo_layout):
        self.id, self.path, self.stereo_layout = identity, path, stereo_layout
        self.title, self.name, self.bytes = path.name, f"{identity} {path.name}", path.stat().st_size
        self.limit = math.inf

    @cached_property
    def info(self):
        return probe(self.path)

    @property
    def rate(self):
        return self.info.fps / self.info.step

    @property
    def expected(self):
        try:
            return -(-self.info.frames // self.info.step)
        except InputError:  # which is reported when its turn comes
            return 0

    def stem(self, position):
        return f"{self.id}_{position * self.info.step:04d}"

    def files(self, position):
        return [self.path]

    def frames(self):
        self.read = self.samples = 0
        for index, frame in sample_frames(self.path, self.info.step, self.stereo_layout):
            self.read = index + 1
            if frame is not None:
                self.shape, self.samples = frame.shape[:2], self.samples + 1
                yield frame

    def describe(self):
        return describe_video(self.path, self.id, self.info, self.shape, self.read, self.samples, self.stereo_layout)


class FrameFolder:
    """A folder of images, one a frame, at 8 frames a second. row: what the catalogue of `frames_extraction` says of the
    video that they come from, or None."""

    def __init__(self, path, row=None):
        self.id, self.path, self.row = path.name, path, row or {}
        self.images = list_images(path)
        self.limit = self.expected = len(self.images)
        self.title = self.row.get("video", self.id)
        self.name = f"{self.id} {self.title}" if row else self.id
        self.bytes = int(row["bytes"]) if row else sum(image.stat().st_size for image in self.images)
        self.rate = float(row["fps"]) / int(row["step"]) if row else SAMPLES_PER_SECOND
        self.stereo_layout = self.row.get("stereo_layout", "mono")

    def stem(self, position):
        return self.images[position].stem

    def files(self, position):
        return [self.images[position]]

    def frames(self):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for image in checked_sizes(self.images, in_order(pool, read_or_problem, self.images)):
                if not isinstance(image, InputError):
                    self.shape = image.shape[:2]
                yield image

    def describe(self):
        height, width = self.shape
        return dict(zip(COLUMNS, (self.id, self.title, self.bytes, f"{self.rate:.6g}", width, height, self.expected, 1,
                                  self.expected, self.stereo_layout, "")))


def read_or_problem(path):
    """The image of a file, BGR uint8 (H, W, 3), or the InputError that says why there is none."""
    try:
        return read_image(path)
    except InputError as problem:
        return problem


def checked_sizes(paths, images):
    """Yields the images of the paths. In place of each that has another size than the first comes an InputError, always
    the one that names the first such image."""
    first = problem = None
    for path, image in zip(paths, images):
        if not isinstance(image, InputError):
            first = first or (path, image.shape)
            if image.shape != first[1]:
                (H, W), (height, width) = first[1][:2], image.shape[:2]
                image = problem = problem or InputError(
                    f"{path} is {width} x {height} pixels, {first[0]} {W} x {H}: frames of a video must have one size; "
                    "delete the folder and extract them again")
        yield image


def list_frame_folders(frames_dir, rows):
    """A `FrameFolder` for every folder in frames_dir that holds images, sorted by id; rows: of the catalogue, by id."""
    folders = list_folders(frames_dir) if frames_dir.is_dir() else []
    sources = [FrameFolder(folder, rows.get(folder.name)) for folder in folders]
    return [source for source in sources if source.images]
