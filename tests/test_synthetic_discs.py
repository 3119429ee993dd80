"""Clips whose true motion is known: it leads every pixel of a frame to the same thing in the next one."""

import cv2
import numpy as np
from flow_frames import texture

from benchmarks.flow_quality import limit_length
from synthetic.camera import rotation
from synthetic.discs import Disc, frame, random_disc, true_flow

HEIGHT = 96
STRAIGHT = np.eye(3)


def test_a_turn_about_the_vertical_moves_all_pixels_by_as_many_columns():
    flow = true_flow([], [STRAIGHT, rotation((0, 0, 1), 2 * np.pi * 5 / (2 * HEIGHT))], (0, 1), HEIGHT)
    np.testing.assert_allclose(flow, np.broadcast_to((5, 0), flow.shape), atol=1e-3)


def test_a_disc_moves_as_fast_as_it_should_and_all_else_rests():
    disc = Disc(np.zeros((4, 8, 3), np.float32), np.array([1, 0, 0]), 0.2, np.array([0, 0, 1]), 0.4, 1.0)
    flow = true_flow([disc], [STRAIGHT] * 2, (0, 0.5), HEIGHT)
    moves = flow[..., 0] > 1e-3
    np.testing.assert_allclose(flow[moves], np.broadcast_to((0.2 * HEIGHT / np.pi, 0), flow[moves].shape), atol=1e-3)
    assert abs(moves.mean() - 0.2**2 / (2 * np.pi)) < 2e-4 and np.abs(flow[~moves]).max() < 1e-3


def test_true_motion_leads_to_the_same_colours():
    rng = np.random.default_rng(2)
    still = np.float32(cv2.GaussianBlur(texture(HEIGHT, 2 * HEIGHT), (0, 0), 2))
    discs = [random_disc(rng, [still[:, ::-1]]) for _ in range(3)]
    cameras, times = [STRAIGHT, rotation((1, 2, 5), 0.1)], (0.5, 0.625)
    before, after = (frame(still, discs, camera, time, HEIGHT) for camera, time in zip(cameras, times))
    flow = true_flow(discs, cameras, times, HEIGHT)
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    follow = cv2.remap(after, (columns + flow[..., 0]) % (2 * HEIGHT), rows + flow[..., 1], cv2.INTER_LINEAR)
    inside = np.s_[10:-10, 10:-10]  # bilinear reading ends at the seam
    print(np.median(np.abs(follow - before)[inside]), np.abs(follow - before)[inside].mean())
    assert np.abs(follow - before)[inside].mean() < 0.1 * np.abs(after - before)[inside].mean()


def test_the_yardstick_is_no_longer_near_the_poles_than_elsewhere():
    flow = true_flow([], [STRAIGHT, rotation((1, 0, 0), 0.05)], (0, 1), HEIGHT)
    limited = limit_length(flow)
    lengths = np.hypot(limited[..., 0], limited[..., 1])
    middle = np.s_[HEIGHT // 6 : -HEIGHT // 6]
    np.testing.assert_array_equal(limited[middle], flow[middle])
    assert np.hypot(flow[..., 0], flow[..., 1]).max() > 2 * lengths[middle].max()
    assert lengths.max() < 1.001 * lengths[middle].max()
