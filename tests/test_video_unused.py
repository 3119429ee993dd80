"""A word for every file of a folder of videos, and what is understood of one."""

import pytest
from odd_videos import scene, turning, write

from video.extraction import extract_frames
from video.summary import summarise
from video.unused import unused_files

FRAMES = turning(9, scene())


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "a.mp4", FRAMES)
    return tmp_path


@pytest.mark.parametrize(("name", "words"), [
    ("GS010001.360", "GoPro"), ("VID_2026.insv", "Insta360 Studio"), ("GL010001.LRV", "small copy"),
    ("CAM_2026.OSV", "DJI"), ("A001.braw", "convert it"), ("clip", "rename it"), ("clip.mp4.download", "rename it")])
def test_files_that_are_not_used_are_named_with_the_step_that_is_needed(folder, name, words):
    (folder / name).write_bytes((folder / "a.mp4").read_bytes())
    lines = unused_files(folder)
    assert len(lines) == 1 and name in lines[0] and words in lines[0]
    assert extract_frames(folder, "mono") == lines and len(list((folder / "frames" / "000").glob("*.png"))) == 3
    assert extract_frames(folder, "mono") == lines


def test_containers_are_known_by_their_beginnings(folder):
    for name in ("a.mkv", "a.ts", "a.avi", "a.flv"):
        write(folder / name, FRAMES)
        (folder / name).rename(folder / f"{name}.part")
    assert len(unused_files(folder)) == 4


def test_other_files_and_hidden_ones_are_passed_over(folder):
    data = (folder / "a.mp4").read_bytes()
    for name in ("._a.mp4", "._GS01.360", ".b.insv", "song.m4a", "photo.heic"):
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("GoPro")
    (folder / "empty").write_bytes(b"")
    (folder / "damaged").write_bytes(data[:40])
    (folder / "sub.360").mkdir()
    assert unused_files(folder) == []


def test_a_link_to_nothing_is_named(folder):
    (folder / "b.mp4").symlink_to(folder / "nothing.mp4")
    assert "b.mp4 is a link to a file that does not exist" in unused_files(folder)[0]


def test_probe_prints_a_line_a_file(folder, run_script):
    write(folder / "12:30 b.mkv", FRAMES, seconds_of_sound=1)
    (folder / "GS01.360").write_bytes(b"")
    result = run_script("utils.py", "probe", "a.mp4", "12:30 b.mkv", "GS01.360", "--projection=eac")
    first, second = result.stdout.splitlines()
    assert first.startswith("a.mp4: h264 128 x 64; 24 frames/s, constant; 0.38 s; 9 frames; eac (as set); mono (assume")
    assert "no sound; 3 maps: every 3rd frame" in first and "sound aac" in second
    assert result.returncode == 1 and result.stderr.startswith("error: GS01.360 holds GoPro's")
    assert "usage" in run_script("utils.py", "probe").stderr


def test_extraction_in_another_projection_replaces_the_frames(folder):
    extract_frames(folder, "mono")
    before = (folder / "frames" / "000" / "000_0003.png").read_bytes()
    assert extract_frames(folder, "mono", "eac") == []
    assert (folder / "frames" / "000" / "000_0003.png").read_bytes() != before
    assert ",eac," in (folder / "frames" / "videos.csv").read_text()


def test_probe_says_what_a_video_looks_like(shared, capsys):
    line = summarise(shared / "cases" / "videos" / "eac.mp4")
    assert "equirectangular (assumed)" in line and line.endswith("use --projection=eac")
    assert "cubemap (the file says so); mono (the file says so)" in summarise(
        shared / "cases" / "videos" / "declared_cubemap.mp4")
    assert "variable; 5.50 s; 48 frames" in summarise(shared / "cases" / "videos" / "pause.mp4")
    assert capsys.readouterr().err == ""
