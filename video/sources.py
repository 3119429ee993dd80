"""What maps are made of: a video file, or a folder of frames. Both have the same attributes and methods:

    id, title       "000" and "a.mp4"
    name            what to call it in messages: "000 a.mp4"
    path, bytes     the file or the folder, and its size
    rate            sampled frames a second, nominal
    limit           number of sampled frames where it is certain before they are read, or else infinity
    expected        the same as far as it can be told, 0 where it cannot
    stem(position)  how the image of sampled frame number `position` is called, without its ending: "000_0012"
    files(position) the files that this frame comes from
    frames()        yields the sampled frames in order, BGR uint8 (H, W, 3); an `InputError` in place of one that is bad
    every_frame()   yields (time, frame) of all frames, not only of the sampled ones, which are `count`, at `full_rate`
    picture         what the decoder gave for the latest frame of frames(), if these are planes (`video.planes`) and the
                    frame shows all of it as it is; else None
    glances()       yields (time, small grey picture, uint8) of all frames, for `cuts.find_cuts`
    times           when each sampled frame is shown, seconds; the first is at 0. The list grows as frames() yields
    end             when the last one stops being shown, seconds
    video           the `VideoFile` that the frames come from, or None where it is not there
    sound           the path of a file whose first audio stream belongs to the picture, or None
    sound_start     when the first frame is shown by that file's clock, seconds
    stereo_layout   which part of a picture was used, and the projection that it was converted from
    projection
    describe()      its row of the catalogue (`catalogue.COLUMNS`) with times and end, once frames() has ended
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise

import cv2

from errors import InputError
from files import frame_number, list_folders, list_images, read_image, read_json
from video.catalogue import title_of
from video.colour import shows_planes, to_bgr
from video.cuts import GLANCE
from video.decode import SAMPLES_PER_SECOND, VideoReader, estimated_samples, probe, views_of
from video.pipeline import in_order
from video.projection import Views, effective_layout
from video.resize import resized


class VideoFile:
    """A video file, whose frames come straight from the decoder. Raises InputError where it cannot be read."""

    def __init__(self, identity, path, stereo_layout, projection=""):
        self.id, self.path, self.settings = identity, path, (stereo_layout, projection)
        self.title, self.bytes = title_of(path), path.stat().st_size
        self.name = f"{identity} {self.title}"
        self.limit = math.inf
        self.times, self.indices, self.picture = [], [], None

    @cached_property
    def info(self):
        return probe(self.path)

    @cached_property
    def planned(self):
        """The indices of the sampled frames, as far as the packets tell."""
        return self.info.samples

    @cached_property
    def layout(self):
        return effective_layout(self.info.layout, *self.settings)

    @property
    def stereo_layout(self):
        return self.layout.stereo

    @property
    def projection(self):
        return self.layout.projection

    @property
    def rate(self):
        return self.info.rate

    @property
    def end(self):
        return float(self.info.end)

    @property
    def video(self):
        return self

    @property
    def sound(self):
        return self.path if self.info.sound else None

    @property
    def sound_start(self):
        return float(self.info.start)

    @cached_property
    def expected(self):
        try:
            return estimated_samples(self.path)
        except InputError:  # which is reported when its turn comes
            return 0

    def stem(self, position):
        if position < len(self.indices):
            index = self.indices[position]
        elif position < len(self.planned):
            index = self.planned[position]
        else:
            index = self.info.frames + position - len(self.planned)
        return f"{self.id}_{index:04d}"

    def files(self, position):
        return [self.path]

    def frames(self):
        self.times.clear()
        self.indices.clear()
        self.reader = VideoReader(self.path, self.info)
        views = views_of(self.title, self.info, *self.settings)
        for index, time, picture in self.reader.samples():
            if picture is not None:
                decoded = to_bgr(picture)
                frame = views(decoded)
                self.picture = picture if frame is decoded and shows_planes(picture) else None
                self.shape = frame.shape[:2] if index == 0 else self.shape
                self.indices.append(index)
                self.times.append(time)
                yield frame if frame.shape[:2] == self.shape else resized(frame, self.shape)
        views.judge()

    @property
    def count(self):
        return self.info.frames

    @property
    def full_rate(self):
        return self.info.fps

    def every_frame(self):
        views = Views(self.title, self.info.layout, *self.settings)
        views.watched = None  # whoever made maps of this video has been warned
        for _, time, picture in VideoReader(self.path, self.info).pictures():
            yield time, views(to_bgr(picture))

    def glances(self):
        size = dict(zip(("height", "width"), GLANCE))
        for _, time, picture in VideoReader(self.path, self.info).pictures():
            yield time, picture.reformat(**size, format="gray", interpolation="AREA").to_ndarray()

    def describe(self):
        return describe(self, self.info.fps, self.reader.read, self.info.step, self.reader.problem)


class FrameFolder:
    """A folder of images, one a frame, at 8 frames a second. row: what the catalogue of `frames_extraction` says of the
    video that they come from, or None."""

    def __init__(self, path, row=None):
        self.id, self.path, self.row = path.name, path, row or {}
        self.images = list_images(path)
        self.limit = self.expected = len(self.images)
        self.picture = None
        self.title = self.row.get("video", self.id)
        self.name = f"{self.id} {self.title}" if row else self.id
        self.bytes = int(row["bytes"]) if row else sum(image.stat().st_size for image in self.images)
        step = int(self.row.get("step", 0))
        self.rate = float(row["fps"]) / step if step else SAMPLES_PER_SECOND
        self.stereo_layout = self.row.get("stereo_layout", "mono")
        self.projection = self.row.get("projection", "equirectangular")
        self.times, self.end, self.shown_at = [], self.limit / self.rate, []
        clock = read_json(path.with_name(f"{self.id}.json")) if row else {}
        if are_times(clock.get("times"), clock.get("end"), self.limit):
            self.shown_at, self.end = clock["times"], float(clock["end"])

    @cached_property
    def seconds(self):
        """{frame number: when it is shown, seconds} of the images whose names have a number, in order."""
        times = self.shown_at or [position / self.rate for position in range(self.limit)]
        return {number: time for image, time in zip(self.images, times) if (number := frame_number(image)) is not None}

    @cached_property
    def video(self):
        """The video of the catalogue, while it is still there."""
        path = self.path.parent.parent / self.title
        is_there = self.row and path.is_file() and path.stat().st_size == self.bytes
        return VideoFile(self.id, path, self.stereo_layout, self.projection) if is_there else None

    @property
    def sound(self):
        return self.video and self.video.sound

    @property
    def sound_start(self):
        return self.video.sound_start

    def stem(self, position):
        return self.images[position].stem

    def files(self, position):
        return [self.images[position]]

    def frames(self):
        self.times.clear()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for image in checked_sizes(self.images, in_order(pool, read_or_problem, self.images)):
                if not isinstance(image, InputError):
                    self.shape = image.shape[:2]
                position = len(self.times)
                self.times.append(self.shown_at[position] if self.shown_at else position / self.rate)
                yield image

    @property
    def count(self):
        return self.limit

    @property
    def full_rate(self):
        return self.rate

    def every_frame(self):
        for frame in self.frames():
            if isinstance(frame, InputError):
                raise frame
            yield self.times[-1], frame

    def glances(self):
        for time, frame in self.every_frame():
            yield time, cv2.cvtColor(resized(frame, GLANCE), cv2.COLOR_BGR2GRAY)

    def describe(self):
        return describe(self, self.rate, self.limit, 1)


def are_times(times, end, count):
    """Whether these are the times of so many frames, one after the other, and of their end."""
    return (isinstance(times, list) and len(times) == count
            and all(type(time) in (int, float) for time in [*times, end])
            and all(before <= after for before, after in pairwise([0, *times, end])))


def describe(source, fps, frames, step, problem=""):
    """The row of a source, all of whose frames have been read. fps: of the video; frames: how many it has; step: every
    step-th one was sampled, or 0; problem: what is wrong with the video, or ""."""
    height, width = source.shape
    return {"id": source.id, "video": source.title, "bytes": source.bytes, "fps": f"{fps:.6g}", "width": width,
            "height": height, "frames": frames, "step": step, "samples": len(source.times),
            "stereo_layout": source.stereo_layout, "projection": source.projection, "problem": problem,
            "indices": [frame_number(source.stem(position)) for position in range(len(source.times))],
            "times": [round(float(time), 4) for time in source.times], "end": round(source.end, 4)}


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
