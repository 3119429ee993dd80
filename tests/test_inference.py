"""inference.py as a user runs it: whole runs through the command line on small videos."""

import csv
import json
import os
import re
import signal
import time
from functools import partial
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from conftest import noise_frames
from processes import Script
from sound_video import heard, write_sound_video

import config
from errors import InputError, exit_code
from files import list_images, read_image, write_image
from inference import main, predict
from maps.exact import HEADER
from maps.levels import grey_levels
from model import SST_Sal, save_model
from provenance import Ledger, claimed
from settings import settings
from sphere import solid_angle
from video.decode import sampled
from video.encode import write_video
from viewer.index import read_about

DEFAULTS = settings(config)
SMALL = ["--resolution=(12, 16)", "--num_workers=0"]


@pytest.fixture
def infer(tmp_path, videos, small_model, monkeypatch, capsys):
    """infer("--name=value", ...) predicts the two small videos with the small model, in this process: seconds less."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        for name, value in DEFAULTS.items():
            monkeypatch.setattr(config, name, value)
        capsys.readouterr()
        code = exit_code(lambda: main([f"--videos_folder={videos}", f"--inference_model={small_model}",
                                       "--of_available=False", *SMALL, *arguments]))
        output = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=output.out, stderr=output.err)

    return call


def test_a_page_only_where_it_is_wanted(infer, tmp_path):
    assert infer("--viewer=False").returncode == 0
    assert not list((tmp_path / "results").glob("*.html"))


def one_line(result):
    """The error that a run ended with: exactly one line, exit code 1, no traceback."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def maps(folder):
    return {path.name: path.stat().st_mtime_ns for path in list_images(folder)}


def test_grey_levels():
    assert np.array_equal(grey_levels(np.array([[-0.5, 0.0, 0.5]])), [[0, 127, 255]])
    assert np.array_equal(grey_levels(np.full((2, 3), 0.3)), np.zeros((2, 3)))
    assert np.array_equal(grey_levels(np.full((2, 3), np.nan)), np.zeros((2, 3)))


@pytest.mark.parametrize("save_frames", [False, True])
def test_every_frame_gets_a_map_and_every_video_an_overlay(infer, videos, tmp_path, save_frames):
    result = infer("--sequence_length=4", "--overlap=1", f"--save_frames={save_frames}")
    assert result.returncode == 0, result.stderr
    assert "000 a.mp4: 10 maps" in result.stdout
    assert (videos / "frames").is_dir() == save_frames
    for identity, count, seconds in (("000", 10, 30 / 24), ("001", 5, 17 / 30)):
        names = [f"{identity}_{round(24 / 8 if identity == '000' else 30 / 8) * k:04d}.png" for k in range(count)]
        assert [*maps(tmp_path / "results" / identity)] == names
        if save_frames:
            assert [frame.name for frame in list_images(videos / "frames" / identity)] == names
        saliency = read_image(tmp_path / "results" / identity / names[-1], cv2.IMREAD_UNCHANGED)
        assert (saliency.shape, saliency.dtype, saliency.min(), saliency.max()) == ((12, 16), np.uint8, 0, 255)
        with av.open(str(tmp_path / "results" / f"{identity}.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (64, 32)
            assert container.duration / 1e6 == pytest.approx(seconds, abs=1e-4)
            assert sum(1 for _ in container.decode(stream)) == count
    record = json.loads((tmp_path / "results" / "run.json").read_text())
    assert record["frames"] == 15
    assert record["made_by"]["geometry"] == "exact"
    assert record["settings"]["sequence_length"] == 4
    made = sorted(path.name for path in (tmp_path / "results").iterdir())
    shown = ["000.html", "000.mp4", "001.html", "001.mp4", "index.html"]
    assert made == sorted(["000", "001", "run.json", "000.json", "001.json", *shown])
    about = read_about(tmp_path / "results" / "001.html")
    assert (about["title"], about["frames"], about["seconds"]) == ("001 b.mp4", 5, pytest.approx(17 / 30, abs=1e-4))
    assert np.allclose(about["times"], np.arange(5) * 4 / 30, atol=1e-4)


def test_overlay_and_page_keep_the_sound_unless_it_is_not_wanted(infer, tmp_path):
    (tmp_path / "sounding").mkdir()
    write_sound_video(tmp_path / "sounding" / "a: b.mkv", "libopus", seconds=1.5)
    for wanted, saved, codec in ((True, False, "opus"), (False, False, None), (True, True, "opus")):
        assert infer("--videos_folder=sounding", f"--sound={wanted}", f"--save_frames={saved}").returncode == 0
        assert (heard(tmp_path / "results" / "000.mp4") or [None])[0] == codec
        assert read_about(tmp_path / "results" / "000.html")["sound"] == wanted


@pytest.mark.parametrize(("name", "of_available", "expected"), [
    ("SST_Sal", True, "expected_of"), ("SST_Sal_wo_OF", False, "expected_wo")])
def test_published_models_give_the_published_maps(shared, tmp_path, script, name, of_available, expected):
    """The second of the two golden videos (the first takes longer, and is a check for a day with more time)."""
    golden = shared / "golden" / "inference"
    for kind in ("frames", "optical_flow"):
        (tmp_path / "clips" / kind).mkdir(parents=True)
        (tmp_path / "clips" / kind / "001").symlink_to(golden / kind / "001")
    result = script("inference.py", "--videos_folder=clips", f"--inference_model={shared}/released/{name}.pth",
                    f"--of_available={of_available}", "--compute_flow=False", "--overlay=False")
    assert result.returncode == 0, result.stderr
    assert [*maps(tmp_path / "results/001")] == [path.name for path in list_images(golden / "frames/001")]
    for path in list_images(golden / expected / "001"):
        ours = read_image(tmp_path / "results" / "001" / path.name, cv2.IMREAD_GRAYSCALE).astype(int)
        assert abs(ours - read_image(path, cv2.IMREAD_GRAYSCALE)).max() <= 1


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("save_frames", [False, True])
def test_the_end_of_a_video_is_predicted_again_as_it_was(infer, tmp_path, save_frames, flow):
    """A run that goes on reads frames and flow from the middle on."""
    save_model(SST_Sal(6 if flow else 3, 2, "exact"), tmp_path / "model.pth", {})
    infer = partial(infer, f"--save_frames={save_frames}", "--sequence_length=3", "--overlap=1", "--viewer=False",
                    f"--of_available={flow}", f"--inference_model={tmp_path / 'model.pth'}")
    assert infer().returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "results").glob("*/*.png")}
    (tmp_path / "results" / "000" / "000_0024.png").unlink()
    assert "2 maps in" in infer().stdout
    assert {path: path.read_bytes() for path in (tmp_path / "results").glob("*/*.png")} == before


def test_frames_of_which_some_are_missing_are_not_used(infer, tmp_path):
    assert infer("--save_frames=True", "--viewer=False").returncode == 0
    (tmp_path / "videos" / "frames" / "000" / "000_0012.png").unlink()
    result = infer("--results_dir=other", "--viewer=False")
    assert "frames/000 is not whole" in result.stderr and "frames/001" not in result.stderr
    for folder in ("000", "001"):
        first, second = (list_images(tmp_path / results / folder) for results in ("results", "other"))
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_what_a_killed_extraction_left_is_removed_unless_one_is_at_work(infer, videos):
    left, foreign = videos / "frames" / ".007.partial", videos / "frames" / ".008.partial"
    for folder, name in ((left, ".made-from.json"), (left, "007_0000.png"), (foreign, "mine.txt")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    with claimed(videos / "frames", None, "videos_folder"):
        assert infer("--overlay=False", "--viewer=False").returncode == 0 and left.is_dir()
    assert infer("--overlay=False", "--viewer=False").returncode == 0
    assert not left.exists() and (foreign / "mine.txt").is_file()


def test_exact_maps_are_those_of_predict_and_make_the_pictures(infer, small_model, videos, tmp_path):
    results = tmp_path / "results"
    assert infer("--save_maps=both", "--regions=(2, 4)", "--viewer=False").returncode == 0
    expected = np.stack(list(predict(sampled(videos / "a.mp4"), small_model, resolution=(12, 16))))
    exact = np.load(results / "000_maps.npy", mmap_mode="r")
    assert exact.dtype == np.float32 and np.array_equal(exact, expected)
    row = json.loads((results / "000.json").read_text())
    assert len(row["indices"]) == len(row["times"]) == len(exact)
    with (results / "000_regions.csv").open(newline="") as file:
        names, *shares = csv.reader(file)
    assert len(names) == 2 + 8 and [[int(line[1]), float(line[0])] for line in shares] == [
        [index, pytest.approx(time)] for index, time in zip(row["indices"], row["times"])]
    for index, saliency, line in zip(row["indices"], exact, shares):
        levels = read_image(results / f"000/000_{index:04d}.png", cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(grey_levels(saliency), levels)
        mass = (levels * solid_angle(12, 16).numpy()).reshape(2, 6, 4, 4).sum(axis=(1, 3)).ravel()
        assert [float(share) for share in line[2:]] == pytest.approx(list(mass / mass.sum()), abs=1e-6)
    assert "0 maps in" in infer("--save_maps=npy", "--regions=(2, 4)", "--viewer=False").stdout
    (results / "000_regions.csv").unlink()  # now nothing but the table needs the frames
    assert "0 maps in" in infer("--save_maps=npy", "--regions=(2, 4)", "--viewer=False", "--overlay=False").stdout
    assert (results / "000_regions.csv").is_file()


def test_exact_maps_alone_are_continued_and_follow_their_video(infer, videos, tmp_path):
    infer = partial(infer, "--save_maps=npy", "--sequence_length=4", "--overlap=1", "--viewer=False", "--overlay=False")
    results = tmp_path / "results"
    assert "15 maps in" in infer().stdout and not list(results.glob("*/*.png"))
    before = [(results / name).read_bytes() for name in ("000_maps.npy", "001_maps.npy")]
    with (results / "000_maps.npy").open("r+b") as file:  # one number of map 5 is changed
        file.seek(HEADER + 5 * 4 * 12 * 16)
        file.write(b"abcd")
    assert "3 maps in" in infer().stdout  # those of its window
    assert [(results / name).read_bytes() for name in ("000_maps.npy", "001_maps.npy")] == before
    assert "sequence_length=4 (now 5)" in infer("--sequence_length=5").stderr
    (results / "000.json").unlink()  # which says what the maps were made from
    assert "10 maps in" in infer().stdout and (results / "000_maps.npy").read_bytes() == before[0]
    write_video(videos / "a.mp4", noise_frames(12, 32, 64, seed=5), 24)
    assert "4 maps in" in infer().stdout and np.load(results / "000_maps.npy").shape == (4, 12, 16)
    write_video(videos / "a.mp4", noise_frames(15, 32, 64, seed=6), 24)
    assert "5 maps in" in infer("--save_maps=png").stdout
    assert not list(results.glob("*000_maps.npy"))  # it was of another video


@pytest.mark.parametrize("save_frames", [False, True])
def test_a_run_is_continued_and_not_repeated(infer, tmp_path, save_frames):
    infer = partial(infer, f"--save_frames={save_frames}")
    infer("--sequence_length=4", "--overlap=1")
    results = tmp_path / "results"
    before = {path: path.read_bytes() for path in results.glob("*/*.png")}
    times = maps(results / "000")
    (results / "000" / "000_0015.png").unlink()
    (results / "001.mp4").unlink()
    (results / "001.html").unlink()
    result = infer("--sequence_length=4", "--overlap=1")
    assert result.returncode == 0, result.stderr
    after = maps(results / "000")
    kept = {name for name in times if times[name] == after[name]}
    assert kept == set(times) - {"000_0012.png", "000_0015.png", "000_0018.png"}  # its window alone was predicted again
    assert {path: path.read_bytes() for path in results.glob("*/*.png")} == before
    assert (results / "001.mp4").is_file() and read_about(results / "001.html")["frames"] == 5
    assert "0 maps in" in infer("--sequence_length=4", "--overlap=1").stdout


def test_other_settings_do_not_mix_with_what_is_there(infer, tmp_path):
    infer()
    times = maps(tmp_path / "results" / "000")
    assert "sequence_length=20 (now 4)" in one_line(infer("--sequence_length=4", "--overlap=1"))
    assert "geometry=exact (now released)" in one_line(infer("--geometry=released"))
    assert maps(tmp_path / "results" / "000") == times
    assert infer("--sequence_length=4", "--overlap=1", "--overwrite=True").returncode == 0
    assert all(times[name] < time for name, time in maps(tmp_path / "results" / "000").items())
    (tmp_path / "results" / "run.json").unlink()
    assert "no run.json" in one_line(infer())


def test_an_interrupted_run_leaves_whole_files_and_goes_on(infer, videos, small_model, tmp_path):
    write_video(videos / "a.mp4", noise_frames(1200, 32, 64, seed=0), 24)  # 400 samples: long enough to be interrupted
    process = Script("inference.py", f"--videos_folder={videos}", "--of_available=False", *SMALL, "--sequence_length=2",
                     f"--inference_model={small_model}", "--overlap=1", cwd=tmp_path)
    deadline = time.time() + 60
    while not list(tmp_path.glob("results/000/*.png")) and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors and process.returncode == 130
    before = {path: read_image(path).tobytes() for path in tmp_path.glob("results/*/*.png")}
    assert 0 < len(before) < 400 and not list(tmp_path.glob("results/*.mp4"))
    assert infer("--sequence_length=2", "--overlap=1").returncode == 0
    assert (len(maps(tmp_path / "results/000")), len(maps(tmp_path / "results/001"))) == (400, 5)
    assert all(read_image(path).tobytes() == content for path, content in before.items())


def test_frames_alone_are_enough(infer, videos, tmp_path):
    infer("--save_frames=True")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "results" / "000").iterdir()}
    for path in (*videos.glob("*.mp4"), videos / "frames" / "videos.csv"):
        path.unlink()
    (videos / "frames" / "000").rename(videos / "frames" / "mine")
    assert infer("--results_dir=again").returncode == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again" / "mine").iterdir()} == expected
    assert (tmp_path / "again" / "mine.mp4").is_file()


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda path: path.write_bytes(b""), "is empty"),
    (lambda path: path.write_bytes(path.read_bytes()[:99]), "cut short"),
    (lambda path: write_image(path, np.zeros((40, 64, 3), np.uint8)), "64 x 40 pixels")])
def test_a_bad_frame_is_named_and_other_videos_are_unharmed(infer, videos, tmp_path, spoil, message):
    infer("--overlay=False", "--results_dir=before", "--save_frames=True")
    spoil(videos / "frames" / "000" / "000_0024.png")
    line = one_line(infer("--sequence_length=4", "--overlap=1"))
    assert "000_0024.png" in line
    assert message in line
    assert len(maps(tmp_path / "results" / "000")) == 7
    assert len(maps(tmp_path / "results" / "001")) == 5
    assert sorted(path.name for path in (tmp_path / "results").glob("*.mp4")) == ["001.mp4"]


@pytest.mark.parametrize("save_frames", [False, True])
def test_bad_videos_are_named_and_others_unharmed(infer, videos, tmp_path, save_frames):
    (videos / "c.mp4").write_text("hello")
    assert "c.mp4 is not a video" in one_line(infer(f"--save_frames={save_frames}"))
    assert len(maps(tmp_path / "results" / "000")) == 10


def test_both_ways_give_the_same_maps(script, shared, videos, tmp_path):
    command = ["inference.py", f"--videos_folder={videos}", f"--inference_model={shared}/released/SST_Sal.pth", *SMALL,
               "--flow_method=dis_gated", "--sequence_length=4", "--overlap=1"]
    assert script(*command).returncode == 0
    assert not (videos / "frames").exists() and not (videos / "optical_flow").exists()
    assert "flow_resolution=384 (now 24)" in one_line(script(*command, "--flow_resolution=24"))
    assert script(*command, "--save_frames=True", "--results_dir=saved").returncode == 0
    for path in (tmp_path / "saved").glob("*/*.png"):
        assert path.read_bytes() == (tmp_path / "results" / path.parent.name / path.name).read_bytes()


def test_a_video_keeps_its_id_when_others_come(infer, videos, tmp_path):
    infer()
    write_video(videos / "aa.mp4", noise_frames(6, 32, 64, seed=2), 24)
    assert "002 aa.mp4: 2 maps" in infer().stdout
    assert json.loads((tmp_path / "results" / "001.json").read_text())["video"] == "b.mp4"


def test_an_interrupted_video_keeps_its_id_when_others_come(infer, videos, monkeypatch):
    def interrupted(ledger, name, data):
        if name == "000_0012.png":
            raise KeyboardInterrupt
        Ledger.note(ledger, name, data)

    with monkeypatch.context() as patch:
        patch.setattr("results.Ledger.write", interrupted)
        assert infer("--sequence_length=4", "--overlap=1").returncode == 130
    write_video(videos / "0.mp4", noise_frames(6, 32, 64, seed=2), 24)
    result = infer("--sequence_length=4", "--overlap=1")
    assert "000 a.mp4: 10 maps" in result.stdout and "0.mp4: 2 maps" in result.stdout


def test_maps_of_a_replaced_video_are_made_again(infer, videos, tmp_path):
    infer()
    before = (tmp_path / "results" / "000" / "000_0000.png").read_bytes()
    write_video(videos / "a.mp4", noise_frames(12, 64, 128, seed=7), 24)
    os.utime(videos / "a.mp4", (0, 0))  # an older file, copied with its time
    assert "000 a.mp4: 4 maps" in infer().stdout
    assert len(maps(tmp_path / "results" / "000")) == 4
    assert (tmp_path / "results" / "000" / "000_0000.png").read_bytes() != before


def test_a_video_that_was_cut_short_is_named_each_time(infer, tmp_path, videos):
    write_video(videos / "a.mp4", noise_frames(200, 64, 128, seed=0), 24)
    whole = (videos / "a.mp4").read_bytes()
    (videos / "a.mp4").write_bytes(whole[:len(whole) * 3 // 5])
    for _ in range(2):
        assert "a.mp4 was cut short: only" in one_line(infer())
        assert 0 < len(maps(tmp_path / "results" / "000")) < 67


def test_predict_writes_nothing_and_gives_the_maps_of_inference(infer, videos, small_model, tmp_path):
    infer("--sequence_length=4", "--overlap=1")
    frames = list(sampled(videos / "a.mp4"))
    before = sorted(tmp_path.rglob("*"))
    for given in (iter(frames), np.stack(frames)):
        saliency = list(predict(given, small_model))
        assert len(saliency) == 10 and saliency[0].shape == (12, 16) and saliency[0].dtype == np.float32
        for path, ours in zip(list_images(tmp_path / "results" / "000"), saliency):
            assert np.array_equal(read_image(path, cv2.IMREAD_GRAYSCALE), grey_levels(ours))
    assert sorted(tmp_path.rglob("*")) == before


def test_predict_takes_settings_by_their_names(small_model):
    frames, before = noise_frames(3, 32, 64, seed=0), settings(config)
    maps = list(predict(frames, small_model, resolution=(12, 16), overlap=0))
    assert [saliency.shape for saliency in maps] == [(12, 16)] * 3
    assert settings(config) == before


@pytest.mark.parametrize(("given", "message"), [
    ({"resolutoin": (12, 16)}, "there is no setting 'resolutoin'; did you mean resolution?"),
    ({"resolution": (12, 15)}, "resolution must be (height, width)"),
    ({"overlap": 20}, "overlap must be less than")])
def test_predict_refuses_wrong_settings(small_model, given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        predict(noise_frames(3, 32, 64, seed=0), small_model, **given)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--videos_folder=none"], "none does not exist"), (["--videos_folder=empty"], "neither videos nor frames"),
    (["--inference_model=none.pth"], "none.pth does not exist"),
    (["--sequence_lenght=4"], "did you mean sequence_length?"),
    (["--overlap=4.5"], "overlap must be an int"), (["--device=gpu"], "device must be"),
    (["--of_available=True"], "takes frames only: --of_available=False"), (["--results_dir=small.pth"], "small.pth"),
    (["--videos_folder=small.pth"], "small.pth")])
def test_bad_input_is_one_line(infer, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    assert message in one_line(infer(*arguments))


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_results_folder(infer, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    assert "Permission denied: results" in one_line(infer())


def test_flow_is_made_or_missed(script, shared, videos, tmp_path):
    command = ["inference.py", f"--videos_folder={videos}", f"--inference_model={shared}/released/SST_Sal.pth", *SMALL,
               "--of_available=True", "--flow_method=dis"]
    line = one_line(script(*command, "--compute_flow=False"))
    assert "000_0000.png is missing" in line
    assert "python optical_flow.py" in line
    assert script(*command, "--save_frames=True").returncode == 0
    assert len(maps(videos / "optical_flow" / "000")) == len(maps(tmp_path / "results" / "000")) == 10
    (videos / "optical_flow" / "000" / "000_0012.png").unlink()
    line = one_line(script(*command, "--compute_flow=False", "--overwrite=True"))
    assert "000_0012.png" in line


def test_a_projection_is_written_down_and_not_mixed_with_another(infer, videos, tmp_path):
    (videos / "GS01.360").write_bytes(b"")
    assert "GS01.360 holds GoPro's" in one_line(infer("--projection=eac"))
    row = json.loads((tmp_path / "results" / "000.json").read_text())
    assert row["projection"] == "eac" and row["times"] == pytest.approx(np.arange(10) / 8, abs=1e-3)
    assert row["end"] == pytest.approx(30 / 24, abs=0.01)
    assert "projection=eac (now )" in one_line(infer())


def test_names_that_are_not_utf8_are_predicted(infer, videos, tmp_path):
    (videos / "a.mp4").rename(videos / "12:30 \\ a.mp4")
    (videos / "b.mp4").rename(videos / os.fsdecode(b"caf\xe9.mp4"))
    for frames in ("--save_frames=False", "--save_frames=True", "--save_frames=True"):
        assert infer(frames, "--overwrite=True").returncode == 0
    titles = {json.loads(path.read_text())["video"] for path in (tmp_path / "results").glob("0*.json")}
    assert titles == {"12:30 %5C a.mp4", "caf%E9.mp4"}
