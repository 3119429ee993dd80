"""Predicts where people look while a 360° video comes in, and shows it on a page at http://127.0.0.1:8360.

    python live.py --source=clip.mp4                       a file, at the pace at which it plays
    python live.py --source=0                              the first camera
    python live.py --source=rtsp://192.168.0.7/360         a stream
    python live.py --source=0 --live_file=recording.mp4    also writes the overlay

Eight frames a second get a map each, one frame after it came: a frame's optical flow is to the next. A frame that comes
while there is no time for it is dropped, so what is shown does not fall behind. Ctrl-C ends it and finishes the file.
"""

from errors import InputError, run, say  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

import math
import signal
import threading
import time
from collections import deque
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from tqdm import tqdm

from checks import printable
from distributed import choose_device
from flow.colours import flow_to_colour
from flow.dis import MIN_ROWS
from flow.methods import flow_settings, load_flows
from maps.levels import grey_levels
from model import load_fitting_model
from provenance import check_outputs
from settings import configure
from spherical_conv import compile_kernels
from video.colour import shows_planes, to_bgr
from video.decode import SAMPLES_PER_SECOND, VideoReader, open_stream, probe, stream_pictures, views_of
from video.pipeline import END, delivered, join_thread, read_ahead, serial_opencv, write_behind
from video.planes import even_size, size_of, to_planes
from video.projection import Layout, Views, declared_layout
from video.resize import limit_rows, resized
from viewer.overlay import OverlayWriter
from viewer.server import LivePage
from windows import SteppedWindows

PATIENCE = 10       # seconds to wait for a stream
RATE_SPAN = 5       # seconds over which the frames/s shown are averaged


class LiveFrame(NamedTuple):
    """A frame that is to be predicted."""

    slot: int           # its number among all that were due, 8 a second
    arrived: float      # when it came, time.monotonic()
    image: np.ndarray   # (H, W, 3) BGR uint8, for the model
    picture: object = None  # the same to be shown, as `to_planes` takes it, in full size


# ---------------------------------------------------------------------------------------------------------- the source


class Source:
    """What frames come from. `source`, stereo_layout, projection: see config.py. rows: what is shown has at most so
    many; model_rows: what the model reads is first reduced to so many, since that takes little time. Raises InputError
    where it cannot be opened.

    frames: yields a `LiveFrame` 8 times a second, in real time. When it has come to its end without an error, `ended`
    says why, and `vanished` whether the source should not have ended.
    """

    def __init__(self, source, stereo_layout, rows, projection="", model_rows=math.inf):
        self.rows, self.model_rows, self.settings = rows, model_rows, (stereo_layout, projection)
        self.name = f"camera {source}" if source.isdecimal() else printable(source)
        self.capture = self.container = self.info = self.views = None
        if source.isdecimal():
            self.capture = cv2.VideoCapture(int(source))
        elif "://" in source and not Path(source).is_file():
            self.container = open_stream(source, PATIENCE)
        else:
            self.path, self.info = source, probe(source)
        if not (self.info or self.container or (self.capture and self.capture.isOpened())):
            raise InputError(f"{self.name} cannot be opened; source is the number of a camera, a video file or the URL "
                             "of a stream")
        self.ended, self.vanished, self.stopped = "", False, threading.Event()
        self.end = 0.0      # when the last frame of the file that is written stops being shown, seconds

    @property
    def rate(self):
        """Frames a second that are due."""
        return self.info.rate if self.info else SAMPLES_PER_SECOND

    def frames(self):
        start, last, shape = time.monotonic(), -1, None
        images = self.of_file if self.info else self.of_stream if self.container else self.of_camera
        self.vanished = not self.info   # what has an end of its own says so
        for slot, decoded in images(start):
            if slot == last:
                continue
            image, picture = self.viewed(decoded)
            size = size_of(picture)
            if shape not in (None, size):
                self.ended = f"{self.name} changed its frames' size from {shape} to {size}"
                self.vanished = True
                return
            if len(image) < MIN_ROWS:
                raise InputError(f"{self.name} has frames of {len(image)} rows; {MIN_ROWS} is the least")
            shape, last = size, slot
            yield LiveFrame(slot, time.monotonic(), image, picture)
        if not self.stopped.is_set():
            seconds = time.monotonic() - start
            self.ended = (f"{self.name} sent no more frames after {seconds:.0f} s" if self.vanished else
                          f"{self.name} ended after {seconds:.0f} s")

    def viewed(self, decoded):
        """(image, picture), as a `LiveFrame` has them, of an `av.VideoFrame` or of a camera's BGR frame."""
        planes = not isinstance(decoded, np.ndarray) and shows_planes(decoded)
        if planes:
            decoded = to_planes(decoded, even_size(*size_of(decoded), 2 * self.rows))
        frame = decoded if isinstance(decoded, np.ndarray) else to_bgr(decoded)
        view = self.views(limit_rows(frame, 2 * self.rows))
        if not (planes and view is frame):
            return limit_rows(view, self.model_rows), view
        return to_bgr(to_planes(decoded, even_size(*size_of(decoded), self.model_rows))), decoded

    def of_camera(self, start):
        """Yields (slot, frame, BGR) of each frame of a camera, when it comes; start: time.monotonic()."""
        self.views = Views(self.name, Layout(), *self.settings)
        before = -1
        while self.capture.grab() and not self.stopped.is_set():
            slot = int((time.monotonic() - start) * SAMPLES_PER_SECOND)
            if slot != before:
                decoded, image = self.capture.retrieve()
                if not decoded:
                    return
                yield slot, image
            before = slot

    def of_file(self, start):
        """Yields (slot, `av.VideoFrame`) of each sampled frame of a file, when its time has come."""
        reader = VideoReader(self.path, self.info)
        self.views = views_of(self.name, self.info, *self.settings)
        for _, shown, picture in reader.samples():
            if picture is not None:
                self.stopped.wait(max(0.0, start + shown - time.monotonic()))
                if self.stopped.is_set():
                    return
                yield round(shown * self.rate), picture
        self.views.judge()
        self.vanished = bool(reader.problem)

    def of_stream(self, start):
        """Yields (slot, `av.VideoFrame`) of each frame of a stream, when it comes. A stream of a known length, which
        comes faster, plays at its own pace."""
        lasts, before = (self.container.duration or 0) / av.time_base, -1
        for shown, picture in stream_pictures(self.container, self.name):
            if self.views is None:
                self.views = Views(self.name, declared_layout(picture), *self.settings)
            if lasts:
                self.stopped.wait(max(0.0, start + shown - time.monotonic()))
            if self.stopped.is_set():
                return
            slot = int((shown if lasts else time.monotonic() - start) * SAMPLES_PER_SECOND)
            if slot != before:
                yield slot, picture
            before, self.vanished = slot, shown < 0.9 * lasts or not lasts

    def release(self):
        """Closes the camera or the stream."""
        if self.capture:
            self.capture.release()
        if self.container:
            self.container.close()


@contextmanager
def newest(source):
    """Yields an iterator over the source's frames, which a thread reads. Each time it gives the newest one; those that
    came before it meanwhile are dropped."""
    changed, latest = threading.Condition(), deque(maxlen=1)

    def put(item):
        with changed:
            latest.append(item)
            changed.notify()

    def read():
        try:
            for frame in source.frames():
                put((frame, None))
            problem = None
        except BaseException as failure:
            problem = failure
        while latest and not source.stopped.is_set():  # the last frame must not be replaced by the end
            time.sleep(0.01)
        put((END, problem))

    def get():
        with changed:
            while not latest:
                changed.wait(0.5)
            return latest.popleft()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield delivered(get)
    finally:
        source.stopped.set()
        join_thread(thread)
        source.release()


# ------------------------------------------------------------------------------------------------------------ the loop


def live_inputs(frames, flow, resolution, flow_rows):
    """Yields (frame, input of the model: uint8 (height, width, C)) for each `LiveFrame`, as they come. flow: a
    function from a pair of frames to its flow, or None. With flow a frame comes when the next one is there, and the
    last one repeats the flow before it; see `windows.model_inputs`."""
    if flow is None:
        for frame in frames:
            yield frame, resized(frame.image, resolution)
        return
    before = colour = None
    for frame in frames:
        current = frame, limit_rows(frame.image, flow_rows), resized(frame.image, resolution)
        if before:
            colour = resized(flow_to_colour(flow((before[1], current[1]))), resolution)
            yield before[0], np.concatenate([before[2], colour], axis=2)
        before = current
    if before:
        colour = np.full_like(before[2], 255) if colour is None else colour
        yield before[0], np.concatenate([before[2], colour], axis=2)


class Throughput:
    """Counts frames, those dropped, and the latency from a frame's coming to its map."""

    def __init__(self):
        self.start, self.recent, self.frames, self.slots = time.monotonic(), deque(), 0, 0
        self.latency = self.total_latency = self.worst = 0.0

    def count(self, frame):
        now = time.monotonic()
        self.recent.append(now)
        while now - self.recent[0] > RATE_SPAN:
            self.recent.popleft()
        self.frames, self.slots, self.latency = self.frames + 1, frame.slot + 1, now - frame.arrived
        self.total_latency, self.worst = self.total_latency + self.latency, max(self.worst, self.latency)

    @property
    def dropped(self):
        return self.slots - self.frames

    def current(self):
        """The rate and the latency of the last few seconds, in a few words."""
        span = self.recent[-1] - self.recent[0]
        rate = f"{(len(self.recent) - 1) / span:.1f} frames/s, " if span else ""
        return f"{rate}latency {1000 * self.latency:.0f} ms"

    def summary(self):
        seconds, count = time.monotonic() - self.start, max(1, self.frames)
        return (f"{self.frames} maps in {seconds:.1f} s ({self.frames / seconds:.1f} frames/s), latency "
                f"{1000 * self.total_latency / count:.0f} ms on average and {1000 * self.worst:.0f} ms at most, "
                f"{self.dropped} frames left out")


def predict_live(source, step, flow, page):
    """Predicts, shows and writes until the source ends or Ctrl-C; returns the `Throughput`. The file is finished in
    both cases. step: `SteppedWindows`."""
    writers = [OverlayWriter(config.live_file, source, config.overlay_height)] if config.live_file else []
    throughput, first = Throughput(), None
    to_inputs = partial(live_inputs, flow=flow, resolution=config.resolution, flow_rows=config.live_flow_resolution)
    with write_behind(writers) as write, tqdm(unit="frame", bar_format="{n} frames{postfix}", mininterval=1) as bar:
        try:
            with newest(source) as frames, read_ahead(to_inputs(frames), 1) as inputs:
                for frame, model_input in inputs:
                    picture = frame.picture, grey_levels(step(model_input))
                    first = frame.slot if first is None else first
                    source.end = (frame.slot + 1 - first) / source.rate
                    write(*picture, (frame.slot - first) / source.rate)
                    throughput.count(frame)
                    page.show(*picture, throughput.current())
                    bar.set_postfix_str(f"{throughput.current()}, {throughput.dropped} left out", refresh=False)
                    bar.update()
        except KeyboardInterrupt:
            source.ended = "stopped"
    return throughput


def main(argv):
    configure(config, argv)
    if not config.source.isdecimal() and "://" not in config.source:
        check_outputs({"live_file": config.live_file},
                      {"source": config.source, "inference_model": config.inference_model})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    device = choose_device(config.device)
    model = load_fitting_model(config.inference_model, device, config.geometry, config.of_available)
    flow = load_flows(flow_settings(config), device).of_pair if config.of_available else None
    model_rows = 2 * max(config.resolution[0], config.live_flow_resolution if flow else 0)
    source = Source(config.source, config.stereo_layout, config.overlay_height, config.projection, model_rows)
    windows = model, config.sequence_length, config.overlap, device
    compile_kernels(device, say)
    SteppedWindows(*windows)(np.zeros((*config.resolution, model.input_dim), np.uint8))  # the first one takes seconds
    with serial_opencv(), LivePage(config.live_port, source.name) as page:
        print(f"{source.name}: look at {page.address} (Ctrl-C ends)", flush=True)
        throughput = predict_live(source, SteppedWindows(*windows), flow, page)
    print(throughput.summary())
    if config.live_file and throughput.frames:
        print(f"overlay {config.live_file}")
    if source.vanished:
        raise InputError(source.ended)
    print(source.ended)


if __name__ == "__main__":
    run(main)
