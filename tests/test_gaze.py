"""gaze.py as a user runs it, on a few recordings of three videos."""

import csv
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from odd_videos import scene, turning, write
from test_recordings import brute_force_map, line, write_recording

from files import HOST, number_images, write_image
from maps.levels import scaled_to_maximum
from recordings.ground_truth import blurred_in_image
from recordings.samples import Samples
from video.catalogue import COLUMNS, read_catalogue, write_catalogue
from video.extraction import extract_frames


@pytest.fixture
def data(tmp_path):
    """Two videos of three frames; recordings of both by two users, of 012 in a table as well, and of a third video."""
    for video, numbers in {"012": (0, 4, 8), "013": (0, 3, 6)}.items():
        write_frames(tmp_path / f"data/frames/{video}", numbers)
    users = tmp_path / "data/gaze/Gaze_txt_files"
    write_recording(users / "p01/012._2017-10-13-10-28_ori_0.txt",
                    [line(1, 0.5, 0.5), line(2, 0.5, 0.5), line(6, 0.999, 0.5), line(31, 0, 0)])
    write_recording(users / "p01/._012._2017.txt", ["\0"])
    write_recording(users / "p02/012.txt", [line(1, 0.25, 0.5), line(6, "nan", 0.5), line(6, 0.001, 0.5)])
    write_recording(users / "p02/013.txt", [line(1, 0.5, 0.9), line(4, 0.5, 0.9), line(8, 0.5, 0.9)])
    write_recording(users / "p02/099.txt", [line(1, 0.5, 0.9)])
    (tmp_path / "data/gaze/more.csv").write_text("video,frame,longitude,latitude,user\n012,9,0,0,ann\n")
    return tmp_path


def write_frames(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        write_image(folder / f"{folder.name}_{number:04d}.png", np.zeros((4, 6, 3), np.uint8))


def write_catalogue_of(frames_dir, files):
    """A catalogue, as frames_extraction writes it, of {id: (file, frames a second)}."""
    write_catalogue(frames_dir, {
        identity: dict(zip(COLUMNS, (identity, video, 9, fps, 6, 4, 240, 3, 80, "mono", "equirectangular", "")))
        for identity, (video, fps) in files.items()})


def read_rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_whole_run(data, run_script):
    arguments = ("--gaze_dir=data/gaze", "--resolution=(24, 48)")
    first = run_script("gaze.py", *arguments)
    assert first.returncode == 0, first.stderr
    assert "2 videos made" in first.stdout
    assert "left out: 099" in first.stdout
    assert "1 rows skipped in 1 files" in first.stdout
    assert f"p02{os.sep}012.txt (1) from line 2" in first.stdout
    assert "0 frames without gaze got no map; 1 samples lie before or after" in first.stdout
    assert "gaze of 2 videos; fixations are all samples" in first.stdout
    maps = data / "data/saliency_maps"
    assert sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*")) == [
        ".012.made", ".013.made", "012", "012/0000.png", "012/0004.png", "012/0008.png", "013", "013/0000.png",
        "013/0003.png", "013/0006.png", "gaze.json"]
    image = cv2.imread(str(maps / "012/0000.png"), cv2.IMREAD_UNCHANGED)
    expected = brute_force_map(np.radians([0, 0, -90]), np.zeros(3), math.radians(5), 24, 48)
    np.testing.assert_allclose(image, expected / expected.max() * 255, atol=0.51)
    rows = read_rows(data / "data/fixations/012.csv")
    assert sorted((row["frame"], row["user"], row["kind"]) for row in rows) == sorted([
        ("8", "ann", "gaze"), ("0", "p01", "gaze"), ("0", "p01", "gaze"), ("4", "p01", "gaze"), ("0", "p02", "gaze"),
        ("4", "p02", "gaze")])

    times = {path: path.stat().st_mtime_ns for path in maps.rglob("*.png")}
    again = run_script("gaze.py", *arguments)
    assert "0 videos made" in again.stdout
    assert "2 were there" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in maps.rglob("*.png")} == times
    # new gaze: the video is made again, and a frame that lost its gaze loses its map
    write_recording(data / "data/gaze/Gaze_txt_files/p02/013.txt", [line(1, 0.5, 0.5)])
    changed = run_script("gaze.py", *arguments)
    assert "1 videos made" in changed.stdout
    assert "2 frames without gaze" in changed.stdout
    assert "the gaze ends before the video: 013 (frame 0 of 6)" in changed.stdout
    assert [path.name for path in sorted((maps / "013").iterdir())] == ["0000.png"]
    assert "2 videos made" in run_script("gaze.py", *arguments, "--overwrite=True").stdout
    # other settings: nothing that was made with the old ones stays
    mirrored = run_script("gaze.py", *arguments, "--mirror_gaze=True")
    assert "2 videos made" in mirrored.stdout
    assert {row["longitude"] for row in read_rows(data / "data/fixations/012.csv") if row["user"] == "p02"} == {
        "90.0000", "179.6400"}


def test_ground_truth_is_kept_or_made_again_by_content(data, run_script):
    def run(*arguments):
        result = run_script("gaze.py", "--gaze_dir=data/gaze", "--resolution=(24, 48)", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def written():
        return {path.name: path.stat().st_mtime_ns for path in (data / "data/saliency_maps/012").iterdir()}

    maps, users = data / "data/saliency_maps", data / "data/gaze/Gaze_txt_files"
    assert "2 videos made" in run()
    before, image = written(), (maps / "012/0004.png").read_bytes()
    # what is newer, but the same, changes nothing
    os.utime(users / "p01/012._2017-10-13-10-28_ori_0.txt")
    os.utime(data / "data/frames/012")
    assert "0 videos made" in run()
    # a map that was damaged or lost is made again, alone, and what a killed run left is removed
    (maps / "012/0004.png").write_bytes(image[:50])
    partial = maps / f"012/.0000.png.{HOST}-1-00000000.partial"
    partial.write_bytes(b"")
    assert "1 videos made" in run()
    assert (maps / "012/0004.png").read_bytes() == image and not partial.exists()
    assert {name for name, when in written().items() if when != before[name]} == {"0004.png"}
    # as is one that a killed run had written down, but not yet written
    (maps / "012/0004.png").unlink()
    (data / "data/fixations/012.csv").unlink()
    assert "1 videos made" in run()
    (data / "data/fixations/012.csv").unlink()
    assert "1 videos made" in run()
    assert len(read_rows(data / "data/fixations/012.csv")) == 6
    # other content with the old time and size; then a user who is gone
    path = users / "p02/013.txt"
    times = path.stat()
    path.write_text(path.read_text().replace("0.9", "0.8"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "1 videos made" in run()
    assert {row["latitude"] for row in read_rows(data / "data/fixations/013.csv")} == {"54.0000"}
    (users / "p01/012._2017-10-13-10-28_ori_0.txt").unlink()
    assert "1 videos made" in run()
    assert {row["user"] for row in read_rows(data / "data/fixations/012.csv")} == {"p02", "ann"}
    assert "2 videos made" in run("--gaze_sigma=9")
    path.unlink()
    assert "maps of 013 in data/saliency_maps are of an earlier run" in run("--gaze_sigma=9")
    assert (maps / "013/0003.png").exists()


def test_maps_and_tables_of_others_are_not_replaced(data, run_script):
    theirs = data / "data/saliency_maps/012/0004.png"
    theirs.parent.mkdir(parents=True)
    write_image(theirs, np.full((4, 8), 9, np.uint8))
    arguments = ("--gaze_dir=data/gaze", "--resolution=(24, 48)")
    result = run_script("gaze.py", *arguments)
    assert result.returncode == 1
    assert f"{Path('data/saliency_maps/012/0004.png')} would be mixed with what gaze.py writes" in result.stderr
    assert cv2.imread(str(theirs), cv2.IMREAD_UNCHANGED).shape == (4, 8)
    assert run_script("gaze.py", *arguments, "--overwrite=True").returncode == 0
    assert cv2.imread(str(theirs), cv2.IMREAD_UNCHANGED).shape == (24, 48)
    ledger = data / "data/saliency_maps/.012.made"  # in a folder that gaze.py has begun: what its record does not hold
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if "0004.png" not in line))
    assert "0004.png would be mixed" in run_script("gaze.py", *arguments).stderr
    write_image(theirs.with_name("0005.png"), np.full((4, 8), 9, np.uint8))  # a map of a frame that was not extracted
    table = data / "data/fixations/013.csv"
    table.write_text("id,x,y\n1,2,3\n")
    result = run_script("gaze.py", *arguments, "--overwrite=True")
    assert f"{Path('data/saliency_maps/012/0005.png')} would be mixed" in result.stderr
    assert "(and 1 more files)" in run_script("gaze.py", *arguments).stderr


@pytest.mark.parametrize("is_there", [True, False])
def test_the_clock_of_a_video_whose_rate_varies(tmp_path, run_script, is_there):
    """A real file with pauses: every sample belongs to the frame that is shown at its time, and a frame's number is
    that of the decoder. Without the file, the times of the extracted frames are known."""
    shown = np.cumsum([0, 40, 40, 300, 40, 90, 40, 40, 500, 20, 40, 60, 150, 40, 40])
    (tmp_path / "videos").mkdir()
    write(tmp_path / "videos/005.mp4", turning(len(shown), scene()), times=shown)
    assert extract_frames(tmp_path / "videos", "mono", by_name=True) == []
    frames = tmp_path / "videos/frames"
    assert read_catalogue(frames)["005"]["step"] == "0"
    numbers = list(number_images(frames / "005"))
    if not is_there:
        (tmp_path / "videos/005.mp4").unlink()
    times = np.arange(0, shown[-1] + 40, 7)
    text = "".join(f"005,{time},{time / 10 - 100},5,ann\n" for time in times)
    (tmp_path / "gaze").mkdir()
    (tmp_path / "gaze/all.csv").write_text("video,time_ms,longitude,latitude,user\n" + text)
    result = run_script("gaze.py", "--gaze_dir=gaze", "--frames_dir=videos/frames", "--resolution=(24, 48)")
    assert result.returncode == 0, result.stderr
    assert "0 samples lie before or after" in result.stdout
    index = np.searchsorted(shown, times, side="right") - 1
    expected = [max(number for number in numbers if number <= k) for k in index.tolist()]
    rows = read_rows(tmp_path / "data/fixations/005.csv")
    assert [int(row["frame"]) for row in rows] == expected
    # recordings that count frames count those of the decoder, and ivt takes their times
    (tmp_path / "gaze/all.csv").write_text("video,frame,longitude,latitude,user\n" + "".join(
        f"005,{k},{10 * (k > 2)},0,ann\n" for k in range(len(shown))))
    result = run_script("gaze.py", "--gaze_dir=gaze", "--frames_dir=videos/frames", "--resolution=(24, 48)",
                        "--fixations=ivt", "--ivt_duration=79.9")
    assert result.returncode == 0, result.stderr
    # three fixations after the first, with pauses of more than 100 ms between them; frame 3 is only known from its time
    found = [(int(row["frame"]), float(row["longitude"])) for row in read_rows(tmp_path / "data/fixations/005.csv")]
    assert found == [(0, 0), (2, 0), *[(2, 10)] * is_there, (4, 10), (7, 10), (9, 10), (11, 10), (12, 10)]


def test_check_prints_a_table_and_writes_one_picture(data, run_script):
    before = set(data.rglob("*"))
    result = run_script("gaze.py", "--gaze_dir=data/gaze", "--resolution=(24, 48)", "--check")
    assert result.returncode == 0, result.stderr
    assert "| 012 | table+vr_eyetracking | gaze | 3 | 7 | 6 | 1 | 0 | 8 | 0–8 | ? |" in result.stdout
    assert "left out: 099" in result.stdout
    assert {path.name for path in set(data.rglob("*")) - before} == {"gaze_check.png"}


def test_recordings_are_matched_by_the_names_of_files(data, run_script):
    """Frames 000 and 001 of 012.mp4 and 013.mp4; recordings of 012 and 013."""
    frames = data / "numbered/frames"
    write_frames(frames / "000", (0, 4, 8))
    write_frames(frames / "001", (0, 3, 6))
    write_catalogue_of(frames, {"000": ("012.mp4", 24), "001": ("013.mp4", 24)})
    result = run_script("gaze.py", "--gaze_dir=data/gaze", "--frames_dir=numbered/frames", "--resolution=(24, 48)")
    assert "2 videos made" in result.stdout
    maps = data / "data/saliency_maps"
    assert sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*.png")) == [
        "012/0000.png", "012/0004.png", "012/0008.png", "013/0000.png", "013/0003.png", "013/0006.png"]


def test_a_name_that_means_two_videos_is_an_error_that_names_both(data, run_script):
    """Frames 012 of the file 013.mp4: 013's gaze is meant for them, and 012's could be."""
    frames = data / "numbered/frames"
    write_frames(frames / "012", (0, 3, 6))
    write_frames(frames / "011", (0, 4, 8))
    write_catalogue_of(frames, {"011": ("012.mp4", 24), "012": ("013.mp4", 24)})
    arguments = ("--gaze_dir=data/gaze", "--frames_dir=numbered/frames", "--resolution=(24, 48)")
    result = run_script("gaze.py", *arguments)
    assert result.returncode == 1
    assert "video 012 could be" in result.stderr
    assert "(of 012.mp4) or" in result.stderr and "(of 013.mp4);" in result.stderr
    assert "2 videos made" in run_script("gaze.py", *arguments, "--frames_ids=name").stdout
    assert (data / "data/saliency_maps/013/0003.png").exists()
    numbered = run_script("gaze.py", *arguments, "--frames_ids=number", "--gt_dir=other/maps")
    assert "1 videos made" in numbered.stdout
    assert (data / "other/maps/012/0003.png").exists()


def test_times_need_the_rate_of_the_video(data, run_script):
    gaze = data / "times/x/012.csv"
    gaze.parent.mkdir(parents=True)
    gaze.write_text("video,time_ms,longitude,latitude,user\n012,0,0,0,ann\n012,166.7,10,0,ann\n")
    arguments = ("--gaze_dir=times", "--resolution=(24, 48)")
    assert "the frame rate is not known, so left out: 012" in run_script("gaze.py", *arguments).stdout
    assert "1 videos made" in run_script("gaze.py", *arguments, "--gaze_fps=24").stdout
    assert [row["frame"] for row in read_rows(data / "data/fixations/012.csv")] == ["0", "4"]
    found = run_script("gaze.py", *arguments, "--gaze_fps=24", "--fixations=ivt", "--ivt_duration=0")
    assert "fixations are found by velocity (I-VT)" in found.stdout


def test_the_authors_protocol_blurs_in_the_image(data, run_script):
    result = run_script("gaze.py", "--gaze_dir=data/gaze", "--resolution=(24, 48)", "--protocol=sst_sal")
    assert result.returncode == 0, result.stderr
    image = cv2.imread(str(data / "data/saliency_maps/013/0000.png"), cv2.IMREAD_UNCHANGED)
    only = Samples(np.zeros(1, int), np.zeros(1), np.array([72.0]), np.array([""], object))
    np.testing.assert_array_equal(image, scaled_to_maximum(blurred_in_image(only, [0], math.radians(5), 24, 48))[0])


@pytest.mark.parametrize(("arguments", "message"), [
    (("--gaze_dir=nowhere",), "error: gaze_dir nowhere is not a folder"),
    (("--frames_dir=nowhere",), "error: frames_dir nowhere is not a folder"),
    (("--frames_dir=data/gaze",), "error: no video has both gaze in data/gaze (such as 012) and frames in data/gaze"),
    (("--gaze_sigma=0",), "error: gaze_sigma must be in (0, 90]")])
def test_wrong_settings_are_one_line(data, run_script, arguments, message):
    result = run_script("gaze.py", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
