"""reframe.py as a user runs it: whole runs through the command line on small videos."""

import json
from types import SimpleNamespace

import av
import numpy as np
import pytest
from conftest import DEFAULTS, noise_frames
from odd_videos import scene, turning, write
from one_mover import MOVER, seconds_in_view, write_clip
from sound_video import heard, write_sound_video

import config
from errors import exit_code
from files import list_images
from inference import main as infer
from reframe import main
from reframing.path import ROWS
from sphere import directions
from video.encode import write_video

SIZE = 72, 128
SMALL = ["--of_available=False", "--resolution=(12, 16)", "--sequence_length=4", "--overlap=1", "--num_workers=0"]


@pytest.fixture
def call(tmp_path, small_model, monkeypatch, capsys):
    """call(main of a script, "--name=value", ...) runs it in tmp_path with the small model; films are small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reframe.SIZE", SIZE)

    def run(script, *arguments):
        for name, value in DEFAULTS.items():
            monkeypatch.setattr(config, name, value)
        capsys.readouterr()
        code = exit_code(lambda: script([f"--inference_model={small_model}", *SMALL, *arguments]))
        output = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=output.out, stderr=output.err)

    return run


def one_line(result):
    """The error that a run ended with: exactly one line, exit code 1."""
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def shown(path):
    """(the times of a film's frames, seconds, its pictures, BGR)."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    return np.array([time for time, _ in frames]), [picture for _, picture in frames]


def camera_of(path):
    return np.array(json.loads(path.with_name(f"{path.name}.json").read_text())["camera"])


def test_a_mover_is_kept_in_view_across_the_seam(call, tmp_path, monkeypatch):
    """With maps of where it truly is; docs/reframe.md says what a real model's give."""
    def true_maps(windows, *_):
        grid = directions(32, 64)
        for clip, first, kept in windows:
            for position in range(kept, first + len(clip)):
                towards = MOVER.middle(position / 8)
                yield position, (grid @ towards / np.linalg.norm(towards)).clip(0.8)

    monkeypatch.setattr("prediction.window_maps", true_maps)
    write_clip(tmp_path / "mover.mp4", height=128, fps=16)
    result = call(main, "--source=mover.mp4", "--resolution=(32, 64)")
    assert result.returncode == 0, result.stderr
    film = tmp_path / "results" / "000_film.mp4"
    times, pictures = shown(film)
    assert np.allclose(times, np.arange(128) / 16, atol=1e-4) and pictures[0].shape == (*SIZE, 3)
    share, speed = seconds_in_view(f"{film}.json", 90.0)
    assert share >= 0.95 and speed <= 30.1  # degrees are rounded
    magenta = [(np.int16(picture)[..., [0, 2]].min(axis=-1) - picture[..., 1]).max() for picture in pictures]
    assert np.array(magenta)[times > 1.8].min() > 10  # before, it is so far that it has hardly a pixel
    assert np.ptp(camera_of(film)[:, 2]) > 90


def test_maps_are_made_once_and_films_again_for_other_settings(call, tmp_path, videos):
    result = call(main, f"--source={videos / 'b.mp4'}")
    assert "001 b.mp4: film results/001_film.mp4, 17 frames" in result.stdout, result.stderr
    maps = {path: path.stat().st_mtime_ns for path in list_images(tmp_path / "results" / "001")}
    assert len(maps) == 5 and not (tmp_path / "results" / "000").exists()
    film = tmp_path / "results" / "001_film.mp4"
    before = film.read_bytes()
    assert "is there already" in call(main, f"--source={videos / 'b.mp4'}").stdout
    for source in (videos / "b.mp4", "results", "results/001", "001"):
        result = call(main, f"--source={source}", "--field_of_view=60")
        assert result.returncode == 0, result.stderr
        assert ("film results/001_film.mp4, 17 frames" if source == videos / "b.mp4" else "already") in result.stdout
    assert film.read_bytes() != before
    assert {path: path.stat().st_mtime_ns for path in list_images(tmp_path / "results" / "001")} == maps
    line = one_line(call(main, f"--source={videos / 'b.mp4'}", "--overlap=2"))
    assert "overlap=1 (now 2)" in line and "--source=results/001 takes the maps that are there" in line
    assert call(infer, f"--videos_folder={videos}").returncode == 0  # goes on with the same maps
    assert {path: path.stat().st_mtime_ns for path in list_images(tmp_path / "results" / "001")} == maps
    result = call(main, "--source=results")
    assert result.stdout.count("film results/") == 2 and call(main, "--source=results").stdout.count("already") == 2
    assert "holds 2 videos, and film_file is one file" in one_line(call(main, "--source=results", "--film_file=a.mp4"))


def test_exact_maps_alone_are_enough(call, tmp_path, videos):
    assert call(infer, f"--videos_folder={videos}", "--save_maps=npy").returncode == 0
    before = (tmp_path / "results" / "000_maps.npy").stat().st_mtime_ns
    for source in ("--source=000", f"--source={videos / 'b.mp4'}"):
        result = call(main, source)
        assert result.returncode == 0 and "film results/" in result.stdout, result.stderr
    assert call(main, f"--source={videos / 'a.mp4'}", "--calm=2.0").returncode == 0
    assert (tmp_path / "results" / "000_maps.npy").stat().st_mtime_ns == before
    assert not list_images(tmp_path / "results" / "000")


def test_nothing_of_the_user_is_overwritten(call, tmp_path, videos):
    call(main, f"--source={videos / 'a.mp4'}", "--film_file=walk.mp4")
    assert camera_of(tmp_path / "walk.mp4").shape == (30, 3)
    for spoilt in ("walk.mp4", "mine.mp4"):
        (tmp_path / spoilt).write_bytes(b"mine")
        arguments = f"--source={videos / 'a.mp4'}", f"--film_file={spoilt}"
        assert f"{spoilt} exists and was not made by reframe.py" in one_line(call(main, *arguments))
        assert (tmp_path / spoilt).read_bytes() == b"mine"
        assert call(main, *arguments, "--overwrite=True").returncode == 0
        assert len(shown(tmp_path / spoilt)[0]) == 30
    (tmp_path / "new.mp4.json").write_text('{"mine": 1}')
    assert "new.mp4.json exists" in one_line(call(main, "--source=results", "--film_file=new.mp4", "--overwrite=True"))
    line = one_line(call(main, f"--source={videos / 'a.mp4'}", f"--film_file={videos / 'a.mp4'}"))
    assert "is the same as the video" in line
    assert "is the same as the video's folder" in one_line(call(main, f"--source={videos / 'a.mp4'}",
                                                                f"--results_dir={videos}"))


def test_bad_input_is_one_line(call, tmp_path, videos):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "c.mp4").write_text("hello")
    (tmp_path / "empty").mkdir()
    for source, message in (("none.mp4", "none.mp4 does not exist; source is a video file"),
                            ("empty", "empty is no folder of results"), ("notes.txt", "notes.txt is not a video"),
                            ("c.mp4", "c.mp4 is not a video")):
        assert message in one_line(call(main, f"--source={source}"))
    assert "the folder none does not exist" in one_line(call(main, f"--source={videos / 'a.mp4'}",
                                                             "--film_file=none/a.mp4"))
    for argument in ("--film_file=a.avi", "--field_of_view=170.0", "--top_speed=0.0", "--calm=-1.0"):
        assert argument[2:].partition("=")[0] in one_line(call(main, argument))


def test_results_that_are_not_whole_are_one_line(call, tmp_path, videos):
    call(main, f"--source={videos / 'a.mp4'}")
    spoilt = list_images(tmp_path / "results" / "000")[3]
    content = spoilt.read_bytes()
    spoilt.write_bytes(b"")
    assert f"{spoilt.name} is missing, or was changed" in one_line(call(main, "--source=000", "--calm=2.0"))
    spoilt.write_bytes(content)
    row = json.loads((tmp_path / "results" / "000.json").read_text())
    (tmp_path / "results" / "000.json").write_text(json.dumps({**row, "samples": 99}))
    assert "some maps are missing" in one_line(call(main, "--source=000", "--calm=2.0"))
    (tmp_path / "results" / "000.json").write_text(json.dumps(row))
    videos.rename(tmp_path / "moved")
    videos.mkdir()
    assert "a.mp4, which results/000 was made from, is no longer in" in one_line(call(main, "--source=000"))
    assert call(main, "--source=000", "--videos_folder=moved", "--calm=2.0").returncode == 0
    write_video(videos / "a.mp4", noise_frames(12, 32, 64, seed=7), 24)
    assert "is no longer in" in one_line(call(main, "--source=000"))
    (tmp_path / "results" / "000.json").unlink()
    assert "holds no maps that inference.py finished" in one_line(call(main, "--source=results"))


def test_the_sound_comes_along_unless_it_is_not_wanted(call, tmp_path):
    write_sound_video(tmp_path / "a: b.mkv", "libopus", seconds=1.5)
    for wanted, codec in ((True, "opus"), (False, None)):
        assert call(main, "--source=a: b.mkv", f"--sound={wanted}").returncode == 0
        assert (heard(tmp_path / "results" / "000_film.mp4") or [None])[0] == codec


def test_each_frame_is_shown_when_the_video_shows_it(call, tmp_path):
    times = np.cumsum([0, 40, 40, 500, 20, 20, 300, 40, 40, 90])
    write(tmp_path / "a.mkv", turning(10, scene()), times=times)
    assert call(main, "--source=a.mkv").returncode == 0
    assert np.allclose(shown(tmp_path / "results" / "000_film.mp4")[0], times / 1000, atol=2e-3)


def test_a_damaged_video_is_named_and_what_is_left_of_it_is_shown(call, tmp_path):
    write_video(tmp_path / "a.mp4", noise_frames(200, 64, 128, seed=0), 24)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[:len(whole) * 3 // 5])
    for _ in range(2):
        assert "a.mp4 was cut short: only" in one_line(call(main, "--source=a.mp4"))
        assert 0 < len(shown(tmp_path / "results" / "000_film.mp4")[0]) < 200


def test_an_interrupted_film_leaves_nothing(call, tmp_path, videos, monkeypatch):
    def interrupted(self, frame, time):
        if time > 0.5:
            raise KeyboardInterrupt

    monkeypatch.setattr("video.encode.Encoder.write", interrupted)
    assert call(main, f"--source={videos / 'a.mp4'}").returncode == 130
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["000", "000.json", "run.json"]
    monkeypatch.undo()
    assert len(list_images(tmp_path / "results" / "000")) == 10


def test_extracted_frames_give_a_film_of_the_whole_video_while_it_is_there(call, tmp_path, videos):
    assert call(infer, f"--videos_folder={videos}", "--save_frames=True").returncode == 0
    for frames, source, calm in ((30, videos / "a.mp4", 1.0), (30, "000", 2.0), (10, "000", 2.0)):
        if frames == 10:
            (videos / "a.mp4").unlink()
        result = call(main, f"--source={source}", f"--calm={calm}")
        assert f"000_film.mp4, {frames} frames" in result.stdout, result.stderr
    assert shown(tmp_path / "results" / "000_film.mp4")[0][-1] == pytest.approx(9 / 8)


def test_stereo_and_cuts_are_obeyed(call, tmp_path):
    """Two shots of a still camera, whose right eye is white: the film shows nothing of it, and its second shot."""
    eyes = [np.concatenate([scene(seed=seed), np.full((64, 128, 3), 255, np.uint8)]) for seed in (1, 2)]
    write(tmp_path / "a.mp4", [eyes[0]] * 24 + [eyes[1]] * 24)
    assert call(main, "--source=a.mp4", "--stereo_layout=top_bottom").returncode == 0
    film = tmp_path / "results" / "000_film.mp4"
    record = json.loads((tmp_path / "results" / "000_film.mp4.json").read_text())
    assert record["cuts"] == pytest.approx([1.0])
    pictures = shown(film)[1]
    assert max(picture.min(axis=-1).max() for picture in pictures) < 250
    camera = camera_of(film)
    assert np.hypot(*np.diff(camera[:, 1:], axis=0).T).argmax() in (0, 23) and len(camera) == 48
    assert np.abs(camera[:, 1]).max() < 90 - 180 / ROWS
