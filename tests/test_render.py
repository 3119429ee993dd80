"""render.py as a user runs it: the sample clip, the synthetic data set, the material from stills."""

import cv2
import numpy as np
import pytest
from conftest import ROOT

import render
from errors import InputError
from files import list_images, read_image, write_image
from sphere import directions
from synthetic.noise import fractal_noise
from video.encode import write_video


def test_sample_clip_is_what_render_makes():
    path = ROOT / "data" / "videos" / "sample.mp4"
    data = path.read_bytes()
    assert len(data) < 1_000_000
    assert data.index(b"moov") < data.index(b"mdat")                                  # plays while it loads
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (decoded := capture.read())[0]:
        frames.append(decoded[1])
    fps = capture.get(cv2.CAP_PROP_FPS)
    assert (fps, len(frames)) == (render.SAMPLE_FPS, render.SAMPLE_FPS * render.SAMPLE_SECONDS)
    assert frames[0].shape == (render.SAMPLE_HEIGHT, 2 * render.SAMPLE_HEIGHT, 3)

    scene = render.sample_scene(render.SAMPLE_HEIGHT // 2, render.SAMPLE_HEIGHT)
    for number in (0, 73, 143):
        small = cv2.resize(frames[number], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(int)
        difference = np.abs(small - scene.render(number / fps))
        assert difference.mean() < 4 and np.percentile(difference, 99.5) < 30         # each thing is where it should be
    seam = np.roll(frames[73].astype(int), render.SAMPLE_HEIGHT, axis=1)              # the seam in the middle
    red = (seam[..., 2] > 140) & (seam[..., 1] < 80) & (seam[..., 0] < 90)
    middle = render.SAMPLE_HEIGHT
    assert red[250:350, middle - 30:middle].any() and red[250:350, middle:middle + 30].any()


def test_dataset_command(run_script, tmp_path):
    options = ("dataset", "set", "--videos=3", "--observers=2", "--seconds=1", "--height=32", "--seed=5")
    result = run_script("render.py", *options)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "set"
    assert (folder / "train.txt").read_text() == "501,503\n" and (folder / "test.txt").read_text() == "505\n"
    videos = sorted((folder / "videos").iterdir())
    assert [video.name for video in videos] == ["501.mp4", "503.mp4", "505.mp4"]
    recordings = sorted(path.relative_to(folder).as_posix() for path in folder.glob("Gaze_txt_files/*/*"))
    assert recordings == [f"Gaze_txt_files/p00{user}/{video}._2017-10-13-10-28_ori_0.txt" for user in (1, 2)
                          for video in (501, 503, 505)]
    rows = np.loadtxt(folder / recordings[0], delimiter=",", usecols=(1, 3, 4, 6, 7))
    assert rows.shape == (24, 5) and (rows[:, 0] == np.arange(1, 25)).all()
    assert (rows[:, 1:] >= 0).all() and (rows[:, 1:] <= 1).all()
    capture = cv2.VideoCapture(str(videos[1]))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 24 and capture.read()[1].shape == (32, 64, 3)

    kept, lost = videos[0].stat().st_mtime_ns, videos[1].read_bytes()
    text = (folder / recordings[1]).read_text()
    videos[1].unlink()
    assert run_script("render.py", *options).returncode == 0
    assert videos[0].stat().st_mtime_ns == kept and videos[1].read_bytes() == lost
    assert (folder / recordings[1]).read_text() == text

    other = run_script("render.py", *options[:-1], "--seed=6")
    assert other.returncode == 1 and "made with other options" in other.stderr and "Traceback" not in other.stderr


@pytest.fixture
def stills(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    for number in range(2):
        noise = fractal_noise(directions(40, 80) * 4, 4, number)
        write_image(folder / f"still{number}.png", np.uint8(np.clip(noise * 90 + 128, 0, 255))[..., None].repeat(3, -1))
    return folder


def test_material_command(run_script, stills, tmp_path):
    options = ("--clips=3", "--frames=9", "--height=24", "--seed=2")
    for folder in ("one", "two"):
        result = run_script("render.py", "material", stills, tmp_path / folder, *options)
        assert result.returncode == 0, result.stderr
    clips = sorted((tmp_path / "one" / "frames").iterdir())
    assert [clip.name for clip in clips] == ["0000", "0001", "0002"]
    for clip in clips:
        assert [path.name for path in list_images(clip)] == [f"{clip.name}_{number:04d}.png" for number in range(9)]
        frames = [read_image(path) for path in list_images(clip)]
        assert frames[0].shape == (24, 48, 3) and np.std(frames[4]) > 3
        for path in list_images(clip):
            assert path.read_bytes() == (tmp_path / "two" / "frames" / clip.name / path.name).read_bytes()
    firsts = [read_image(clip / f"{clip.name}_0000.png").astype(int) for clip in clips]
    assert np.abs(firsts[0] - firsts[1]).mean() > 3

    kept = (clips[0] / "0000_0000.png").stat().st_mtime_ns
    clips[2].rename(clips[2].with_name(".0002.partial"))                              # as an interrupted run leaves it
    (clips[2].with_name(".0002.partial") / "0002_0008.png").unlink()
    assert run_script("render.py", "material", stills, tmp_path / "one", *options).returncode == 0
    assert len(list_images(clips[2])) == 9 and (clips[0] / "0000_0000.png").stat().st_mtime_ns == kept
    assert sorted((tmp_path / "one" / "frames").iterdir()) == clips


def test_material_of_a_folder_with_a_still_and_a_video(run_script, stills, tmp_path):
    write_video(stills / "clip.mp4", (np.full((24, 48, 3), 9 * k, np.uint8) for k in range(20)), 8)
    result = run_script("render.py", "material", stills, tmp_path / "out", "--clips=2", "--frames=3", "--height=24")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out" / "frames").glob("*/*.png"))) == 6
    assert "clip.mp4" in (tmp_path / "out" / "render.json").read_text()


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "required"),
    (("film", "x"), "invalid choice"),
    (("sample",), "required"),
    (("dataset", "x", "--videos=1"), "--videos: must be at least 2, got 1"),
    (("dataset", "x", "--videos=many"), "invalid int value: 'many'"),
    (("dataset", "x", "--observer=s"), "invalid int"),
    (("dataset", "x", "--seconds=nan"), "--seconds: must be at least 0.5, got nan"),
    (("dataset", "x", "--height=33"), "--height must be even"),
    (("material", "x"), "required"),
])
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        render.main(arguments)


def test_a_folder_without_stills_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there are no images .* in .*empty"):
        render.main(["material", str(tmp_path / "empty"), str(tmp_path / "out")])
    with pytest.raises(InputError, match=r"nothing\.png does not exist"):
        render.main(["material", str(tmp_path / "nothing.png"), str(tmp_path / "out")])
    with pytest.raises(InputError, match="--height must be even"):
        render.main(["material", str(tmp_path / "nothing.png"), str(tmp_path / "out"), "--height=33"])


def test_a_wrong_command_line_is_one_line_without_a_traceback(run_script):
    result = run_script("render.py", "dataset")
    assert result.returncode == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_nothing_of_the_user_s_is_overwritten(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_text("mine")
    (tmp_path / "stills").mkdir()
    write_image(tmp_path / "stills" / "a.png", np.zeros((8, 16, 3), np.uint8))
    for arguments, message in ((["dataset", tmp_path / "data"], "holds files that were not rendered"),
                               (["sample", tmp_path / "data" / "train.txt"], "train.txt exists"),
                               (["material", tmp_path / "stills", tmp_path / "stills"], "is the same as the source"),
                               (["material", tmp_path / "stills", tmp_path / "stills/out"], "is inside the source")):
        with pytest.raises(InputError, match=message):
            render.main([str(argument) for argument in arguments])
    assert (tmp_path / "data" / "train.txt").read_text() == "mine"
