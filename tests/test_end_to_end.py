"""The example of docs/training.md, at a tiny size: videos and gaze are rendered, then learnt and scored."""

import csv
from pathlib import Path

import numpy as np
import torch

from scoring.comparison import EQUATOR, PREDICTION, TRAINING_MEAN

SHARED = ("--frames_dir=set/videos/frames", "--gt_dir=set/saliency_maps", "--videos_train_file=set/train.txt",
          "--videos_test_file=set/test.txt", "--resolution=(24, 48)", "--sequence_length=5", "--overlap=2",
          "--device=cpu", "--num_workers=0")


def test_from_videos_and_gaze_to_scores_above_the_baselines(run_script):
    torch.set_num_threads(1)  # so small a model gains nothing from more; run_script puts it back
    for script, *arguments in (
            ("render.py", "dataset", "set", "--videos=10", "--observers=8", "--seconds=2", "--height=32"),
            ("optical_flow.py", *SHARED, "--videos_folder=set/videos"),
            ("gaze.py", *SHARED, "--gaze_dir=set"),
            ("train.py", *SHARED, "--skip_frames=0", "--hidden_dim=6", "--loss=proper", "--optimizer=muon", "--lr=0.06",
             "--lr_schedule=cosine", "--batch_size=3", "--epochs=7", "--model_name=tiny"),
            ("evaluate.py", *SHARED, "--inference_model=models/tiny.pth", "--results_dir=maps")):
        done = run_script(script, *arguments)
        assert done.returncode == 0, done.stderr
    with Path("evaluation/videos.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def score(predictor, metric):
        return np.mean([float(row[metric]) for row in rows if row["predictor"] == predictor])

    assert len({row["video"] for row in rows}) == 2
    for baseline in (EQUATOR, TRAINING_MEAN):
        for metric, margin in (("CC", 0.03), ("NSS", 0.3), ("AUC-Judd", 0.03), ("sAUC", 0.05)):
            assert score(PREDICTION, metric) > score(baseline, metric) + margin, (baseline, metric)
