"""The gate of flow: 1 where the picture changes, 0 where it rests, at the seam and in noise too."""

import cv2
import numpy as np
import pytest
from flow_frames import texture

from flow.dis import boxes_around, dis_flow, gated_dis_flow, wrapped_greys
from flow.gate import change_gate
from synthetic.camera import rotation
from synthetic.discs import Disc, frame, true_flow

STRAIGHT = np.eye(3)


def gate_of(first, second):
    """The gate (H, W) of a pair of frames."""
    greys, pad = wrapped_greys((first, second))
    return change_gate(*greys)[:, pad:-pad]


def noisy(picture, rng, level=2.0):
    """The picture as a camera with noise of that standard deviation takes it: uint8."""
    return np.uint8(np.clip(picture + level * rng.standard_normal(picture.shape) + 0.5, 0, 255))


def pair_with_disc(degrees_a_second, contrast, lon=0.0, camera=STRAIGHT, height=192):
    """(two frames 1/8 s apart, without noise, and their true flow): a disc of 8 degrees that moves to the east."""
    still = np.float32(texture(height, 2 * height))
    disc = Disc(np.float32(texture(height, 2 * height, seed=5)), np.array([np.cos(lon), np.sin(lon), 0]),
                np.radians(8), np.array([0, 0, 1]), np.radians(degrees_a_second), contrast)
    cameras, times = (STRAIGHT, camera), (0, 1 / 8)
    frames = [frame(still, [disc], camera, time, height) for camera, time in zip(cameras, times)]
    return frames, true_flow([disc], cameras, times, height)


def test_frames_that_repeat_have_no_flow():
    image = texture(48, 96)
    assert not gate_of(image, image).any() and not gated_dis_flow((image, image)).any()


@pytest.mark.parametrize("shift", [1, 6])
def test_where_all_moves_flow_is_that_of_dis_bit_for_bit(shift):
    image = texture(96, 192)
    image[:40] = 200  # a sky without texture, where nothing seems to change
    pair = image, np.roll(image, shift, axis=1)
    assert (gate_of(*pair) == 1).all()
    np.testing.assert_array_equal(gated_dis_flow(pair), dis_flow(pair))


@pytest.mark.parametrize("level", [0.0, 0.5, 3.0])
def test_what_moves_is_kept_and_what_rests_is_not(level):
    rng = np.random.default_rng(3)
    frames, truth = pair_with_disc(30, 1.0)
    gate = gate_of(*(noisy(picture, rng, level) for picture in frames))
    moves = np.hypot(truth[..., 0], truth[..., 1]) > 0
    assert gate[moves].mean() > 0.99 and gate[~moves].mean() < 0.06 and (gate == 0).mean() > 0.85


@pytest.mark.parametrize(("speed", "contrast"), [(2, 1.0), (4, 0.5), (20, 0.1)])
def test_slow_and_faint_motion_is_not_frozen(speed, contrast):
    rng = np.random.default_rng(4)
    frames, truth = pair_with_disc(speed, contrast)
    gate = gate_of(*(noisy(picture, rng, 0.5) for picture in frames))
    assert gate[np.hypot(truth[..., 0], truth[..., 1]) > 0].mean() > 0.9


def test_another_exposure_is_no_motion():
    rng = np.random.default_rng(5)
    frames, truth = pair_with_disc(30, 1.0)
    moves = np.hypot(truth[..., 0], truth[..., 1]) > 0
    gate = gate_of(noisy(frames[0] * 0.8, rng), noisy(frames[1] * 0.85 + 6, rng))
    assert gate[moves].mean() > 0.95 and gate[~moves].mean() < 0.06


def test_a_camera_that_turns_opens_the_gate_everywhere():
    rng = np.random.default_rng(6)
    frames, _ = pair_with_disc(0, 1.0, camera=rotation((1, 2, 3), np.radians(1)))
    assert (gate_of(*(noisy(picture, rng) for picture in frames)) == 1).all()


def test_the_seam_is_as_good_as_anywhere_else():
    pair = [np.uint8(picture) for picture in pair_with_disc(30, 1.0, np.pi)[0]]
    gate = gate_of(*pair)
    assert (gate[90:102, [0, -1]] == 1).all()
    for columns in (2, 192):  # multiples of the step at which change is looked for
        rolled = gate_of(*(np.roll(picture, columns, axis=1) for picture in pair))
        np.testing.assert_allclose(rolled, np.roll(gate, columns, axis=1), atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 35), (200, 401), (16, 400)])
def test_frames_of_any_size(height, width):
    rng = np.random.default_rng(7)
    first, second = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    gate = gate_of(first, second)
    assert gate.shape == (height, width) and gate.dtype == np.float32 and 0 <= gate.min() <= gate.max() <= 1
    black = np.zeros_like(first)
    assert not gate_of(black, black).any() and cv2.countNonZero(gate_of(black, black + 1)) == 0


def test_flow_of_boxes_is_as_good_as_that_of_the_whole_frame():
    frames, truth = pair_with_disc(30, 1.0, lon=3.0)
    pair = [np.uint8(picture) for picture in frames]
    greys, pad = wrapped_greys(pair)
    gate = change_gate(*greys)
    boxes = boxes_around(gate, pad)
    assert sum(gate[box].size for box in boxes) < 0.3 * gate.size
    inside = np.zeros(gate.shape, int)
    for box in boxes:
        inside[box] += 1
    assert inside.max() == 1 and (inside[:, pad:-pad][gate[:, pad:-pad] > 0] == 1).all()
    moves = np.hypot(truth[..., 0], truth[..., 1]) > 0
    error, of_whole = (np.abs(flow_of(pair) - truth)[moves].mean() for flow_of in (gated_dis_flow, dis_flow))
    print(error, of_whole)
    assert error < 1.1 * of_whole


def test_boxes_join_until_none_touch_and_are_the_frame_where_they_would_be_most_of_it():
    gate = np.zeros((192, 480), np.float32)
    gate[20, 100] = gate[30, 120] = gate[150, 300] = 1
    gate[100, 5] = 1  # of the columns that repeat the other side
    assert boxes_around(gate, 48) == [(slice(0, 48), slice(80, 144)), (slice(128, 168), slice(280, 320))]
    assert boxes_around(np.ones_like(gate), 48) == [(slice(None), slice(None))]
    assert boxes_around(np.zeros_like(gate), 48) == []
