"""Windows of the recurrent state over frames that come one by one, and what the model reads of each."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from model import SST_Sal
from windows import WINDOWS_AT_ONCE, SteppedWindows, finished_windows, model_inputs, split_windows, window_maps

LENGTHS = st.tuples(st.integers(1, 9), st.integers(0, 8)).filter(lambda sizes: sizes[1] < sizes[0])
CPU = torch.device("cpu")


@given(st.integers(0, 120), st.tuples(st.integers(1, 25), st.integers(0, 24)).filter(lambda sizes: sizes[1] < sizes[0]))
def test_every_frame_gets_exactly_one_map(count, sizes):
    length, overlap = sizes
    windows = list(split_windows(range(count), length, overlap))
    assert [position for clip, first, kept in windows for position in range(kept, first + len(clip))] == [*range(count)]
    for clip, first, kept in windows:
        assert clip == [*range(first, first + min(length, count))]
        assert 0 <= first <= kept < first + len(clip) <= count
    for _, first, kept in windows[1:]:
        assert kept - first >= overlap  # the state is warm


@given(st.integers(20, 200))
def test_published_windows_are_among_ours(count):
    """The published script: windows of 20 every 16 frames while they fit, maps from the fifth frame of each on."""
    published = {(start, start + 20, start + 4) for start in range(0, count - 19, 16)}
    ours = {(first, first + len(clip), kept) for clip, first, kept in split_windows(range(count), 20, 4)}
    assert published - {(0, 20, 4)} <= ours
    assert (0, 20, 0) in ours


@given(st.integers(1, 60), LENGTHS, st.data())
def test_windows_of_a_run_that_goes_on(frames, sizes, data):
    done = data.draw(st.integers(0, frames))
    kept = finished_windows(done, *sizes)
    first = max(0, kept - sizes[0])
    whole = list(split_windows(range(frames), *sizes))
    assert kept <= done and (kept == 0 or kept in {first + len(clip) for clip, first, _ in whole})
    rest = list(split_windows(range(first, frames), *sizes, first, kept))
    assert rest == [window for window in whole if window[2] >= kept]


@settings(max_examples=25)
@given(st.integers(1, 4), LENGTHS)
def test_frames_one_at_a_time_have_the_maps_of_the_windows(windows, sizes):
    length, overlap = sizes
    frames = np.random.default_rng(length).integers(256, size=(length + (windows - 1) * (length - overlap), 6, 8, 3))
    frames = frames.astype(np.uint8)  # the last window ends with the last frame
    torch.manual_seed(overlap)
    model = SST_Sal(3, 4, "exact", latitude=True).eval()
    windowed = [saliency for _, saliency in window_maps(split_windows(frames, *sizes), model, CPU)]
    step = SteppedWindows(model, *sizes, CPU)
    np.testing.assert_allclose([step(frame) for frame in frames], windowed, atol=1e-6)
    assert len(step.states) <= -(-length // (length - overlap))


def test_a_bad_frame_spoils_its_own_windows_only():
    bad = InputError("it is empty")
    frames = [*np.zeros((5, 6, 8, 3), np.uint8), bad, *np.zeros((4, 6, 8, 3), np.uint8)]
    model = SST_Sal(3, 2, "exact").eval()
    maps = dict(window_maps(split_windows(frames, 4, 1), model, CPU, lambda first, stop: first < 7))
    assert [position for position, saliency in maps.items() if saliency is bad] == [4, 5, 6]
    assert [position for position, saliency in maps.items() if saliency is None] == [7, 8, 9]
    assert all(maps[position].shape == (6, 8) for position in range(4))


@pytest.mark.parametrize("at_once", [2, 3, 9])
def test_windows_that_are_one_batch_have_the_maps_of_one_at_a_time(monkeypatch, at_once):
    """As on a GPU."""
    torch.manual_seed(0)
    frames = [*np.random.default_rng(0).integers(256, size=(27, 6, 8, 3)).astype(np.uint8)]
    frames[17] = InputError("it is empty")
    model, is_wanted = SST_Sal(3, 4, "exact", latitude=True).eval(), lambda first, stop: first != 9
    one_by_one = list(window_maps(split_windows(frames, 5, 1), model, CPU, is_wanted))
    monkeypatch.setitem(WINDOWS_AT_ONCE, "cpu", at_once)
    together = list(window_maps(split_windows(frames, 5, 1), model, CPU, is_wanted))
    assert [position for position, _ in together] == [*range(27)]
    for (position, ours), (_, expected) in zip(together, one_by_one):
        assert ours is expected or np.array_equal(ours, expected), position
    assert [position for position, saliency in together if saliency is None] == [9, 10, 11, 12]
    assert [position for position, saliency in together if saliency is frames[17]] == [17, 18, 19, 20]


# ---------------------------------------------------------------------------------------------------------- the inputs


@pytest.mark.parametrize("with_flow", [False, True])
def test_inputs_are_frames_and_flow_resized_by_area(with_flow):
    rng = np.random.default_rng(0)
    frames, flow = rng.integers(0, 256, (2, 5, 12, 24, 3), np.uint8)
    inputs = list(model_inputs(iter(frames), (6, 8), (lambda read, _: iter_with(read, flow)) if with_flow else None))
    assert len(inputs) == 5
    for model_input, frame, colours in zip(inputs, frames, flow):
        assert model_input.shape == (6, 8, 6 if with_flow else 3) and model_input.dtype == np.uint8
        for channels, image in zip((model_input[..., :3], model_input[..., 3:]), (frame, colours)[:1 + with_flow]):
            assert np.array_equal(channels, cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA))


def iter_with(frames, colours):
    """Yields the colours, one for each frame that is read."""
    yield from (colour for _, colour in zip(frames, colours))


def test_what_is_bad_stands_in_place_of_its_input():
    frames, flow = list(np.zeros((3, 12, 24, 3), np.uint8)), list(np.zeros((3, 12, 24, 3), np.uint8))
    frames[1], flow[2] = InputError("a frame"), InputError("its flow")
    inputs = list(model_inputs(frames, (6, 8), lambda read, _: iter_with(read, flow)))
    assert inputs[0].shape == (6, 8, 6) and inputs[1] is frames[1] and inputs[2] is flow[2]
    assert list(model_inputs(frames[:2], (6, 8)))[1] is frames[1]
