"""What the project renders: pictures of a sphere, scenes, observers of a synthetic data set, material from stills."""

import contextlib

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from files import write_image
from sphere import directions, solid_angle
from synthetic import material, observers
from synthetic.camera import camera_path, cap_pixels, dolly, look_up, rotation, tangent_plane, turn
from synthetic.landscape import EYE, ground, hills, sky
from synthetic.material import read_frames, read_still
from synthetic.noise import fractal_noise
from synthetic.scene import Scene, Thing, draw
from synthetic.shapes import PAINT, ball
from video.encode import write_video

UP = (0, 0, 1)


def unit(lat, lon):
    """The direction at latitude and longitude in degrees."""
    lat, lon = np.radians(lat), np.radians(lon)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


# ------------------------------------------------------------------------------------------------- pictures of a sphere


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1), st.floats(-7, 7))
def test_rotation_is_proper_and_keeps_its_axis(axis, angle):
    matrix = rotation(axis, angle)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(matrix @ axis, axis, atol=1e-12)
    np.testing.assert_allclose(rotation(axis, angle + 2 * np.pi), matrix, atol=1e-12)


def test_quarter_turn_about_the_vertical_takes_x_to_y():
    np.testing.assert_allclose(rotation(UP, np.pi / 2) @ (1, 0, 0), (0, 1, 0), atol=1e-15)


@settings(max_examples=20)
@given(st.integers(-40, 40))
def test_turning_by_whole_columns_rolls_the_image(columns):
    image = np.random.default_rng(0).random((13, 26, 3), np.float32)
    turned = turn(image, rotation(UP, columns * 2 * np.pi / 26))
    np.testing.assert_allclose(turned, np.roll(image, columns, axis=1), atol=1e-4)


def test_half_a_turn_about_a_level_axis_turns_the_image_upside_down():
    image = np.random.default_rng(1).random((9, 18), np.float32)
    np.testing.assert_allclose(turn(image, rotation((1, 0, 0), np.pi)), image[::-1, ::-1], atol=1e-4)


def test_turning_there_and_back_about_any_axis_keeps_a_smooth_image():
    view, matrix = directions(60, 120), rotation((1, -2, 0.5), 1.1)
    image = 0.5 + 0.3 * view @ np.float32((0.6, 0.0, 0.8))
    np.testing.assert_allclose(turn(turn(image, matrix), matrix.T), image, atol=3e-3)
    np.testing.assert_allclose(turn(image, matrix), 0.5 + 0.3 * view @ (matrix @ (0.6, 0.0, 0.8)), atol=2e-3)


def test_looking_up_beyond_a_pole_reads_the_row_half_a_turn_away():
    image = np.zeros((6, 12), np.float32)
    image[0, 8] = 1                                         # across the pole from column 2
    pole = look_up(image, np.float32([[unit(90 - 1e-3, -180 + 2.5 * 30)]]))
    assert pole[0, 0] == pytest.approx(0.5, abs=0.02)


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(1, 60), st.sampled_from([(9, 14), (31, 62), (40, 54)]))
def test_the_box_of_a_cap_holds_all_its_pixels(lat, lon, radius, size):
    rows, columns = cap_pixels(unit(lat, lon), np.radians(radius), *size)
    inside = directions(*size) @ unit(lat, lon) >= np.cos(np.radians(radius))
    assert len(np.unique(columns)) == len(columns) and len(columns) <= size[1]
    inside[np.ix_(rows, columns)] = False
    assert not inside.any()


def test_tangent_plane_measures_angles_from_its_centre():
    height, width = 36, 72
    right, up, in_front = tangent_plane(unit(0, 2.5), np.arange(height), np.arange(width), height, width)
    assert up[17, 36] == pytest.approx(np.tan(np.radians(2.5)), abs=1e-6)            # 2.5 degrees north of the centre
    assert right[17, 40] / up[17, 36] == pytest.approx(np.tan(np.radians(20)) / np.tan(np.radians(2.5)), rel=1e-5)
    assert not in_front[:, 0].any() and in_front[17, 36]
    assert np.isfinite(right).all() and np.isfinite(up).all()


@given(st.floats(-0.9, 0.9), st.floats(0.01, 3.1))
def test_moving_ahead_spreads_what_is_ahead_and_undoes_itself(beta, angle):
    ahead = np.array([0.6, 0, 0.8])
    vector = rotation((0, 1, 0), angle) @ ahead
    moved = dolly(vector, ahead, beta)
    assert np.linalg.norm(moved) == pytest.approx(1)
    stretched = np.sqrt((1 + beta) / (1 - beta)) * np.tan(angle / 2)                 # stereographic: a pure scaling
    assert np.tan(np.arccos(np.clip(moved @ ahead, -1, 1)) / 2) == pytest.approx(stretched, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(dolly(moved, ahead, -beta), vector, atol=1e-7)


def test_camera_path_keeps_still_drifts_and_shakes():
    times, start = np.arange(9) / 8, rotation((1, 1, 0), 0.3)
    still = camera_path(np.random.default_rng(0), times, start, UP, 0.0, 0.0)
    np.testing.assert_allclose(still, np.broadcast_to(start, (9, 3, 3)))
    drifting = camera_path(np.random.default_rng(0), times, np.eye(3), UP, 0.5, 0.0)
    np.testing.assert_allclose(drifting[-1], rotation(UP, 0.5), atol=1e-12)
    shaking = camera_path(np.random.default_rng(0), times, np.eye(3), UP, 0.0, 0.02)
    angles = np.arccos((np.trace(shaking, axis1=1, axis2=2) - 1) / 2)
    assert 0.002 < angles.max() <= 0.02 * np.sqrt(3)


# ------------------------------------------------------------------------------------------------------------- a scene


def test_noise_is_smooth_bounded_and_follows_its_seed():
    points = np.random.default_rng(0).uniform(-50, 50, (40_000, 3)).astype(np.float32)
    noise = fractal_noise(points, 4, 3)
    assert noise.dtype == np.float32 and np.abs(noise).max() < 1.6 and noise.std() > 0.2 and abs(noise.mean()) < 0.05
    assert np.abs(fractal_noise(points + np.float32(1e-3), 4, 3) - noise).max() < 0.05
    np.testing.assert_array_equal(fractal_noise(points[-5:], 4, 3), noise[-5:])
    assert np.abs(fractal_noise(points, 4, 4) - noise).max() > 0.5


def test_noise_finer_than_a_pixel_fades_out():
    points = np.random.default_rng(0).uniform(-9, 9, (500, 3))
    assert not fractal_noise(points, 3, 0, footprint=1.0).any()
    np.testing.assert_array_equal(fractal_noise(points, 1, 0, footprint=0.1), fractal_noise(points, 1, 0))


def test_landscape_has_no_seam():
    view, sun = directions(64, 128), np.float32(unit(20, 40))
    colour, depth = sky(view, sun, 5), np.full((64, 128), np.inf, np.float32)
    hills(view, colour, depth, sun, 5)
    ground(view, colour, depth, sun, 5)
    steps = np.abs(colour - np.roll(colour, 1, axis=1)).mean(axis=(0, 2))
    assert steps[0] < 2 * np.median(steps)
    assert np.isfinite(colour).all() and (depth[40:] < 10).all() and np.isinf(depth[:10]).all()


@pytest.mark.parametrize(("lat", "lon"), [(0, 0), (0, 179), (20, -180), (-65, 70), (88, 10), (90, 0), (-90, 0)])
def test_a_thing_covers_the_same_solid_angle_everywhere(lat, lon):
    height, width, distance, radius = 180, 360, 10.0, np.radians(12)
    size = 2 * distance * np.tan(radius)
    depth = np.full((height, width), np.inf, np.float32)
    middle = distance * unit(lat, lon)
    draw(np.zeros((height, width, 3), np.float32), depth,
         Thing(ball, tuple(middle - (0, 0, size / 2)), (0, 0, 0), size, (PAINT.red, PAINT.white)), 0.0)
    covered = np.isfinite(depth)
    area = solid_angle(height, width).numpy()[covered].sum()
    assert area == pytest.approx(2 * np.pi * (1 - np.cos(radius)), rel=0.02)
    assert (directions(height, width)[covered] @ unit(lat, lon)).min() > np.cos(radius + 0.02)


@pytest.mark.parametrize("columns", [1, 17, 31, 60])
def test_a_thing_turned_about_the_vertical_is_rolled(columns):
    pictures = []
    for azimuth in (0.4, 0.4 + columns * 2 * np.pi / 62):
        colour, depth = np.zeros((31, 62, 3), np.float32), np.full((31, 62), np.inf, np.float32)
        position = rotation(UP, azimuth) @ (5, 0, 1)
        velocity = rotation(UP, azimuth) @ (0, 1, 0)
        draw(colour, depth, Thing(ball, tuple(position), tuple(velocity), 3, (PAINT.red, PAINT.blue)), 0.5)
        pictures.append(colour)
    assert pictures[0].max() > 0.5
    np.testing.assert_allclose(pictures[1], np.roll(pictures[0], columns, axis=1), atol=1e-4)


def test_what_is_nearer_hides_what_is_behind():
    colour, depth = np.zeros((40, 80, 3), np.float32), np.full((40, 80), np.inf, np.float32)
    near = Thing(ball, (4, 0, -1), (0, 0, 0), 2, (PAINT.red, PAINT.red))
    far = Thing(ball, (9, 0, -1), (0, 0, 0), 2, (PAINT.blue, PAINT.blue))
    for thing in (near, far):
        draw(colour, depth, thing, 0.0)
    assert depth[20, 40] == pytest.approx(4, rel=1e-3)
    assert colour[20, 40, 2] > 2 * colour[20, 40, 0]                                  # red, though blue came last


def test_scenes_follow_their_seed():
    def frame(seed):
        return observers.random_scene(np.random.default_rng(seed), 24, 48).render(0.7)

    np.testing.assert_array_equal(frame(3), frame(3))
    assert np.abs(frame(3).astype(int) - frame(4)).mean() > 3


def test_rendering_leaves_the_landscape_as_it_is():
    thing = Thing(ball, (3, -3, -EYE), (0, 2, 0), 1.5, (PAINT.red, PAINT.white))
    scene = Scene(20, 40, (1, 1, 0.5), [thing], 1)
    first = scene.render(0.0)
    assert (scene.render(1.5) != first).any()
    np.testing.assert_array_equal(scene.render(0.0), first)


# -------------------------------------------------------------------------------------------------------- the data set


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_gaze_lines_parse_back(lat, lon, head_lat, head_lon):
    line = observers.gaze_lines(unit(lat, lon)[None], unit(head_lat, head_lon)[None])
    assert line.endswith("\n") and line.count("\n") == 1
    columns = line.strip().split(",")
    assert columns[1] == "1" and len(columns) == 8
    for (x, y), expected in ((columns[3:5], unit(head_lat, head_lon)), (columns[6:8], unit(lat, lon))):
        parsed = unit((float(y) - 0.5) * 180, (float(x) - 0.5) * 360)
        np.testing.assert_allclose(parsed, expected, atol=1e-3)
    assert 0 <= float(columns[6]) <= 1 and 0 <= float(columns[7]) <= 1


@given(st.floats(-89, 89), st.floats(-180, 180), st.floats(0, 3))
def test_approach_goes_a_step_along_the_great_circle(lat, lon, step):
    start, goal = unit(10, 20), unit(lat, lon)
    moved = observers.approach(start, goal, step)
    angle, left = (np.arccos(np.clip(vector @ goal, -1, 1)) for vector in (start, moved))
    assert np.linalg.norm(moved) == pytest.approx(1)
    assert left == pytest.approx(max(0, angle - step), abs=1e-5)


def test_observers_follow_the_targets_with_a_lag():
    times = np.arange(96) / observers.FPS
    targets = np.stack([[unit(5, 170 + 12 * time), unit(20, -60)] for time in times])   # (T, 2, 3), one over the seam
    gaze, head = observers.watch(np.random.default_rng(0), targets, 40)
    assert gaze.shape == head.shape == (96, 40, 3)
    np.testing.assert_allclose(np.linalg.norm(gaze, axis=-1), 1)
    far = np.degrees(np.arccos(np.einsum("tnc,toc->tno", targets, gaze).clip(-1, 1))).min(1)[24:]
    assert np.median(far) < 5 and 0.6 < (far < 10).mean() < 0.98                      # some look around
    lags = [np.degrees(np.arccos(np.einsum("tc,toc->to", targets[24 - lag:96 - lag, 0], gaze[24:]).clip(-1, 1)))
            for lag in (0, 5)]
    near = lags[0] < 8
    assert lags[1][near].mean() < lags[0][near].mean()                               # it is where the target was
    again, _ = observers.watch(np.random.default_rng(0), targets, 40)
    np.testing.assert_array_equal(again, gaze)


# -------------------------------------------------------------------------------------------------------- the material


def test_a_still_that_is_not_equirectangular_is_refused(tmp_path):
    write_image(tmp_path / "square.png", np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(InputError, match=r"square\.png must be equirectangular .* got 30 x 30"):
        read_still(tmp_path / "square.png", 20)


def test_stills_are_averaged_down_to_what_frames_need(tmp_path):
    write_image(tmp_path / "still.png", np.full((60, 120, 3), 51, np.uint8))
    still = read_still(tmp_path / "still.png", 20)
    assert still.shape == (30, 60, 3) and still.dtype == np.float32
    np.testing.assert_allclose(still, 0.2, atol=1e-6)


def test_a_video_runs_on_while_the_camera_moves(tmp_path, monkeypatch):
    greys = np.linspace(30, 220, 24).astype(np.uint8)
    write_video(tmp_path / "clip.mp4", (np.full((32, 64, 3), grey, np.uint8) for grey in greys), 8)
    frames = read_frames(tmp_path / "clip.mp4", 24, "")
    assert len(frames) == 24 and frames[0].shape == (32, 64, 3)
    monkeypatch.setattr(material.Sticker, "draw", lambda *_: None)
    monkeypatch.setattr(material.Grade, "__call__", lambda _, frame, time: frame)
    rng = np.random.default_rng(0)
    rises = np.array([np.diff([frame.mean() for frame in material.shot(rng, [], [frames], np.arange(8) / 8, 24)])
                      for _ in range(6)])
    assert rises.min() > 0, "each frame is a later one of the video"
    assert rises.sum(axis=1).max() > 1.8 * rises.sum(axis=1).min(), "some run twice as fast"


def test_recording_leaves_noise_and_traces_of_compression():
    y, x = np.mgrid[:24, :48]
    frames = [np.stack([5 * x, 10 * y, 5 * x], -1).astype(np.uint8)] * 5
    errors = []
    for seed in range(12):
        film = list(material.recorded(np.random.default_rng(seed), frames, np.arange(5) / 8))
        assert len(film) == 5 and film[0].shape == (24, 48, 3)
        again = list(material.recorded(np.random.default_rng(seed), frames, np.arange(5) / 8))
        assert np.array_equal(film, again), "the same seed, the same film"
        errors.append(np.sqrt(np.mean((np.float64(film) - frames) ** 2)))
    assert 1 < min(errors) < max(errors) - 1 < 12, "some films are poorer than others, and none is another picture"


def test_frames_of_slow_files_come_again_and_those_of_fast_ones_do_not():
    rng = np.random.default_rng(1)
    steps = [np.diff(material.source_times(rng, 20)) for _ in range(40)]
    assert all(abs(step.sum() - 19 / 8) < 0.2 and step.min() >= 0 for step in steps)
    assert 4 < sum((step == 0).any() for step in steps) < 24
    assert any(np.ptp(step) > 0 and step.min() > 0 for step in steps), "a file of 30 a second has steps of 3 and 4"


def test_a_frame_that_comes_again_has_the_same_noise(monkeypatch):
    seen = []
    monkeypatch.setattr(material.Encoder, "write", lambda _, frame, time: seen.append(frame))
    monkeypatch.setattr(material.Encoder, "finish", lambda *_: None)
    rng = np.random.default_rng(0)
    with contextlib.suppress(av.error.InvalidDataError):  # nothing was encoded
        list(material.recorded(rng, [np.full((8, 16, 3), 99, np.uint8)] * 4, np.float64([0, 0, 0.2, 0.2])))
    assert np.array_equal(seen[0], seen[1]) and np.array_equal(seen[2], seen[3]) and (seen[1] != seen[2]).any()
