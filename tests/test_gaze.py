import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gaze
from errors import InputError
from files import read_split, write_image
from recordings.ground_truth import SAMPLES_AT_A_TIME, count_maps, saliency_maps
from recordings.samples import Samples, assign_frames
from recordings.tables import read_table, write_fixations
from recordings.vr_eyetracking import read_recording

ROOT = Path(__file__).parents[1]


def unit(latitude, longitude):
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude),
                     np.sin(latitude) + 0 * longitude], axis=-1)


def brute_force_map(longitude, latitude, sigma, height, width):
    rows = np.pi / 2 - (np.arange(height) + 0.5)[:, None] * np.pi / height
    pixels = unit(rows, (np.arange(width) + 0.5) * 2 * np.pi / width - np.pi)
    total = np.zeros((height, width))
    for place in unit(latitude, longitude):
        distance = np.arctan2(np.linalg.norm(np.cross(pixels, place), axis=-1), pixels @ place)
        total += np.exp(-(distance**2) / (2 * sigma**2))
    return total


def samples(frame, longitude, latitude, user=""):
    return Samples(np.array(frame), np.array(longitude, float), np.array(latitude, float),
                        np.full(len(frame), user, object))


@given(st.integers(3, 30), st.integers(4, 41), st.floats(2, 70), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_maps_are_gaussians_of_great_circle_distance(height, width, sigma, seed):
    rng = np.random.default_rng(seed)
    longitude, latitude = rng.uniform(-np.pi, np.pi, 9), np.arcsin(rng.uniform(-1, 1, 9))
    longitude[:3], latitude[3:5] = (-np.pi, np.pi, 0), (np.pi / 2, -np.pi / 2)  # seam and poles
    positions, sigma = np.arange(9) % 2, math.radians(sigma)
    maps = saliency_maps(positions, longitude, latitude, 2, sigma, height, width)
    for position in range(2):
        here = positions == position
        expected = brute_force_map(longitude[here], latitude[here], sigma, height, width)
        np.testing.assert_allclose(maps[position], expected, atol=1e-4)


def test_maps_turn_with_the_gaze_and_stay_at_their_pole():
    step = 2 * np.pi / 40
    longitude, latitude = np.array([0.3, 1.0]), np.radians([80.0, 12.0])
    maps = saliency_maps(np.zeros(2, int), longitude, latitude, 1, math.radians(5), 20, 40)
    longitude = longitude + 17 * step - 2 * np.pi
    turned = saliency_maps(np.zeros(2, int), longitude, latitude, 1, math.radians(5), 20, 40)
    np.testing.assert_allclose(turned, np.roll(maps, 17, axis=-1), atol=1e-6)
    assert not maps[0, 13:].any()  # more than 25 degrees south of both
    north = saliency_maps(np.zeros(1, int), np.array([2.0]), np.array([np.pi / 2]), 1, math.radians(5), 20, 40)
    assert np.ptp(north[0, 0]) < 1e-6 < 0.1 < north[0, 0].min()  # as wide as the image
    np.testing.assert_array_equal(north[0, 10:], 0)


def test_more_samples_than_are_drawn_at_a_time():
    count = SAMPLES_AT_A_TIME + 3
    maps = saliency_maps(np.zeros(count, int), np.zeros(count), np.zeros(count), 1, 0.1, 9, 14)
    one = saliency_maps(np.zeros(1, int), np.zeros(1), np.zeros(1), 1, 0.1, 9, 14)
    np.testing.assert_allclose(maps, count * one, rtol=1e-5)


def test_a_frame_gathers_up_to_the_next_extracted_one():
    numbers = [4, 7, 10]
    given = samples(range(16), np.arange(16), np.arange(16), "ann")
    gathered = assign_frames(given, numbers)
    assert gathered.frame.tolist() == [4, 4, 4, 7, 7, 7, 10, 10, 10]
    assert gathered.longitude.tolist() == list(range(4, 13))
    assert assign_frames(given, [9]).frame.tolist() == [9] * 7


def test_counts_in_pixels():
    given = samples([2, 2, 5, 5, 5], [-180, 180, 0, -0.1, 179.9], [90, 90, -90, 0, 0.1])
    counts = count_maps(given, np.array([2, 5]), 4, 6)
    assert counts.shape == (2, 4, 6)
    assert counts[0, 0, 0] == 2  # both sides of the seam are one place
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


def test_skips_and_counts_what_is_no_place(tmp_path):
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
    with pytest.raises(InputError, match="nowhere is not a folder"):
        gaze.find_recordings(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds neither Gaze_txt_files"):
        gaze.find_recordings(tmp_path / "empty")


# ---------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture
def data(tmp_path):
    """Two videos of three frames; recordings of both by two users, of 012 in a table as well, and of a third video."""
    for video, numbers in {"012": (0, 4, 8), "013": (0, 3, 6)}.items():
        for number in numbers:
            path = tmp_path / f"data/frames/{video}/{video}_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, np.zeros((4, 6, 3), np.uint8))
    users = tmp_path / "data/gaze/Gaze_txt_files"
    write_recording(users / "p01/012.txt", [line(0, 0.5, 0.5), line(1, 0.5, 0.5), line(5, 0.999, 0.5), line(30, 0, 0)])
    write_recording(users / "p02/012.txt", [line(0, 0.25, 0.5), line(5, "nan", 0.5), line(5, 0.001, 0.5)])
    write_recording(users / "p02/013.txt", [line(0, 0.5, 0.9), line(3, 0.5, 0.9), line(7, 0.5, 0.9)])
    write_recording(users / "p02/099.txt", [line(0, 0.5, 0.9)])
    (tmp_path / "data/gaze/more.csv").write_text("video,frame,longitude,latitude,user\n012,9,0,0,ann\n")
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, str(ROOT / "gaze.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_whole_run(data):
    arguments = ("--gaze_dir=data/gaze", "--resolution=(24, 48)")
    first = run(data, *arguments)
    assert first.returncode == 0, first.stderr
    assert "2 videos made" in first.stdout
    assert "left out: 099" in first.stdout
    assert f"p02{os.sep}012.txt: 1 of 3 samples skipped" in first.stdout + first.stderr
    assert "0 frames without gaze got no map; 1 samples lie before or after" in first.stdout
    maps = data / "data/saliency_maps"
    assert sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*")) == [
        "012", "012/0000.png", "012/0004.png", "012/0008.png", "013", "013/0000.png", "013/0003.png", "013/0006.png"]
    image = cv2.imread(str(maps / "012/0000.png"), cv2.IMREAD_UNCHANGED)
    expected = brute_force_map(np.radians([0, 0, -90]), np.zeros(3), math.radians(5), 24, 48)
    np.testing.assert_allclose(image, expected / expected.max() * 255, atol=0.51)
    with (data / "data/fixations/012.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["user"]) for row in rows] == [
        ("8", "ann"), ("0", "p01"), ("0", "p01"), ("4", "p01"), ("0", "p02"), ("4", "p02")]

    times = {path: path.stat().st_mtime_ns for path in maps.rglob("*.png")}
    again = run(data, *arguments)
    assert "0 videos made" in again.stdout
    assert "2 were there" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in maps.rglob("*.png")} == times
    # new gaze: the video is made again, and a frame that lost its gaze loses its map
    write_recording(data / "data/gaze/Gaze_txt_files/p02/013.txt", [line(0, 0.5, 0.5)])
    changed = run(data, *arguments)
    assert "1 videos made" in changed.stdout
    assert "2 frames without gaze" in changed.stdout
    assert [path.name for path in sorted((maps / "013").iterdir())] == ["0000.png"]
    assert "2 videos made" in run(data, *arguments, "--overwrite=True").stdout


@pytest.mark.parametrize(("arguments", "message"), [
    (("--gaze_dir=nowhere",), "error: gaze_dir nowhere is not a folder"),
    (("--frames_dir=nowhere",), "error: frames_dir nowhere is not a folder"),
    (("--frames_dir=data",), "error: no video has both gaze in data/gaze (such as 012) and frames in data"),
    (("--gaze_sigma=0",), "error: gaze_sigma must be in (0, 90]")])
def test_wrong_settings_are_one_line(data, arguments, message):
    result = run(data, *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


# --------------------------------------------------------------------------------------------------------- split files


def test_published_splits():
    train, test = (read_split(ROOT / f"data/{part}_split_VRET.txt") for part in ("train", "test"))
    assert (len(train), len(test)) == (107, 25)
    assert not set(train) & set(test)
    assert all(len(name) == 3 and 1 <= int(name) <= 213 for name in train + test)
    assert (train[0], train[-1], test[0], test[-1]) == ("166", "043", "047", "119")


@given(st.lists(st.from_regex(r"[A-Za-z0-9_. -]*[A-Za-z0-9_]", fullmatch=True), min_size=1, unique_by=str.strip))
def test_splits_survive_spaces_and_blank_lines(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "split.txt"
    path.write_text("\ufeff" + " ,\n".join(names) + ",\r\n\n", encoding="utf-8")
    assert read_split(path) == [name.strip() for name in names]


def test_wrong_splits(tmp_path):
    path = tmp_path / "split.txt"
    with pytest.raises(InputError, match=r"split.txt does not exist"):
        read_split(path)
    path.write_text(" \n,\n")
    with pytest.raises(InputError, match="lists no videos"):
        read_split(path)
    path.write_text("001,002,001")
    with pytest.raises(InputError, match="lists 001 more than once"):
        read_split(path)
    path.write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match="not a text file"):
        read_split(path)
