"""Predicts where people look while a 360° video comes in, and shows it on a page at http://127.0.0.1:8360.

    python live.py --source=clip.mp4                       a file, at the pace at which it plays
    python live.py --source=0                              the first camera
    python live.py --source=rtsp://192.168.0.7/360         a stream
    python live.py --source=0 --live_file=recording.mp4    also writes the overlay

Eight frames a second get a map each, one frame after it came: a frame's optical flow is to the next. A frame that comes
while there is no time for it is dropped, so what is shown does not fall behind. Ctrl-C ends it and finishes the file.
"""

import signal
import threading
import time
from collections import deque
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

import config
from distributed import choose_device
from errors import InputError, run
from flow.colours import flow_to_colour
from flow.dis import SMALLEST, dis_flow, dis_flows
from inference import grey_levels, load_checked_model, load_flow_method
from settings import configure
from video.decode import SAMPLES_PER_SECOND, header, open_video, probe
from video.pipeline import END, ahead, behind, delivered, join, serial_opencv
from video.resize import limit_rows, resized
from video.stereo import left_eye, warn_of_stereo
from viewer.overlay import OverlayWriter
from viewer.server import LivePage
from windows import SteppedWindows

PATIENCE = 10       # seconds to wait for a stream
RATE_SPAN = 5       # seconds that the frames/s shown are an average of


class Sample(NamedTuple):
    """A frame that is to be predicted."""

    slot: int           # its number among all that were due, 8 a second
    arrived: float      # when, time.monotonic()
    frame: np.ndarray   # (H, W, 3) BGR uint8


# ---------------------------------------------------------------------------------------------------------- the source


class Source:
    """What frames come from. `source`: see config.py. Frames of more than `rows` rows are reduced to so many, before
    all else: there is no time to do more with them. Raises InputError where it cannot be opened.

    samples: yields a `Sample` 8 times a second, in real time; when it ends without an error, `ended` says why, and
    `vanished` whether it should not have.
    """

    def __init__(self, source, stereo_layout, rows):
        self.stereo_layout, self.rows = stereo_layout, rows
        self.name = f"camera {source}" if source.isdecimal() else source
        self.info = None    # of a video whose length is known, which plays at its own pace
        if source.isdecimal():
            self.capture = cv2.VideoCapture(int(source))
        elif "://" in source:
            self.capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 1000 * PATIENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * PATIENCE])
            info = header(self.capture)
            self.info = info if info.fps and info.frames else None
        else:
            self.capture, self.info = open_video(source), probe(source)
        if not self.capture.isOpened():
            raise InputError(f"{self.name} cannot be opened; source is the number of a camera, a video file or the URL "
                             "of a stream")
        self.ended, self.vanished, self.stopped = "", False, threading.Event()

    @property
    def rate(self):
        """Samples a second."""
        return self.info.fps / self.info.step if self.info else SAMPLES_PER_SECOND

    def samples(self):
        start, last, shape, info = time.monotonic(), -1, None, self.info
        for index in count():
            if not self.capture.grab():
                break
            if info and index % info.step:
                continue
            if info:
                self.stopped.wait(max(0.0, start + index / info.fps - time.monotonic()))
            slot = index // info.step if info else int((time.monotonic() - start) * SAMPLES_PER_SECOND)
            if self.stopped.is_set():
                return
            if slot == last:
                continue
            decoded, frame = self.capture.retrieve()
            if not decoded:
                break
            if self.stereo_layout == "mono" and last < SAMPLES_PER_SECOND <= slot:  # a second in: no longer black
                warn_of_stereo(self.name, frame)
            frame = limit_rows(left_eye(frame, self.stereo_layout), self.rows)
            if shape not in (None, frame.shape):
                self.ended = f"{self.name} changed its frames' size from {shape[:2]} to {frame.shape[:2]}"
                self.vanished = True
                return
            if len(frame) < SMALLEST:
                raise InputError(f"{self.name} has frames of {len(frame)} rows; {SMALLEST} is the least")
            shape, last = frame.shape, slot
            yield Sample(slot, time.monotonic(), frame)
        seconds = time.monotonic() - start
        self.ended = f"{self.name} ended after {seconds:.0f} s"
        self.vanished = not info or index < 0.9 * info.frames
        if self.vanished:
            self.ended = f"{self.name} sent no more frames after {seconds:.0f} s"


@contextmanager
def newest(source):
    """Yields an iterator over the source's samples, which a thread reads: over the newest each time, those that came
    meanwhile are left out."""
    changed, waiting = threading.Condition(), deque(maxlen=1)

    def put(item):
        with changed:
            waiting.append(item)
            changed.notify()

    def work():
        try:
            for sample in source.samples():
                put((sample, None))
            problem = None
        except BaseException as failure:
            problem = failure
        while waiting and not source.stopped.is_set():  # the last frame is not to be lost
            time.sleep(0.01)
        put((END, problem))

    def get():
        with changed:
            while not waiting:
                changed.wait(0.5)
            return waiting.popleft()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield delivered(get)
    finally:
        source.stopped.set()
        join(thread)
        source.capture.release()


# ------------------------------------------------------------------------------------------------------------ the loop


def live_inputs(samples, flows, resolution, flow_rows):
    """Yields (sample, what the model reads of it: (height, width, C) uint8) as the samples come; see
    `stream.model_inputs`. With flow each one comes when the next is there, and the last repeats the flow before it."""
    if flows is None:
        for sample in samples:
            yield sample, resized(sample.frame, resolution)
        return

    def flow(pair):  # on this thread: a pool, and reading pairs ahead, would cost a live picture its time
        return dis_flow(pair) if flows is dis_flows else next(flows([pair]))

    before = colour = None
    for sample in samples:
        here = limit_rows(sample.frame, flow_rows), resized(sample.frame, resolution)
        if before:
            colour = resized(flow_to_colour(flow((before[1], here[0]))), resolution)
            yield before[0], np.concatenate([before[2], colour], axis=2)
        before = sample, *here
    if before:
        colour = np.full_like(before[2], 255) if colour is None else colour
        yield before[0], np.concatenate([before[2], colour], axis=2)


class Clockwork:
    """How fast it goes: counts frames, those left out, and the time from a frame's coming to its map."""

    def __init__(self):
        self.start, self.recent, self.frames, self.slots = time.monotonic(), deque(), 0, 0
        self.latency = self.total_latency = self.worst = 0.0

    def count(self, sample):
        now = time.monotonic()
        self.recent.append(now)
        while now - self.recent[0] > RATE_SPAN:
            self.recent.popleft()
        self.frames, self.slots, self.latency = self.frames + 1, sample.slot + 1, now - sample.arrived
        self.total_latency, self.worst = self.total_latency + self.latency, max(self.worst, self.latency)

    def pace(self):
        """How it goes at the moment, in a few words."""
        span = self.recent[-1] - self.recent[0]
        rate = f"{(len(self.recent) - 1) / span:.1f} frames/s, " if span else ""
        return f"{rate}latency {1000 * self.latency:.0f} ms"

    def summary(self):
        seconds, count = time.monotonic() - self.start, max(1, self.frames)
        return (f"{self.frames} maps in {seconds:.1f} s ({self.frames / seconds:.1f} frames/s), latency "
                f"{1000 * self.total_latency / count:.0f} ms on average and {1000 * self.worst:.0f} ms at most, "
                f"{self.slots - self.frames} frames left out")


def predict_live(source, model, flows, device, page):
    """Predicts, shows and writes until the source ends or Ctrl-C; returns the `Clockwork`. What is written is finished
    in both cases."""
    steps = SteppedWindows(model, config.sequence_length, config.overlap, device)
    writers = [OverlayWriter(config.live_file, source.rate, config.overlay_height)] if config.live_file else []
    clockwork, shown = Clockwork(), None
    with behind(writers) as write, tqdm(unit="frame", bar_format="{n} frames{postfix}", mininterval=1) as bar:
        try:
            with (newest(source) as samples,
                  ahead(live_inputs(samples, flows, config.resolution, config.live_flow_resolution), 1) as inputs):
                for sample, read in inputs:
                    levels = grey_levels(steps(read))
                    if shown:  # in the file a picture stands still for as long as the ones left out would have taken
                        for _ in range(sample.slot - shown[0] - 1):
                            write(*shown[1:])
                    shown = sample.slot, sample.frame, levels
                    write(*shown[1:])
                    clockwork.count(sample)
                    page.show(*shown[1:], clockwork.pace())
                    left_out = clockwork.slots - clockwork.frames
                    bar.set_postfix_str(f"{clockwork.pace()}, {left_out} left out", refresh=False)
                    bar.update()
        except KeyboardInterrupt:
            source.ended = "stopped"
    return clockwork


def main(argv):
    configure(config, argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    device = choose_device(config.device)
    model = load_checked_model(device)
    flows = load_flow_method(device) if config.of_available else None
    source = Source(config.source, config.stereo_layout, config.overlay_height)
    frame = np.zeros((*config.resolution, model.input_dim), np.uint8)
    SteppedWindows(model, config.sequence_length, config.overlap, device)(frame)  # the first one takes seconds
    with serial_opencv(), LivePage(config.live_port, source.name) as page:
        print(f"{source.name}: look at {page.address} (Ctrl-C ends)", flush=True)
        clockwork = predict_live(source, model, flows, device, page)
    print(clockwork.summary())
    if config.live_file and clockwork.frames:
        print(f"overlay {config.live_file}")
    if source.vanished:
        raise InputError(source.ended)
    print(source.ended)


if __name__ == "__main__":
    run(main)
