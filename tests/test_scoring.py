"""The scores of frames, the baselines, and the tables and figures of an evaluation."""

import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

import metrics
from maps.levels import scaled_to_maximum
from recordings.ground_truth import saliency_maps
from recordings.samples import Samples
from scoring import report
from scoring.baselines import equator_prior, leave_one_out, mean_map
from scoring.camera import background_speed, camera_speed, split_by_motion
from scoring.scores import COLUMNS, FRAMES_AT_A_TIME, METRICS, score_in_parts, sine_weights
from scoring.statistics import bootstrap
from sphere import solid_angle

H, W = 12, 20


def test_bootstrap():
    values = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high = bootstrap(values, seed=0)
    assert mean == values.mean()
    width = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((mean - width, mean + width), abs=0.1 * width)
    assert bootstrap(values, seed=0) == (mean, low, high)
    assert bootstrap(np.append(values, np.nan), seed=0) == (mean, low, high)
    np.testing.assert_equal(bootstrap(np.array([np.nan, 5]), seed=0), (5, np.nan, np.nan))
    np.testing.assert_equal(bootstrap(np.array([np.nan]), seed=0), (np.nan, np.nan, np.nan))


def test_table_gives_every_video_the_same_weight_and_counts_what_has_no_score():
    frames = {"a": np.array([1.0, np.nan]), "b": np.array([0.25, 0.25, 0.25]), "c": np.array([np.nan])}
    scores = {"prediction": {name: dict.fromkeys(COLUMNS, values) for name, values in frames.items()}}
    text = report.tables(scores, ["a note"], seed=0)
    rows = [line for line in text.splitlines() if line.startswith("| prediction")]
    assert len(rows) == 2
    assert rows[0].split(" | ")[1] == "0.625 [0.250, 1.000]"
    assert "Frames, of 6, without a score (constant map, no fixation) for prediction: CC 2, SIM 2" in text
    assert "a note" in text
    # every line of a table has as many cells
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_figure_has_a_panel_for_each_score_that_any_video_has():
    def titles(missing):
        values = {column: np.array([np.nan if column.split()[0] in missing else 0.5]) for column in COLUMNS}
        panels = report.draw_scores({"prediction": {"a": values}}).axes
        return [axes.get_title()[:-2] for axes in panels if axes.axison]

    assert titles(()) == list(METRICS)
    assert titles(("sAUC",)) == [metric for metric in METRICS if metric != "sAUC"]
    assert titles(("NSS", "AUC-Judd", "AUC-Borji", "sAUC", "IG")) == ["CC", "SIM", "KLD"]  # maps without fixations
    assert titles(METRICS) == ["CC"]


# ----------------------------------------------------------------------------------------------------------- baselines


def test_equator_prior_is_a_gaussian_of_latitude():
    prior = equator_prior(180, 6, math.radians(20))
    torch.testing.assert_close(prior, prior.flip(0))
    torch.testing.assert_close(prior[69:71, 0].mean().item(), math.exp(-0.5), rtol=1e-3, atol=0)  # 20 degrees north
    assert (prior == prior[:, :1]).all()


def test_mean_map():
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, (count, H, W), np.uint8) for count in (4, FRAMES_AT_A_TIME + 3)]
    videos[1][-1] = 0  # an empty map counts nothing
    mean = mean_map(videos)
    means = [np.mean([image / image.sum() for image in video.astype(float) if image.any()], axis=0) for video in videos]
    np.testing.assert_allclose(mean, (means[0] + means[1]) / 2)
    assert mean.sum().item() == pytest.approx(1)


def test_each_frame_leaves_out_one_observer_by_turns():
    numbers = np.array([3, 7, 9, 11])
    samples = Samples(np.array([3, 3, 3, 7, 7, 7, 9, 11, 11]), np.linspace(-150, 150, 9), np.linspace(-40, 40, 9),
                      np.array(["ann", "bob", "bob", "ann", "bob", "bob", "ann", "", "bob"], object))
    prior = equator_prior(H, W, 0.4)
    others, one, counts = leave_one_out(samples, numbers, 0.3, prior)
    np.testing.assert_array_equal(counts.sum(axis=(1, 2)), [1, 2, 0, 0])  # ann, bob; then only one is known by name
    assert not one[2:].any()

    for position, (left_out, rest) in enumerate([([0], [1, 2]), ([4, 5], [3])]):
        alone, together = (saliency_maps(samples.where(rows), numbers[[position]], 0.3, H, W)
                           for rows in (left_out, rest))
        np.testing.assert_array_equal(one[position], scaled_to_maximum(alone)[0])
        mixed = 0.9 * together[0] / together.sum() + 0.1 * (prior / prior.sum()).numpy()
        np.testing.assert_allclose(others[position], mixed, rtol=1e-5)


def test_scores_in_parts_are_the_metrics():
    generator = torch.Generator().manual_seed(0)
    count = 2 * FRAMES_AT_A_TIME + 1
    pred, target = (torch.rand(count, H, W, generator=generator) for _ in range(2))
    counts = (torch.rand(count, H, W, generator=generator) > 0.9).float()
    others, prior, area = counts.sum(0).roll(3, 0), equator_prior(H, W, 0.4), solid_angle(H, W)
    with ThreadPoolExecutor(2) as pool:
        scores = score_in_parts(pool, pred, target, counts, (others, prior, area))
        single = score_in_parts(pool, prior[None], target, counts, (others, prior, area))
    assert set(scores) == set(COLUMNS)
    for column, expected in {"CC": metrics.cc(pred, target, area), "CC plain": metrics.cc(pred, target),
                             "KLD": metrics.kld(pred, target, area), "SIM plain": metrics.sim(pred, target),
                             "NSS": metrics.nss(pred, counts, area), "sAUC": metrics.shuffled_auc(pred, counts, others),
                             "AUC-Judd": metrics.auc_judd(pred, counts, area),
                             "AUC-Borji plain": metrics.auc_borji(pred, counts),
                             "IG": metrics.information_gain(pred, counts, prior, area)}.items():
        np.testing.assert_allclose(scores[column], expected)
    assert all(len(values) == count for values in single.values())
    np.testing.assert_array_equal(single["IG"], 0)


def test_cameras_that_move_are_told_from_things_that_move():
    turned, still = np.zeros((2, 96, 192, 2), np.float32)
    turned[..., 0] = 4          # of 192 columns: 7.5 degrees at the equator
    still[40:60, 50:90] = 9     # a thing
    assert background_speed(turned) == pytest.approx(7.5 * math.cos(math.radians(30)), rel=0.02)  # of the middle row
    assert background_speed(still) == 0
    scene = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 192, 3), np.uint8), (0, 0), 3)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    speeds = {"turns": camera_speed([(scene, np.roll(scene, 2, 1))], 8), "rests": camera_speed([(scene, scene)], 8),
              "short": camera_speed([], 8)}
    assert split_by_motion(speeds) == {"still camera": ["rests"], "moving camera": ["turns"]}


def test_sine_weights_are_near_the_solid_angle():
    area, sine = solid_angle(60, 8), sine_weights(60, 8)
    assert sine.shape == (60, 8)
    assert sine[0, 0] == 0 and sine[-1].max() < 1e-12
    assert (area / area.sum() - sine / sine.sum()).abs().max() < 1e-4
