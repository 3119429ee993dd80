"""What a run leaves in its folder."""

import json

import numpy as np

from files import read_image
from training import run_folder

HISTORY = [{"epoch": number, "train_loss": 1 / number, "validation_loss": loss, "lr": 0.8, "clips_per_s": 2.5,
            "waiting_share": 0.01} for number, loss in ((1, 0.4), (2, 0.2), (3, 0.3), (4, 0.2))]


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    paths = [run_folder.new_path(tmp_path / "runs", "name") for _ in range(3)]
    assert len(set(paths)) == 3 and all(path.is_dir() and path.name.startswith("name_20") for path in paths)


def test_best_is_the_first_lowest_validation_loss_or_else_training_loss():
    assert run_folder.best(HISTORY)["epoch"] == 2
    unvalidated = [{"epoch": line["epoch"], "train_loss": line["train_loss"]} for line in HISTORY]
    assert run_folder.best(unvalidated)["epoch"] == 4


def test_sentence_names_losses_and_the_best():
    assert "train 0.5, validation 0.2 (best so far)" in run_folder.sentence(HISTORY[:2], 9)
    assert "best" not in run_folder.sentence(HISTORY, 9)


def test_log_holds_each_epoch_once_however_often_it_is_written(tmp_path):
    folder = run_folder.RunFolder(tmp_path, {}, 1)
    for count in (1, 2, 3, 3, 4):
        folder.write_history(HISTORY[:count])
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == HISTORY
    assert read_image(tmp_path / "curves.png").std() > 1
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_pictures_show_frame_target_and_prediction(tmp_path):
    frame = np.zeros((3, 6, 10), np.float32)
    frame[2] = 1  # BGR: red
    target = np.tile(np.linspace(0, 1, 10, dtype=np.float32), (6, 1))
    run_folder.RunFolder(tmp_path, {}, 1).write_pictures(7, [("video a", frame, target, -target)] * 2)
    picture = read_image(tmp_path / "pictures" / "epoch_0007.png").astype(int)
    red = (picture[..., 2] > 250) & (picture[..., :2].max(-1) < 5)
    assert red.mean() > 0.1 and np.nonzero(red.any(0))[0].max() < picture.shape[1] / 3  # frames on the left, as BGR
