"""Videos: decoded with OpenCV, as the frames that the published weights were trained on; encoded with PyAV, whose
wheels carry an H.264 encoder (OpenCV's do not); and the overlay of a saliency map on its frame."""

import math
import os
import sys
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what FFmpeg complains of, we say in one line

import av
import cv2
import numpy as np
from tqdm import tqdm

from files import InputError, replacing

SAMPLES_PER_SECOND = 8  # as published
ALIKE = 0.93     # likeness of the halves of a stereo frame; measured: 0.97 in one, at most 0.89 in 400 mono ones
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv",
                  ".flv", ".ogv", ".3gp")

av.logging.set_level(None)

X264 = {"preset": "veryfast"}
if cv2.checkHardwareSupport(13):  # AVX-512, with which x264 reads past its pictures: the same ones give other bytes
    X264["x264-params"] = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"


class VideoInfo(NamedTuple):
    """What a video's header says, as far as it can be believed."""

    fps: float
    frames: int  # 0: unknown

    @property
    def step(self):
        """Every step-th frame is a sample."""
        return max(1, round(self.fps / SAMPLES_PER_SECOND))


def is_video(path):
    """Whether the path is of a video file, by its ending; hidden files are not."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")


def list_videos(folder):
    """The videos of a folder, sorted by name, hidden files left out."""
    return sorted(path for path in Path(folder).iterdir() if is_video(path))


def open_video(path):
    """A `cv2.VideoCapture` that stands before the first frame, rotated as the file says. Raises InputError."""
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that can be read, or was cut short")
    return capture


def probe(path):
    """The `VideoInfo` of a video. A variable frame rate counts by its average. Raises InputError."""
    capture = open_video(path)
    info = header(capture)
    capture.release()
    return info if info.fps else info._replace(fps=measured_fps(path) or 30.0)


def header(capture):
    """The `VideoInfo` that a `cv2.VideoCapture` has from the header alone; fps is 0 where that does not say, or takes
    the clock's ticks for frames."""
    fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoInfo(fps if 0 < fps <= 500 else 0.0, int(frames) if 0 < frames < 1e9 else 0)


def measured_fps(path):
    """Frames a second by the packets' time stamps, or None where they do not tell."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        if len(times) < 2 or times[-1] == times[0]:
            return None
        fps = float((len(times) - 1) / ((times[-1] - times[0]) * stream.time_base))
    return fps if math.isfinite(fps) and fps <= 500 else None


def left_eye(frame, stereo_layout):
    """The view of the left eye: the upper or the left half of a stereo frame, by custom."""
    if stereo_layout == "top_bottom":
        return frame[:frame.shape[0] // 2]
    if stereo_layout == "left_right":
        return frame[:, :frame.shape[1] // 2]
    return frame


def likeness(first, second):
    """Correlation of two grey views (H, W), the mean of each row taken out, as sky above ground looks alike anywhere;
    the best of three shifts by a column, for the parallax between two eyes."""
    first, second = (view - view.mean(axis=1, keepdims=True) for view in (first, second))
    length = max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-6)
    return max(float((first * np.roll(second, shift, axis=1)).sum()) for shift in (-1, 0, 1)) / length


def apparent_layout(frame):
    """The stereo_layout (see config.py) that a frame (H, W, 3) uint8 seems to have: its halves are alike."""
    grey = np.float32(cv2.cvtColor(cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY))
    likenesses = {"top_bottom": likeness(grey[:32], grey[32:]), "left_right": likeness(grey[:, :32], grey[:, 32:])}
    layout = max(likenesses, key=likenesses.get)
    return layout if likenesses[layout] > ALIKE else "mono"


def warn_of_stereo(name, frame):
    """Says so on stderr if a frame that is taken for mono seems to hold two views."""
    layout = apparent_layout(frame)
    if layout != "mono":
        tqdm.write(f"warning: {name} looks like stereo; if it is, use --stereo_layout={layout}", file=sys.stderr)


def sample_frames(path, step, stereo_layout):
    """Yields (index, frame) for every frame of a video: the left eye's view, BGR uint8, of every step-th one, None for
    those between, which are decoded but not converted. Warns of a stereo video that is taken for mono. Raises
    InputError where there is no frame at all."""
    capture = open_video(path)
    index = 0
    try:
        while capture.grab():
            frame = None
            if index % step == 0:
                decoded, frame = capture.retrieve()
                if not decoded:
                    break
                if stereo_layout == "mono" and index == SAMPLES_PER_SECOND * step:  # a second in: no longer black
                    warn_of_stereo(path, frame)
                frame = left_eye(frame, stereo_layout)
            yield index, frame
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise InputError(f"{path} has no frame that can be decoded")


def sampled(path):
    """Yields the frames (H, W, 3) of a video that are samples, 8 a second, BGR uint8."""
    return (frame for _, frame in sample_frames(path, probe(path).step, "mono") if frame is not None)


@contextmanager
def encoder(container, size, fps, **options):
    """Yields a function that takes the next frame (H, W, 3), BGR uint8, of that even size, and encodes it into an open
    container: H.264 yuv420p, with these options of libx264."""
    height, width = size
    assert height % 2 == 0 and width % 2 == 0, f"yuv420p needs an even size, got {height} x {width}"
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.options = {**X264, **options}
    yield lambda frame: container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
    container.mux(stream.encode())


@contextmanager
def video_writer(path, size, fps):
    """Yields the function of an `encoder` into an mp4 that starts playing while it loads and plays in every browser.
    Atomic."""
    options = {"movflags": "faststart"}
    with (replacing(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container,
          encoder(container, size, fps, crf="21") as encode):
        yield encode


def write_video(path, frames, fps):
    """Encodes frames, of one even size, as `video_writer` does."""
    frames = iter(frames)
    first = next(frames)
    with video_writer(path, first.shape[:2], fps) as write:
        for frame in chain([first], frames):
            write(frame)


class OverlayWriter:
    """A context: writes the overlay video frame by frame, if there is one. max_height: its rows at most."""

    def __init__(self, path, fps, max_height):
        self.path, self.fps, self.max_height = path, fps, max_height

    def __enter__(self):
        self.stack, self.encode = ExitStack().__enter__(), None
        return self

    def write(self, frame, saliency):
        """Adds a frame (BGR) with its map (uint8)."""
        if self.encode is None:
            self.size = even_size(*frame.shape[:2], self.max_height)
            self.encode = self.stack.enter_context(video_writer(self.path, self.size, self.fps))
        self.encode(overlay(frame, saliency, self.size))

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)


# ------------------------------------------------------------------------------------------------------------- overlay


def even_size(height, width, max_height):
    """The size of an overlay: the frame's, at most max_height rows, both sides even."""
    scale = min(1.0, max_height / height)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


# By grey level of the map: the colour of the glow, BGR, and its opacity. The colours start at a visible purple rather
# than at black, and nothing is laid over what nobody looks at.
GLOW = cv2.applyColorMap(np.linspace(70, 255, 256).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]
OPACITY = 0.85 * np.linspace(0, 1, 256, dtype=np.float32) ** 0.8
BRIGHTNESS = 0.85  # of the frame below, so that the glow stands out in a sunny scene as well
LEFT_OF_FRAME = np.round(255 * BRIGHTNESS * (1 - OPACITY)).astype(np.uint8)[:, None].repeat(3, axis=1)[:, None]
ADDED_GLOW = np.round(OPACITY[:, None] * GLOW).astype(np.uint8)[:, None]


def overlay(frame, saliency, size):
    """The frame (BGR) with its saliency map (uint8) glowing over it: BGR uint8 of (height, width) `size`."""
    height, width = size
    frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    saliency = cv2.cvtColor(cv2.resize(saliency, (width, height), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.multiply(frame, cv2.LUT(saliency, LEFT_OF_FRAME), scale=1 / 255), cv2.LUT(saliency, ADDED_GLOW))
