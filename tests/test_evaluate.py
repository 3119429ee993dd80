"""evaluate.py as a user runs it, on the maps of a few frames."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import evaluate
import metrics
import results
from errors import InputError
from files import write_image, write_text
from maps.levels import grey_levels, scaled_to_maximum
from model import SST_Sal, load_model, save_model
from recordings.ground_truth import count_maps, saliency_maps
from recordings.samples import Samples
from recordings.tables import fixations_text, read_fixations
from scoring import report
from settings import settings
from sphere import solid_angle
from video.catalogue import COLUMNS, write_catalogue
from video.stored_maps import open_maps

H, W = 12, 20
NUMBERS = (0, 4, 8, 12)


@pytest.fixture
def config(monkeypatch, tmp_path):
    """The settings that a test may change, set for `data`, in whose folder it runs."""
    monkeypatch.chdir(tmp_path)
    open_maps.cache_clear()  # whose paths are relative
    for name, value in settings(evaluate.config).items():
        monkeypatch.setattr(evaluate.config, name, value)  # puts back at the end what the test changed
    evaluate.config.resolution, evaluate.config.num_workers, evaluate.config.device = (H, W), 0, "cpu"
    evaluate.config.of_available = False
    evaluate.config.videos_test_file, evaluate.config.videos_train_file = "data/test.txt", "data/train.txt"
    threads = torch.get_num_threads()
    yield evaluate.config
    torch.set_num_threads(threads)


def blob(rng, height, width):
    """An 8-bit map with one Gaussian somewhere."""
    sample = Samples(np.zeros(1, int), rng.uniform(-180, 180, 1), rng.uniform(-60, 60, 1), np.full(1, "", object))
    return scaled_to_maximum(saliency_maps(sample, [0], 0.4, height, width))[0]


def gaze_samples(rng, numbers, users):
    frame = np.repeat(numbers, len(users))
    return Samples(frame, rng.uniform(-180, 180, len(frame)).round(4), rng.uniform(-60, 60, len(frame)).round(4),
                   np.array(list(users) * len(numbers), object))


@pytest.fixture
def data(tmp_path):
    """True maps, predictions of another size and fixations of the test videos 000 and 001, and of 002 to train on.
    Frame 12 of 000 has a constant prediction and no fixations."""
    rng = np.random.default_rng(0)
    for video in ("000", "001", "002"):
        for number in NUMBERS:
            write_map(tmp_path / f"data/saliency_maps/{video}/{number:04d}.png", blob(rng, H, W))
            write_map(tmp_path / f"results/{video}/{video}_{number:04d}.png", blob(rng, 2 * H, 2 * W))
        samples = gaze_samples(rng, NUMBERS if video == "001" else NUMBERS[:3], ("ann", "bob", "eve"))
        (tmp_path / "data/fixations").mkdir(exist_ok=True)
        write_text(tmp_path / f"data/fixations/{video}.csv", fixations_text(video, samples))
    write_map(tmp_path / "results/000/000_0012.png", np.full((H, W), 7, np.uint8))
    (tmp_path / "data/test.txt").write_text("000,001\n\n")
    (tmp_path / "data/train.txt").write_text("002,999\n")
    return tmp_path


def write_map(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)


@pytest.fixture
def run(config, data, capsys, monkeypatch):
    """run("--name=value", ...) calls evaluate.main and returns what it prints. Its figures, which take longer than all
    else, are empty files unless `draws`."""
    def call(*arguments, draws=False):
        with monkeypatch.context() as patch:
            if not draws:
                patch.setattr(evaluate, "write_figure", lambda path, figure: path.touch())
            evaluate.main(list(arguments))
        return capsys.readouterr().out

    return call


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_whole_run(data, run):
    printed = run(draws=True)
    folder = data / "evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["frames.csv", "frames.png", "scores.png", "table.md",
                                                              "videos.csv"]
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert text in printed
    predictors = ["prediction", "equator prior", "mean training map", "another video's map", "other observers' map"]
    assert [line.split(" | ")[0][2:] for line in text.splitlines() if " | 0" in line] == 2 * predictors
    assert "2 videos, 8 frames at 12 x 20" in text
    assert "Frames, of 8, without a score (constant map, no fixation) for prediction: CC 1, SIM 1, KLD 1, NSS 1" in text

    frames = {(row["video"], row["frame"]): row for row in read_csv(folder / "frames.csv")}
    assert len(frames) == 8
    assert frames["000", "12"]["CC"] == ""
    pred, truth = (cv2.imread(str(data / path), cv2.IMREAD_GRAYSCALE)
                   for path in ("results/001/001_0008.png", "data/saliency_maps/001/0008.png"))
    pred = torch.from_numpy(cv2.resize(pred, (W, H), interpolation=cv2.INTER_AREA))
    samples = read_fixations(data / "data/fixations/001.csv", "001")[0]
    counts = torch.from_numpy(count_maps(samples, np.array(NUMBERS), H, W)[2])
    assert counts.sum() == 3
    row = frames["001", "8"]
    for column, expected in {"CC": metrics.cc(pred, torch.from_numpy(truth), solid_angle(H, W)),
                             "NSS plain": metrics.nss(pred, counts)}.items():
        assert float(row[column]) == pytest.approx(expected.item(), rel=1e-4)

    # shuffled AUC: against the fixations of the other test video and of the training video, not its own
    others = sum(count_maps(part._replace(frame=0 * part.frame), np.zeros(1), H, W)[0] for part in
                 (read_fixations(data / f"data/fixations/{video}.csv", video)[0] for video in ("000", "002")))
    assert float(row["sAUC"]) == pytest.approx(metrics.shuffled_auc(pred, counts, torch.from_numpy(others)).item())

    videos = read_csv(folder / "videos.csv")
    assert len(videos) == 5 * 2
    mean = np.mean([float(frames["001", str(number)]["CC"]) for number in NUMBERS])
    assert float(videos[1]["CC"]) == pytest.approx(mean, rel=1e-4)
    assert (videos[1]["video"], videos[1]["predictor"], videos[1]["frames"]) == ("001", "prediction", "4")
    for name in ("scores.png", "frames.png"):
        assert cv2.imread(str(folder / name)).std() > 5


def test_exact_maps_are_compared_as_their_images_are(data, run):
    rng = np.random.default_rng(1)
    for video in ("000", "001"):
        maps = rng.standard_normal((len(NUMBERS), 2 * H, 2 * W)).astype(np.float32)
        for number, saliency in zip(NUMBERS, maps):
            write_map(data / f"results/{video}/{video}_{number:04d}.png", grey_levels(saliency))
        np.save(data / f"results/{video}_maps.npy", maps)
        write_text(data / f"results/{video}.json",
                   json.dumps({"id": video, "video": f"{video}.mp4", "indices": list(NUMBERS)}))
    expected = run("--evaluation_dir=images")
    for path in (data / "results").glob("*/*.png"):
        path.unlink()
    assert run("--evaluation_dir=arrays").replace("arrays", "images") == expected
    write_text(data / "results/001.json", json.dumps({"id": "001", "video": "001.mp4", "indices": [0]}))
    with pytest.raises(InputError, match=r"001_maps.npy does not hold the 1 maps that 001.json lists"):
        run()


def test_maps_alone_are_enough(data, run):
    """Without fixations, training videos and frames, one test video, some frames not predicted."""
    for path in (data / "data/fixations").iterdir():
        path.unlink()
    (data / "data/test.txt").write_text("001")
    (data / "results/001/001_0004.png").unlink()
    printed = run("--videos_train_file=nowhere.txt")
    assert "001: 1 of 4 true maps have no prediction and are left out" in printed
    assert "1 videos, 3 frames" in printed
    assert "No fixations are known for 001." in printed
    assert "ther observers" not in printed
    row = next(line for line in printed.splitlines() if line.startswith("| prediction"))
    assert row.split(" | ")[4:] == ["–", "–", "–", "–", "– |"]
    assert "[" not in row  # one video has no interval


def test_constant_predictions_are_counted_not_a_crash(data, run):
    for path in (data / "results").rglob("*.png"):
        write_map(path, np.zeros((H, W), np.uint8))
    (data / "results/run.json").write_text("no JSON")
    (data / "results/000/preview.png").write_bytes(b"not a map, and without a number")
    printed = run()
    assert "| prediction | – | – |" in printed
    assert "for prediction: CC 8, SIM 8, KLD 8, NSS 8, AUC-Judd 8, AUC-Borji 8, sAUC 8, IG 8." in printed
    assert not (data / "evaluation/frames.png").exists()


@pytest.fixture
def frames(data, monkeypatch):
    """Frames of both test videos and two models; nothing predicted yet. The figures are empty, which saves seconds."""
    for name in ("draw_scores", "draw_frames"):
        monkeypatch.setattr(report, name, lambda _: Figure())
    rng = np.random.default_rng(1)
    for path in (data / "results").rglob("*.png"):
        path.unlink()
    for video in ("000", "001"):
        for number in NUMBERS:
            write_map(data / f"data/frames/{video}/{video}_{number:04d}.png", rng.integers(0, 256, (H, W, 3), np.uint8))
    torch.manual_seed(0)
    for name in ("a", "b"):
        save_model(SST_Sal(3, 2, "exact", latitude=True), data / f"{name}.pth", {})
    return data


def test_predicts_what_is_missing(frames, run):
    arguments = ("--inference_model=a.pth", "--sequence_length=3", "--overlap=1")
    table = run(*arguments)
    maps = sorted((frames / "results").rglob("*.png"))
    assert [path.name for path in maps] == [f"{video}_{number:04d}.png" for video in ("000", "001")
                                            for number in NUMBERS]
    # again: nothing is predicted but what was lost, and it comes out the same
    maps[2].unlink()
    times = {path: path.stat().st_mtime_ns for path in maps if "001_" in path.name}
    assert run(*arguments) == table
    assert {path: path.stat().st_mtime_ns for path in times} == times
    # another model must not be given the first one's maps
    with pytest.raises(InputError, match=r"results holds maps of a.pth, but inference_model is b.pth"):
        run(*arguments, "--inference_model=b.pth")
    assert run(*arguments, "--inference_model=b.pth", "--overwrite=True") != table


def test_maps_of_inference_are_compared_as_they_are(frames, run):
    (frames / "a.pth").rename(frames / "model.pth")
    evaluate.config.inference_model = "model.pth"
    model = load_model("model.pth", "cpu")
    write_map(frames / "results/000/000_0004.png", blob(np.random.default_rng(5), H, W))
    record = {"made_by": results.describe(model, evaluate.config), "since": 0}
    (frames / "results/run.json").write_text(json.dumps(record))
    (frames / "data/test.txt").write_text("000")
    assert "1 videos, 1 frames" in run()


@pytest.mark.parametrize(("spoilt", "arguments", "message"), [
    ("data/saliency_maps", (), f"{Path('data/saliency_maps/001')} holds no ground-truth maps of video 001"),
    ("results/001", (), f"{Path('results/001')} holds no predicted maps of video 001"),
    ("results", (), "the model nowhere.pth does not exist"),
    ("data/frames/001", ("--overwrite=True", "--inference_model=a.pth"),
     f"{Path('data/frames/001')} holds no frames (NAME_NUMBER.png) of video 001"),
    ("data/test.txt", (), "data/test.txt lists no videos"),
    ("nothing", ("--equator_sigma=0",), "equator_sigma must be above 0")])
def test_bad_input(data, run, spoilt, arguments, message):
    save_model(SST_Sal(3, 2, "exact", latitude=True), data / "a.pth", {})
    for path in (data / spoilt).rglob("*.png"):
        path.unlink()
    if spoilt.endswith(".txt"):
        (data / spoilt).write_text("\n")
    with pytest.raises(InputError, match=re.escape(message)):
        run("--inference_model=nowhere.pth", *arguments)
    assert not (data / "evaluation").exists()


def test_damaged_frame_is_named_and_what_was_predicted_is_kept(frames, run):
    path = frames / "data/frames/001/001_0012.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"001_0012.png is not an image that can be read"):
        run("--inference_model=a.pth", "--sequence_length=2", "--overlap=0")
    assert len(list((frames / "results").rglob("*.png"))) == 6


def test_from_the_command_line(run_script):
    result = run_script("evaluate.py", "--videos_test_file=nowhere.txt")
    assert result.returncode == 1
    assert result.stderr.startswith("error: nowhere.txt does not exist")


def test_no_frame_in_common(config, data):
    for number in NUMBERS:
        (data / f"results/001/001_{number:04d}.png").rename(data / f"results/001/001_{number + 1:04d}.png")
    with pytest.raises(InputError, match=r"no frame of video 001 has both .* \(such as 0\) and .* \(such as 1\)"):
        evaluate.load_videos(["000", "001"], {})


def test_fixations_of_frames_that_are_not_compared_are_left_out(config, data):
    (data / "results/001/001_0004.png").unlink()
    video = evaluate.load_videos(["001"], {})[0]
    assert video.numbers.tolist() == [0, 8, 12]
    assert sorted(set(video.samples.frame.tolist())) == [0, 8, 12]
    assert len(video.truth) == len(video.predictions) == 3
    expected = cv2.imread(str(data / "data/saliency_maps/001/0008.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(video.truth[1], expected)


def test_videos_without_true_maps_are_left_out_and_named(data, run):
    for path in (data / "data/saliency_maps/001").iterdir():
        path.unlink()
    text = run()
    assert "Left out, since data/saliency_maps has no maps of them: 001." in text
    assert "1 videos, 4 frames" in text


def test_maps_that_come_ready_are_compared_in_place(data, run):
    plain = run()
    folder = data / "data/saliency_maps/001"
    maps = [cv2.imread(str(folder / f"{number:04d}.png"), cv2.IMREAD_GRAYSCALE) for number in NUMBERS]
    for path in folder.iterdir():
        path.unlink()
    np.save(data / "data/saliency_maps/001.npy", np.stack(maps))
    assert run() == plain  # as many maps as predicted frames: one each


def test_arrays_with_a_map_a_second(frames, run):
    """Frames at 0, 4, 8 and 12 of 8 frames a second, extracted without a catalogue: 0 to 0.375 s."""
    folder = frames / "data/saliency_maps/001"
    maps = [cv2.imread(str(folder / f"{number:04d}.png"), cv2.IMREAD_GRAYSCALE) for number in NUMBERS]
    shutil.rmtree(folder)
    np.save(frames / "data/saliency_maps/001.npy", np.stack(maps[:2]))
    (frames / "data/test.txt").write_text("001")
    arguments = ("--inference_model=a.pth", "--sequence_length=2", "--overlap=0")
    assert "1 videos, 1 frames" in run(*arguments)  # the maps of frames 0 and 1, of which only 0 is predicted
    assert "1 videos, 4 frames" in run(*arguments, "--gt_fps=5")
    videos = evaluate.load_videos(["001"], evaluate.find_sources(["001"]))
    np.testing.assert_array_equal(videos[0].truth, [maps[0], maps[0], maps[1], maps[1]])


def test_the_first_frames_can_be_left_out(data, run):
    assert "2 videos, 4 frames" in run("--evaluation_skip=2")
    assert "the first 2 frames of each video are left out" in run("--evaluation_skip=2")
    with pytest.raises(InputError, match="no frame of video 000 has both"):
        run("--evaluation_skip=20")


def test_a_protocol_by_name_wants_ground_truth_made_so(data, run):
    assert "Protocol: true maps and fixations are as they were handed out (gaze)" in run()
    text = run("--protocol=sst_sal", "--evaluation_skip=1")
    assert "Weighted by the sine from 0 to pi over the rows" in text
    assert "Protocol sst_sal" in text
    made = {"fixations": "samples", "gaze_sigma": 5.0, "gaze_blur": "sphere"}
    (data / "data/saliency_maps/gaze.json").write_text(json.dumps(made))
    assert "fixations are all samples, true maps are blurred on the sphere (gaze)" in run("--protocol=ours")
    with pytest.raises(InputError, match=r"was made with gaze_blur=sphere, which is not protocol sst_sal; run gaze.py"):
        run("--protocol=sst_sal")


def test_the_authors_protocol_by_hand(data, run):
    """The sine from 0 to pi as weights of rows, and the first frames left out, by plain numpy."""
    text = run("--protocol=sst_sal", "--evaluation_skip=1")
    rows = {(row["video"], int(row["frame"])): row for row in read_csv(data / "evaluation/frames.csv")}
    assert {frame for _, frame in rows} == set(NUMBERS[1:])
    weights = np.repeat(np.sin(np.linspace(0, np.pi, H)), W)
    for (video, frame), row in rows.items():
        if (video, frame) == ("000", 12):
            continue  # a constant prediction
        pred, truth = (cv2.imread(str(data / path), cv2.IMREAD_GRAYSCALE) for path in (
            f"results/{video}/{video}_{frame:04d}.png", f"data/saliency_maps/{video}/{frame:04d}.png"))
        pred = cv2.resize(pred, (W, H), interpolation=cv2.INTER_AREA)
        maps = [image.astype(float).ravel() for image in (pred, truth)]
        covariance = np.cov(*maps, aweights=weights, ddof=0)
        shares = [values * weights / (values * weights).sum() for values in maps]
        expected = {"CC": covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1]),
                    "SIM": np.minimum(*shares).sum(),
                    "KLD": np.sum(shares[1] * np.log(2.2204e-16 + shares[1] / (shares[0] + 2.2204e-16)))}
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-3), (video, frame, name)
    means = [np.mean([float(row["CC"]) for (name, _), row in rows.items() if name == video and row["CC"]])
             for video in ("000", "001")]
    assert f"| prediction | {np.mean(means):.3f} [" in text


def test_scores_are_split_by_the_camera_s_motion(frames, run):
    text = run("--inference_model=a.pth", "--sequence_length=2", "--overlap=0")
    assert "by the camera's motion" in text
    assert re.search(r"\| (still|moving) camera, [12] videos? \|", text)


def test_split_lists_name_files_where_there_is_a_catalogue(frames, run):
    """The frames of 000 are those of x.mp4: the list says x, and its maps and fixations are called so."""
    described = (9, 24, W, H, 13, 4, 4, "mono", "equirectangular", "")
    rows = {identity: dict(zip(COLUMNS, (identity, f"{name}.mp4", *described)))
            for identity, name in (("000", "x"), ("001", "y"))}
    write_catalogue(frames / "data/frames", rows)
    for identity, name in (("000", "x"), ("001", "y")):
        (frames / f"data/saliency_maps/{identity}").rename(frames / f"data/saliency_maps/{name}")
    (frames / "data/test.txt").write_text("x,y")
    assert "2 videos, 8 frames" in run("--inference_model=a.pth", "--sequence_length=2", "--overlap=0")
    assert not (frames / "results/x").exists()
    assert {row["video"] for row in read_csv(frames / "evaluation/frames.csv")} == {"x", "y"}
    (frames / "data/test.txt").write_text("000")
    (frames / "data/saliency_maps/x").rename(frames / "data/saliency_maps/000")
    with pytest.raises(InputError, match=r"its folder 000 is of x.mp4"):
        run("--inference_model=a.pth", "--overwrite=True")
