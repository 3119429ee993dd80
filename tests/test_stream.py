"""Windows over frames that come one by one, and the threads between the stages."""

import threading
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import SST_Sal
from video.pipeline import FRAMES_AHEAD, SHOWN_AHEAD, ahead, behind
from windows import SteppedWindows, finished_windows, stream_maps, stream_windows
from windows_on_disk import Video, split_windows

LENGTHS = st.tuples(st.integers(1, 9), st.integers(0, 8)).filter(lambda sizes: sizes[1] < sizes[0])


@given(st.integers(0, 60), LENGTHS)
def test_windows_are_those_of_a_video_of_known_length(frames, sizes):
    known = split_windows(Video("000", [Path(f"{k}.png") for k in range(frames)]), *sizes)
    streamed = [(clip, first, kept) for clip, first, kept in stream_windows(range(frames), *sizes)]
    assert streamed == [(list(range(window.start, window.stop)), window.start, window.first) for window in known]


@given(st.integers(1, 60), LENGTHS, st.data())
def test_windows_of_a_run_that_goes_on(frames, sizes, data):
    done = data.draw(st.integers(0, frames))
    kept = finished_windows(done, *sizes)
    first = max(0, kept - sizes[0])
    whole = list(stream_windows(range(frames), *sizes))
    assert kept <= done and (kept == 0 or kept in {first + len(clip) for clip, first, _ in whole})
    rest = list(stream_windows(range(first, frames), *sizes, first, kept))
    assert rest == [window for window in whole if window[2] >= kept]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), LENGTHS)
def test_frames_one_at_a_time_have_the_maps_of_the_windows(windows, sizes):
    length, overlap = sizes
    frames = np.random.default_rng(length).integers(256, size=(length + (windows - 1) * (length - overlap), 6, 8, 3))
    frames, device = frames.astype(np.uint8), torch.device("cpu")  # the last window ends with the last frame
    torch.manual_seed(overlap)
    model = SST_Sal(3, 4, "exact", latitude=True).eval()
    windowed = [saliency for _, saliency in stream_maps(stream_windows(frames, *sizes), model, device)]
    step = SteppedWindows(model, *sizes, device)
    np.testing.assert_allclose([step(frame) for frame in frames], windowed, atol=1e-6)
    assert len(step.states) <= -(-length // (length - overlap))


def test_ahead_reads_a_bounded_number_in_order_and_stops():
    read, threads = [], threading.active_count()
    with ahead((read.append(k) or k for k in count()), FRAMES_AHEAD) as items:
        assert list(islice(items, 5)) == [0, 1, 2, 3, 4]
    assert len(read) <= 5 + FRAMES_AHEAD + 2
    assert threading.active_count() == threads


def test_ahead_passes_errors_on():
    with pytest.raises(ZeroDivisionError), ahead((1 // k for k in (1, 0)), 3) as items:
        assert next(items) == 1
        next(items)


class Writer:
    def __init__(self, fail_at=None):
        self.items, self.fail_at, self.failure = [], fail_at, "not left"

    def __enter__(self):
        return self

    def write(self, frame, saliency):
        if len(self.items) == self.fail_at:
            raise OSError("disk full")
        self.items.append((frame, saliency))

    def __exit__(self, failure, *_):
        self.failure = failure


def test_behind_hands_everything_to_every_writer():
    writers = Writer(), Writer()
    with behind(writers) as write:
        for k in range(50):
            write(k, -k)
    assert all(writer.items == [(k, -k) for k in range(50)] and writer.failure is None for writer in writers)
    with behind([]) as write:
        write(1, 2)


def test_an_error_of_a_writer_or_of_the_block_reaches_all():
    writers = Writer(), Writer(fail_at=2)
    with pytest.raises(OSError, match="disk full"), behind(writers) as write:
        for k in range(10 * SHOWN_AHEAD):
            write(k, k)
    assert writers[0].failure is OSError
    writer = Writer()
    with pytest.raises(KeyError), behind([writer]) as write:
        write(1, 1)
        raise KeyError
    assert writer.failure is KeyError
