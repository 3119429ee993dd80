"""Decoding of video files with OpenCV, as the frames that the published weights were trained on were decoded, and
sampling at 8 frames a second (section 4.1 of the paper)."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import av
import cv2

from errors import InputError
from video.stereo import left_eye, warn_of_stereo

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # no warnings of FFmpeg on stderr: our own error is one line

SAMPLES_PER_SECOND = 8  # as published
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv",
                  ".flv", ".ogv", ".3gp")


class VideoInfo(NamedTuple):
    """What a video's header says, as far as that is plausible."""

    fps: float   # frames a second
    frames: int  # number of frames; 0: unknown

    @property
    def step(self):
        """Every step-th frame is sampled."""
        return max(1, round(self.fps / SAMPLES_PER_SECOND))


def is_video(path):
    """Whether the path is a file with a video's suffix, and not a hidden one."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")


def list_videos(folder):
    """The paths of a folder's videos, sorted by name, without hidden files."""
    return sorted(path for path in Path(folder).iterdir() if is_video(path))


def open_video(path):
    """A `cv2.VideoCapture` of a file, before its first frame. It rotates frames as the file says. Raises InputError if
    the file does not exist or is not a video."""
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that can be read, or was cut short")
    return capture


def probe(path):
    """The `VideoInfo` of a video file. If the header does not say the rate, the average rate is measured. Raises
    InputError as `open_video` does."""
    capture = open_video(path)
    info = header(capture)
    capture.release()
    return info if info.fps else info._replace(fps=measured_fps(path) or 30.0)


def header(capture):
    """The `VideoInfo` in the header of a `cv2.VideoCapture`. fps is 0 if the header does not say it, or says an absurd
    rate: some give the ticks of the clock instead."""
    fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoInfo(fps if 0 < fps <= 500 else 0.0, int(frames) if 0 < frames < 1e9 else 0)


def measured_fps(path):
    """Frames a second, on average, by the packets' time stamps, or None if there are no usable ones."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        if len(times) < 2 or times[-1] == times[0]:
            return None
        fps = float((len(times) - 1) / ((times[-1] - times[0]) * stream.time_base))
    return fps if math.isfinite(fps) and fps <= 500 else None


def sample_frames(path, step, stereo_layout):
    """Yields (index, frame) for every frame of a video file. Of every step-th one, `frame` is the left eye's view, BGR
    uint8 (H, W, 3); of those between it is None: they are decoded, but not converted.

    Warns on stderr if a video that is treated as mono looks like stereo. Raises InputError if no frame can be decoded.
    """
    capture = open_video(path)
    index = 0
    try:
        while capture.grab():
            frame = None
            if index % step == 0:
                decoded, frame = capture.retrieve()
                if not decoded:
                    break
                if stereo_layout == "mono" and index == SAMPLES_PER_SECOND * step:  # after 1 s: no longer black
                    warn_of_stereo(path, frame)
                frame = left_eye(frame, stereo_layout)
            yield index, frame
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise InputError(f"{path} has no frame that can be decoded")


def sampled(path):
    """Yields the sampled frames of a mono video file, 8 a second, BGR uint8 (H, W, 3)."""
    return (frame for _, frame in sample_frames(path, probe(path).step, "mono") if frame is not None)
