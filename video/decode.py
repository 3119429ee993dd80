"""Videos: decoded with OpenCV, as the frames that the published weights were trained on; encoded with PyAV, whose
wheels carry an H.264 encoder (OpenCV's do not); and the overlay of a saliency map on its frame."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import av
import cv2

from errors import InputError
from video.encode import X264
from video.stereo import left_eye, warn_of_stereo

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what FFmpeg complains of, we say in one line

SAMPLES_PER_SECOND = 8  # as published
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv",
                  ".flv", ".ogv", ".3gp")

av.logging.set_level(None)
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
