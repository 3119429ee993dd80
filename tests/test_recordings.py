"""Gaze recordings: the readers, which frame gathers which sample, and the maps that are made from samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from recordings.ground_truth import SAMPLES_AT_A_TIME, count_maps, saliency_maps
from recordings.samples import Samples, assign_frames
from recordings.tables import read_table, write_fixations
from recordings.vr_eyetracking import read_recording


def unit(latitude, longitude):
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude),
                     np.sin(latitude) + 0 * longitude], axis=-1)


def brute_force_map(longitude, latitude, sigma, height, width):
    rows = np.pi / 2 - (np.arange(height) + 0.5)[:, None] * np.pi / height
    pixels = unit(rows, (np.arange(width) + 0.5) * 2 * np.pi / width - np.pi)
    total = np.zeros((height, width))
    for direction in unit(latitude, longitude):
        distance = np.arctan2(np.linalg.norm(np.cross(pixels, direction), axis=-1), pixels @ direction)
        total += np.exp(-(distance**2) / (2 * sigma**2))
    return total


def samples(frame, longitude, latitude, user=""):
    return Samples(np.array(frame), np.array(longitude, float), np.array(latitude, float),
                   np.full(len(frame), user, object))


@given(st.integers(3, 30), st.integers(4, 41), st.floats(2, 70), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_maps_are_gaussians_of_great_circle_distance(height, width, sigma, seed):
    rng = np.random.default_rng(seed)
    longitude, latitude = rng.uniform(-180, 180, 9), np.degrees(np.arcsin(rng.uniform(-1, 1, 9)))
    longitude[:3], latitude[3:5] = (-180, 180, 0), (90, -90)  # seam and poles
    frames, sigma = np.arange(9) % 2 * 3 + 4, math.radians(sigma)
    maps = saliency_maps(samples(frames, longitude, latitude), [4, 7], sigma, height, width)
    for position, frame in enumerate((4, 7)):
        angles = np.radians(longitude[frames == frame]), np.radians(latitude[frames == frame])
        np.testing.assert_allclose(maps[position], brute_force_map(*angles, sigma, height, width), atol=1e-4)


def test_maps_turn_with_the_gaze_and_stay_at_their_pole():
    def maps_of(longitude, latitude):
        return saliency_maps(samples([0] * len(longitude), longitude, latitude), [0], math.radians(5), 20, 40)

    step, longitude, latitude = 360 / 40, np.array([17.0, 57.0]), [80, 12]
    maps, turned = maps_of(longitude, latitude), maps_of(longitude + 17 * step - 360, latitude)
    np.testing.assert_allclose(turned, np.roll(maps, 17, axis=-1), atol=1e-6)
    assert not maps[0, 13:].any()  # more than 25 degrees south of both
    north = maps_of([115], [90])
    assert np.ptp(north[0, 0]) < 1e-6 < 0.1 < north[0, 0].min()  # as wide as the image
    np.testing.assert_array_equal(north[0, 10:], 0)


def test_more_samples_than_are_drawn_at_a_time():
    count = SAMPLES_AT_A_TIME + 3
    maps, one = (saliency_maps(samples([0] * n, [0] * n, [0] * n), [0], 0.1, 9, 14) for n in (count, 1))
    np.testing.assert_allclose(maps, count * one, rtol=1e-5)


def test_a_frame_gathers_up_to_the_next_extracted_one():
    numbers = [4, 7, 10]
    recorded = samples(range(16), np.arange(16), np.arange(16), "ann")
    gathered = assign_frames(recorded, numbers)
    assert gathered.frame.tolist() == [4, 4, 4, 7, 7, 7, 10, 10, 10]
    assert gathered.longitude.tolist() == list(range(4, 13))
    assert assign_frames(recorded, [9]).frame.tolist() == [9] * 7


def test_counts_in_pixels():
    recorded = samples([2, 2, 5, 5, 5], [-180, 180, 0, -0.1, 179.9], [90, 90, -90, 0, 0.1])
    counts = count_maps(recorded, np.array([2, 5]), 4, 6)
    assert counts.shape == (2, 4, 6)
    assert counts[0, 0, 0] == 2  # both sides of the seam are one pixel
    assert counts[1, 3, 3] == counts[1, 2, 2] == counts[1, 1, 5] == 1
    assert counts.sum() == 5


def write_recording(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def line(frame, x, y):
    return f"0.04,{frame},forward,0.1,0.2,eye,{x},{y}"


def test_reads_the_data_sets_files(tmp_path):
    path = tmp_path / "p07/012.txt"
    write_recording(path, ["\ufeff" + line(0, 0.5, 0.5), "", line(3, 0, 0), line(6, 1, 1), "  ", line(9, 0.75, 0.25)])
    found, skipped = read_recording(path)
    assert skipped == 0
    assert found.frame.tolist() == [0, 3, 6, 9]
    assert found.longitude.tolist() == [0, -180, 180, 90]   # from the left
    assert found.latitude.tolist() == [0, -90, 90, -45]     # from the bottom
    assert found.user.tolist() == ["p07"] * 4


def test_skips_and_counts_what_is_no_direction(tmp_path):
    path = tmp_path / "p07/012.txt"
    write_recording(path, [line(0, "nan", 0.5), line(1, 0.5, 1.01), line(2, -0.01, 0.5), line("?", 0.5, 0.5),
                           "0.1,4,for", line(-1, 0.5, 0.5), line(5, "inf", 0.5), line(1e300, 0.5, 0.5),
                           line(6, "", 0.5), line(7, 0.25, 0.5)])
    found, skipped = read_recording(path)
    assert skipped == 9
    assert (found.frame.tolist(), found.longitude.tolist()) == ([7], [-90])


def test_reads_tables_with_columns_in_any_order(tmp_path):
    path = tmp_path / "gaze.csv"
    path.write_text('\ufeffLatitude, frame,video,user,longitude\r\n10,3,"a, b",ann,-20\r\n\r\n5,4,012,bob,30\r\n'
                    "91,4,012,bob,30\r\nNaN,4,012,bob,30\r\n1,2\r\n", encoding="utf-8")
    videos, skipped = read_table(path)
    assert skipped == 3
    assert list(videos) == ["a, b", "012"]
    assert [column.tolist() for column in videos["012"]] == [[4], [30], [5], ["bob"]]
    path.write_text("video,frame,longitude,latitude\n7,1,2,3\n", encoding="utf-8")
    assert read_table(path)[0]["7"].user.tolist() == [""]


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_is_an_input_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any" / "012.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    for read in (read_recording, read_table):
        try:
            _, skipped = read(path)
        except InputError:
            continue
        assert skipped >= 0


def test_tables_written_are_read_back(tmp_path):
    written = samples([3, 3, 7], [-180, 12.3456, 0], [90, -1.25, 0], "p01")
    write_fixations(tmp_path / "sub/012.csv", "012", written)
    videos, skipped = read_table(tmp_path / "sub/012.csv")
    assert skipped == 0
    for column, original in zip(videos["012"], written):
        np.testing.assert_array_equal(column, original)


def test_wrong_files_are_one_clear_line(tmp_path):
    path = tmp_path / "p07/012.txt"
    write_recording(path, ["0.1,3,0.5,0.5"])
    with pytest.raises(InputError, match=r"012.txt has 4 columns .* columns 6 and 7"):
        read_recording(path)
    with pytest.raises(InputError, match="has no column video, frame, longitude, latitude"):
        read_table(path)
    path.write_text("video,frame,lat\n")
    with pytest.raises(InputError, match="no column longitude, latitude; its first line"):
        read_table(path)
    path.write_text("")
    with pytest.raises(InputError, match="no column video"):
        read_table(path)
    path.write_bytes(b"\xff\xfe0\x001\x00")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        read_recording(path)
