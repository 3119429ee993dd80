"""README's "without any recordings" at a tiny size: what is rendered, watched, trained on and scored is learnt."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import config
import evaluate
import gaze
import optical_flow
import train
from settings import settings
from synthetic.observers import write_dataset

SHARED = ("--frames_dir=set/videos/frames", "--gt_dir=set/saliency_maps", "--videos_train_file=set/train.txt",
          "--videos_test_file=set/test.txt", "--resolution=(32, 64)", "--sequence_length=5", "--overlap=2",
          "--device=cpu", "--num_workers=0")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(script, "--name=value", ...) runs a script's main in tmp_path, with SHARED and otherwise default settings."""
    monkeypatch.chdir(tmp_path)
    defaults, threads = settings(config), torch.get_num_threads()
    torch.set_num_threads(1)

    def call(script, *arguments):
        for name, value in defaults.items():
            monkeypatch.setattr(config, name, value)
        assert not script.main([*SHARED, *arguments])

    yield call
    torch.set_num_threads(threads)


def test_from_videos_and_gaze_to_scores_above_the_baselines(run):
    write_dataset("set", videos=10, observers=8, seconds=2, height=48, seed=0)
    run(optical_flow, "--videos_folder=set/videos")
    run(gaze, "--gaze_dir=set")
    run(train, "--skip_frames=0", "--hidden_dim=8", "--loss=proper", "--optimizer=adam", "--lr=0.03", "--epochs=15",
        "--lr_schedule=cosine", "--model_name=tiny")
    run(evaluate, "--inference_model=models/tiny.pth", "--results_dir=maps")
    with Path("evaluation/videos.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def score(predictor, metric):
        return np.mean([float(row[metric]) for row in rows if row["predictor"] == predictor])

    assert len({row["video"] for row in rows}) == 2
    for baseline in (evaluate.EQUATOR, evaluate.TRAINING_MEAN):
        for metric, margin in (("CC", 0.03), ("NSS", 0.3), ("AUC-Judd", 0.03), ("sAUC", 0.05)):
            assert score(evaluate.PREDICTION, metric) > score(baseline, metric) + margin, (baseline, metric)
