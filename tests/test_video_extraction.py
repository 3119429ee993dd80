import csv
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from conftest import noise_frames, stereo_frames

from errors import InputError
from files import list_images, read_image
from video.decode import probe
from video.encode import write_video
from video.extraction import extract_frames
from viewer.overlay import even_size


def names(folder):
    return [path.name for path in list_images(folder)]


def catalogue(videos):
    with (videos / "frames" / "videos.csv").open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_every_round_fps_over_8th_frame_numbered_by_its_index(videos):
    assert extract_frames(videos, "mono") == []
    assert names(videos / "frames" / "000") == [f"000_{index:04d}.png" for index in range(0, 30, 3)]
    assert names(videos / "frames" / "001") == [f"001_{index:04d}.png" for index in range(0, 17, 4)]
    row = catalogue(videos)["001"]
    assert (row["video"], float(row["fps"]), row["step"]) == ("b.mp4", 30.0, "4")
    assert (row["width"], row["height"], row["frames"], row["samples"]) == ("64", "32", "17", "5")


def test_frames_are_those_of_opencv(videos):
    extract_frames(videos, "mono")
    capture = cv2.VideoCapture(str(videos / "a.mp4"))
    for _ in range(7):
        _, frame = capture.read()
    assert np.array_equal(read_image(videos / "frames" / "000" / "000_0006.png"), frame)


def test_real_frames_are_the_published_ones(shared, tmp_path):
    (tmp_path / "battlefield.mp4").symlink_to(shared / "clips" / "battlefield.mp4")
    assert extract_frames(tmp_path, "mono") == []
    for path in list_images(shared / "golden" / "inference" / "frames" / "001"):
        ours = tmp_path / "frames" / "000" / path.name.replace("001_", "000_")
        assert np.array_equal(read_image(ours), read_image(path))


def write_with_times(path, times, rate):
    """A video whose frames are shown at `times`, in thousandths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(times, noise_frames(len(times), 32, 64, seed=0)):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_a_variable_frame_rate_counts_by_its_average(tmp_path):
    times = np.cumsum([0, *([20, 60] * 24)])  # 48 frames in 1.92 s: 25 a second on average
    write_with_times(tmp_path / "a.mkv", times.tolist(), rate=25)
    assert probe(tmp_path / "a.mkv").step == 3
    assert extract_frames(tmp_path, "mono") == []
    assert len(names(tmp_path / "frames" / "000")) == 17


@pytest.mark.parametrize(("layout", "half"), [("top_bottom", np.s_[:16]), ("left_right", np.s_[:, :32])])
def test_stereo_takes_the_left_eye(videos, layout, half):
    extract_frames(videos, "mono")
    whole = read_image(videos / "frames" / "000" / "000_0003.png")
    assert extract_frames(videos, layout) == []  # another layout: extracted again
    assert np.array_equal(read_image(videos / "frames" / "000" / "000_0003.png"), whole[half])
    assert catalogue(videos)["000"]["stereo_layout"] == layout


@pytest.mark.parametrize("layout", ["top_bottom", "left_right"])
def test_stereo_taken_for_mono_is_warned_of(script, tmp_path, layout):
    write_video(tmp_path / "a.mp4", stereo_frames(layout), 8)
    result = script("utils.py", "frames_extraction", ".")
    assert result.returncode == 0
    assert f"warning: a.mp4 looks like stereo; if it is, use --stereo_layout={layout}\n" in result.stderr
    result = script("utils.py", "frames_extraction", ".", f"--stereo_layout={layout}")
    assert result.returncode == 0 and "warning" not in result.stderr


def test_an_odd_sized_video(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = 63, 31, "yuvj444p"
        for image in noise_frames(6, 31, 63, seed=0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    assert extract_frames(tmp_path, "mono") == []
    assert read_image(tmp_path / "frames" / "000" / "000_0000.png").shape == (31, 63, 3)
    assert even_size(31, 63, 720) == (32, 64)


def test_finished_videos_are_kept_and_damaged_ones_done_again(videos):
    extract_frames(videos, "mono")
    first, second = (videos / "frames" / name for name in ("000", "001"))
    times = {path: path.stat().st_mtime_ns for path in list_images(first)}
    (second / "001_0008.png").unlink()
    (videos / "frames" / ".002.partial").mkdir()
    assert extract_frames(videos, "mono") == []
    assert {path: path.stat().st_mtime_ns for path in list_images(first)} == times
    assert len(names(second)) == 5
    write_video(videos / "a.mp4", noise_frames(7, 32, 64, seed=2), 24)  # another video under the name of the first
    extract_frames(videos, "mono")
    assert len(names(first)) == 3


def test_a_new_video_renames_no_other(videos):
    extract_frames(videos, "mono")
    write_video(videos / "aa.mp4", noise_frames(6, 32, 64, seed=2), 24)
    extract_frames(videos, "mono")
    assert {row["video"]: identity for identity, row in catalogue(videos).items()} == {
        "a.mp4": "000", "b.mp4": "001", "aa.mp4": "002"}


def test_frames_that_others_extracted_are_used_as_they_are(videos):
    (videos / "frames" / "000").mkdir(parents=True)
    (videos / "frames" / "000" / "000_0000.png").write_bytes(b"theirs")
    extract_frames(videos, "mono")
    assert names(videos / "frames" / "000") == ["000_0000.png"]
    assert len(names(videos / "frames" / "001")) == 5


def test_what_is_no_video_is_named_and_the_others_go_on(videos):
    (videos / "0.mp4").write_text("hello")
    (videos / "1.mp4").write_bytes(b"")
    data = (videos / "a.mp4").read_bytes()
    (videos / "2.mp4").write_bytes(data[len(data) // 2:])
    problems = extract_frames(videos, "mono")
    assert [problem.split(" ")[0] for problem in problems] == [str(videos / f"{k}.mp4") for k in range(3)]
    assert names(videos / "frames" / "003")[-1] == "003_0027.png"
    assert sorted(path.name for path in (videos / "frames").iterdir() if path.is_dir()) == ["003", "004"]
    assert extract_frames(videos, "mono") == problems


def test_a_video_that_was_cut_short_gives_the_frames_before_the_cut(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, noise_frames(200, 64, 128, seed=0), 24)
    path.write_bytes(path.read_bytes()[:path.stat().st_size * 2 // 3])  # its index stands in front
    for _ in range(2):  # it is said again when nothing is left to do
        problems = extract_frames(tmp_path, "mono")
        assert len(problems) == 1
        assert "a.mp4 was cut short: only" in problems[0]
    assert 0 < len(names(tmp_path / "frames" / "000")) < 67


def test_a_missing_folder_and_a_foreign_catalogue(tmp_path):
    with pytest.raises(InputError, match="none does not exist"):
        extract_frames(tmp_path / "none", "mono")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "videos.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"videos\.csv is not as"):
        extract_frames(tmp_path, "mono")
