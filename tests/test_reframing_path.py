"""The virtual camera's path: closed forms, and every path of a tiny grid tried."""

from itertools import product

import numpy as np
import pytest

from reframing.path import CELL, COLUMNS, ROWS, Camera, best_path, look_at, plan, shares
from sphere import directions

CAMERA = Camera((720, 1280), 90.0, 30.0, 1.0)
GRID = directions(ROWS, COLUMNS)


def blob(lat, lon, width=8.0):
    """A map (ROWS, COLUMNS) of a Gaussian of great-circle distance; degrees."""
    lat, lon = np.radians([lat, lon])
    middle = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    return np.exp(-np.degrees(np.arccos(np.clip(GRID @ middle, -1, 1))) ** 2 / (2 * width**2))


def film(where, seconds=5.0, cuts=(), camera=CAMERA):
    """(times, latitudes, longitudes) of the camera, 50 a second, for maps 8 a second of blobs; where(time): a list of
    (latitude, longitude, weight)."""
    times = np.arange(round(8 * seconds)) / 8
    maps = np.stack([sum(weight * blob(lat, lon) for lat, lon, weight in where(time)) for time in times])
    shown = np.arange(round(50 * seconds)) / 50
    return shown, *look_at(plan(maps, times, seconds, list(cuts), camera), shown)


def speeds(times, lat, lon):
    return np.hypot(np.diff(lat), np.diff(lon)) / np.diff(times)


def apart(lon, other):
    """How far two longitudes are apart, degrees."""
    return np.abs((lon - other + 180) % 360 - 180)


@pytest.mark.parametrize("place", [(0, 2), (13, -57), (-31, 178)])
def test_a_camera_stands_still_at_what_stands_still(place):
    times, lat, lon = film(lambda time: [(*place, 1)])
    assert np.ptp(lat) < 1e-9 and np.ptp(lon) < 1e-9
    assert abs(lat[0] - place[0]) <= CELL / 2 + 1e-6 and apart(lon[0], place[1]) <= CELL / 2 + 1e-6


@pytest.mark.parametrize("speed", [6.0, -14.0, 25.0])
def test_what_moves_across_the_seam_is_followed_without_a_jump(speed):
    times, lat, lon = film(lambda time: [(5, 180 + speed * (time - 4), 1)], 8)
    assert apart(lon, 180 + speed * (times - 4)).max() < 15
    assert speeds(times, lat, lon).max() <= CAMERA.top_speed + 1e-9
    assert abs(np.ptp(lon) - 8 * abs(speed)) < 30
    turns = np.abs(np.diff(speeds(times, lat, lon))) * 50
    assert turns.max() < 100, "degrees a second squared: the speed is continuous"


@pytest.mark.parametrize(("top_speed", "seconds"), [(3.0, 32), (10.0, 10), (33.0, 9), (100.0, 4)])
def test_the_top_speed_is_reached_and_never_passed(top_speed, seconds):
    camera = CAMERA._replace(top_speed=top_speed, calm=0.0)
    times, lat, lon = film(lambda time: [(0, 1.3 * top_speed * time, 1)], seconds, camera=camera)
    fastest = speeds(times, lat, lon).max()
    assert fastest <= top_speed * (1 + 1e-9)
    assert fastest > 0.99 * top_speed


def test_a_camera_jumps_at_cuts_and_only_there():
    times, lat, lon = film(lambda time: [(10, -100 if time < 3 else 60, 1)], cuts=[3.0])
    before = times < 3
    assert apart(lon[before], -100).max() <= CELL / 2 + 1e-6 and apart(lon[~before], 60).max() <= CELL / 2 + 1e-6
    times, lat, lon = film(lambda time: [(10, -100 if time < 3 else 60, 1)])
    assert speeds(times, lat, lon).max() <= CAMERA.top_speed + 1e-9


def test_cuts_between_which_there_is_no_map():
    cuts = [3.0, 3.04, 3.05]  # maps are shown from 3.0 and from 3.125 on
    times, lat, lon = film(lambda time: [(0, 0 if time < 3 else 90 if time < 3.1 else 180, 1)], cuts=cuts)
    assert apart(lon[times < 3], 0).max() <= CELL / 2 + 1e-6
    assert apart(lon[times >= 3.05], 180).max() <= CELL / 2 + 1e-6


def test_two_equal_attractions_give_no_flicker():
    """Neither when both are always there, nor when each is a little stronger every other eighth of a second."""
    for stronger in (0.0, 0.2):
        _, _, lon = film(lambda time, stronger=stronger: [(0, -80, 1 + stronger * (round(8 * time) % 2)), (0, 80, 1.1)])
        assert np.ptp(lon) < 1e-9


def test_attention_at_a_pole_does_not_turn_the_picture_over():
    camera = CAMERA._replace(field_of_view=80.0)
    for pole in (90, -90):
        times, lat, lon = film(lambda time, pole=pole: [(pole, 40, 1)], 2, camera=camera)
        assert np.abs(lat).max() <= camera.highest
        assert np.abs(lat).min() > camera.highest - CELL - 1e-6


def test_without_any_attention_the_camera_looks_ahead():
    times = np.arange(9) / 8
    lat, lon = look_at(plan(np.zeros((9, 24, 48), np.uint8), times, 1.125, [], CAMERA), times)
    assert np.allclose(lat, 0) and np.abs(lon).max() <= CELL / 2 + 1e-6


def test_pauses_of_a_variable_rate_count_as_long_as_they_last():
    """A frame that stays for four seconds counts for more than eight that last for one together."""
    times = np.array([0.0, *(4 + np.arange(8) / 8)])
    maps = np.stack([blob(0, 2), *[blob(0, 12)] * 8])
    calm = CAMERA._replace(calm=100.0)
    assert np.abs(look_at(plan(maps, times, 5.0, [], calm), [0.0, 4.9])[1] - 2).max() < 5


def test_a_clip_of_one_frame():
    lat, lon = look_at(plan(blob(20, 50)[None], [0.0], 0.04, [], CAMERA), [0.0])
    assert abs(lat[0] - 20) <= CELL / 2 + 1e-6 and abs(lon[0] - 50) <= CELL / 2 + 1e-6


def test_a_calm_camera_moves_less():
    def wander(time):
        return [(10 * np.sin(2 * time), 25 * np.sin(time), 1)]

    ways = []
    for calm in (0.0, 20.0):
        times, lat, lon = film(wander, 7, camera=CAMERA._replace(calm=calm))
        ways.append(np.hypot(np.diff(lat), np.diff(lon)).sum())
    assert ways[0] > 2 * ways[1]


def test_shares_are_those_of_a_sum_over_the_pixels():
    rng, camera = np.random.default_rng(0), CAMERA._replace(field_of_view=70.0)
    maps = rng.uniform(0, 1, (2, ROWS, COLUMNS))
    found = shares(maps, camera)
    area = np.cos(np.radians(90 - (np.arange(ROWS) + 0.5) * CELL))[:, None]
    right = np.tan(np.radians(35))
    for row, column in ((0, 3), (5, 89), (found.shape[1] - 1, 44)):
        ahead = GRID[camera.rows][row, column].astype(float)
        east = np.array([-ahead[1], ahead[0], 0]) / np.hypot(*ahead[:2])
        depth, x, y = GRID @ ahead, GRID @ east, GRID @ np.cross(ahead, east)
        with np.errstate(divide="ignore"):
            x, y = np.abs(x / depth / right), np.abs(y / depth / right * 16 / 9)
        window = np.where((depth > 0) & (x < 1) & (y < 1), (np.cos(x * np.pi / 2) * np.cos(y * np.pi / 2)) ** 2, 0)
        for number in range(2):
            share = (maps[number] * area * window).sum() / (maps[number] * area).sum()
            assert found[number, row, column] == pytest.approx(share, abs=1e-3)  # with what the front is worth more


def test_no_path_of_a_tiny_grid_is_better():
    rng = np.random.default_rng(1)
    rows, columns, count, radius = 3, 5, 4, 1
    steps = [step for step in product(range(-radius, radius + 1), repeat=2) if np.hypot(*step) <= radius]
    for speed_cost, acceleration_cost in ((0.0, 0.0), (0.1, 0.3), (0.4, 0.05)):
        rewards = np.float32(rng.uniform(0, 1, (count, rows, columns)))

        def worth(path, rewards=rewards, costs=(speed_cost, acceleration_cost)):
            moves = np.diff(path, axis=0)
            gained = sum(rewards[k, row, column % columns] for k, (row, column) in enumerate(path))
            return gained - costs[0] * (moves**2).sum() - costs[1] * (np.diff(moves, axis=0) ** 2).sum()

        best = -np.inf
        for start in product(range(rows), range(columns)):
            for moves in product(steps, repeat=count - 1):
                path = np.cumsum([start, *moves], axis=0)
                if path[:, 0].min() >= 0 and path[:, 0].max() < rows:
                    best = max(best, worth(path))
        found = best_path(rewards, radius, speed_cost, acceleration_cost)
        assert 0 <= found[0, 1] < columns and np.hypot(*np.diff(found, axis=0).T).max() <= radius
        assert worth(found) == pytest.approx(best, abs=1e-5)


def test_a_long_path_is_the_best_one():
    """Of so many knots that the values between are computed twice: what is worth a reward moves on, and wraps."""
    cells = np.cumsum([[2, 3], *np.random.default_rng(2).integers(-1, 2, (60, 2)) * (0, 1)], axis=0)
    rewards = np.zeros((61, 5, 8), np.float32)
    rewards[np.arange(61), cells[:, 0], cells[:, 1] % 8] = 1
    found = best_path(rewards, 1, 0.01, 0.01)
    assert np.array_equal(found, cells - [0, cells[0, 1] // 8 * 8])
