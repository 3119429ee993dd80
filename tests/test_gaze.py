"""gaze.py as a user runs it, on a few recordings of three videos."""

import csv
import math
import os

import cv2
import numpy as np
import pytest
from test_recordings import brute_force_map, line, write_recording

import gaze
from errors import InputError
from files import write_image


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


def test_whole_run(data, run_script):
    arguments = ("--gaze_dir=data/gaze", "--resolution=(24, 48)")
    first = run_script("gaze.py", *arguments)
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
    again = run_script("gaze.py", *arguments)
    assert "0 videos made" in again.stdout
    assert "2 were there" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in maps.rglob("*.png")} == times
    # new gaze: the video is made again, and a frame that lost its gaze loses its map
    write_recording(data / "data/gaze/Gaze_txt_files/p02/013.txt", [line(0, 0.5, 0.5)])
    changed = run_script("gaze.py", *arguments)
    assert "1 videos made" in changed.stdout
    assert "2 frames without gaze" in changed.stdout
    assert [path.name for path in sorted((maps / "013").iterdir())] == ["0000.png"]
    assert "2 videos made" in run_script("gaze.py", *arguments, "--overwrite=True").stdout


def test_folders_without_recordings(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        gaze.find_recordings(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds neither Gaze_txt_files"):
        gaze.find_recordings(tmp_path / "empty")


@pytest.mark.parametrize(("arguments", "message"), [
    (("--gaze_dir=nowhere",), "error: gaze_dir nowhere is not a folder"),
    (("--frames_dir=nowhere",), "error: frames_dir nowhere is not a folder"),
    (("--frames_dir=data",), "error: no video has both gaze in data/gaze (such as 012) and frames in data"),
    (("--gaze_sigma=0",), "error: gaze_sigma must be in (0, 90]")])
def test_wrong_settings_are_one_line(data, run_script, arguments, message):
    result = run_script("gaze.py", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
