"""The metrics, by loops over pixels, by values known without computing, and on real maps."""

import math
from pathlib import Path

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metrics
from sphere import solid_angle

MAPS = Path(__file__).parents[2] / "shared/maps"
FIXATED = (metrics.nss, metrics.auc_judd, metrics.auc_borji)
PAIRED = (metrics.cc, metrics.sim, metrics.kld)


def random_maps(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_fixations(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full(shape, 0.2, dtype=torch.float64), generator=generator).long()


def points(fixations):
    """[(row, column), ...], each as often as it was fixated."""
    return [tuple(place) for place in fixations.nonzero().tolist() for _ in range(int(fixations[tuple(place)]))]


def cells(maps):
    return [(row, column) for row in range(maps.shape[0]) for column in range(maps.shape[1])]


def auc_by_pairs(pred, positives, negatives):
    """`positives` a list of places, `negatives` a list of (place, weight)."""
    won = sum(weight * (1.0 if pred[p] > pred[n] else 0.5 if pred[p] == pred[n] else 0.0)
              for p in positives for n, weight in negatives)
    return float(won / (len(positives) * sum(weight for _, weight in negatives)))


@pytest.fixture(params=["plain", "solid angle"])
def weights(request):
    return None if request.param == "plain" else solid_angle(6, 10)


@pytest.fixture
def area(weights):
    return torch.ones(6, 10, dtype=torch.float64) if weights is None else weights


def test_paired_metrics_by_loops(weights, area):
    pred, target = random_maps(2, 3, 6, 10), random_maps(2, 3, 6, 10, seed=1)
    scores = [metric(pred, target, weights) for metric in PAIRED]
    assert all(score.shape == (2, 3) for score in scores)
    total = sum(area[c].item() for c in cells(area))
    for b in range(2):
        for f in range(3):
            p, t = pred[b, f], target[b, f]
            p_mean, t_mean = (sum(area[c] * m[c] for c in cells(m)) / total for m in (p, t))
            moment = {(i, j): sum(area[c] * x[c] * y[c] for c in cells(area))
                      for i, x in enumerate((p - p_mean, t - t_mean)) for j, y in enumerate((p - p_mean, t - t_mean))}
            p_sum, t_sum = (sum(area[c] * m[c] for c in cells(m)) for m in (p, t))
            share = [(area[c] * p[c] / p_sum, area[c] * t[c] / t_sum) for c in cells(p)]
            expected = [moment[0, 1] / (moment[0, 0] * moment[1, 1]).sqrt(),
                        sum(min(x, y) for x, y in share),
                        sum(y * math.log(y / x) for x, y in share)]
            torch.testing.assert_close(torch.stack([score[b, f] for score in scores]), torch.stack(expected))


@pytest.mark.parametrize("levels", [3, 10**9], ids=["ties", "no ties"])
def test_fixation_metrics_by_loops(weights, area, levels):
    pred = (random_maps(4, 6, 10) * levels).floor()
    fixations, others = random_fixations(4, 6, 10), random_fixations(4, 6, 10, seed=1)
    baseline = random_maps(6, 10, seed=2)
    judd, borji, nss = (metric(pred, fixations, weights)
                        for metric in (metrics.auc_judd, metrics.auc_borji, metrics.nss))
    shuffled = metrics.shuffled_auc(pred, fixations, others)
    gain = metrics.information_gain(pred + 1, fixations, baseline, weights)
    assert fixations.max() > 1
    for n in range(4):
        p, places = pred[n], points(fixations[n])
        everywhere = [(c, area[c].item()) for c in cells(p)]
        empty = [(c, weight) for c, weight in everywhere if c not in places]
        assert judd[n].item() == pytest.approx(auc_by_pairs(p, places, empty))
        assert borji[n].item() == pytest.approx(auc_by_pairs(p, places, everywhere))
        assert shuffled[n].item() == pytest.approx(auc_by_pairs(p, places, [(c, 1) for c in points(others[n])]))
        total = sum(weight for _, weight in everywhere)
        mean = sum(weight * p[c] for c, weight in everywhere) / total
        deviation = math.sqrt(sum(weight * (p[c] - mean) ** 2 for c, weight in everywhere) / total)
        assert nss[n].item() == pytest.approx(float(sum((p[c] - mean) / deviation for c in places) / len(places)))
        p_sum, b_sum = (sum(weight * m[c] for c, weight in everywhere) for m in (p + 1, baseline))
        bits = sum(math.log2((p[c] + 1) / p_sum) - math.log2(baseline[c] / b_sum) for c in places) / len(places)
        assert gain[n].item() == pytest.approx(bits)


def test_auc_borji_is_the_mean_over_random_draws():
    pred, fixations = (random_maps(6, 10) * 5).floor(), random_fixations(6, 10)
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(60, (20000,), generator=generator)
    values, positives = pred.flatten()[drawn], pred[fixations > 0].repeat_interleave(fixations[fixations > 0])
    wins = (positives[:, None] > values).double() + (positives[:, None] == values) / 2
    assert metrics.auc_borji(pred, fixations).item() == pytest.approx(wins.mean().item(), abs=0.01)


@given(st.integers(1, 5), st.integers(2, 7), st.integers(1, 255), st.integers(0, 10**6))
@settings(max_examples=40)
def test_eight_bit_maps_score_as_their_floats(height, width, levels, seed):
    pred = (random_maps(2, height, width, seed=seed) * levels).byte()
    fixations = random_fixations(2, height, width, seed=seed + 1)
    weights = solid_angle(height, width)
    for metric in FIXATED:
        score = metric(pred, fixations, weights)
        torch.testing.assert_close(score, metric(pred.double() / 7 - 3, fixations * 255, weights), equal_nan=True)
        finite = score[score.isfinite()]
        assert metric is metrics.nss or ((finite >= 0) & (finite <= 1)).all()


def test_values_known_without_computing():
    pred, fixations = random_maps(6, 10), random_fixations(6, 10)
    weights = solid_angle(6, 10)
    for w in (None, weights, weights[:, :1], 5 * weights):
        assert metrics.cc(pred, pred, w).item() == pytest.approx(1)
        assert metrics.cc(pred, -pred, w).item() == pytest.approx(-1)
        assert metrics.sim(pred, pred, w).item() == pytest.approx(1)
        assert metrics.kld(pred, pred, w).item() == pytest.approx(0, abs=1e-12)
        assert metrics.information_gain(pred, fixations, pred, w).item() == 0
        # nothing in common; 52 bits are the logarithm of the benchmark's eps
        left = torch.zeros(6, 10)
        left[:, :5] = 1
        assert metrics.sim(left, 1 - left, w).item() == 0
        assert metrics.cc(left, 1 - left, w).item() == pytest.approx(-1)
        assert metrics.kld(left, 1 - left, w).item() > 30
        for metric in (metrics.auc_judd, metrics.auc_borji):
            exact = metric(left, left, w).item()
            assert exact == pytest.approx(1 if metric is metrics.auc_judd else 0.75)
            assert metric(-pred, fixations, w).item() == pytest.approx(1 - metric(pred, fixations, w).item())
        torch.testing.assert_close(metrics.information_gain(1 + left, left, torch.ones(6, 10), w).item(),
                                   math.log2(2 / 1.5))
    torch.testing.assert_close(metrics.cc(pred, pred.flip(1), weights), metrics.cc(pred, pred.flip(1), weights[:, :1]))
    assert metrics.shuffled_auc(pred, fixations, fixations).item() == pytest.approx(0.5)


def test_turning_the_sphere_changes_nothing():
    pred, target, fixations = random_maps(6, 10), random_maps(6, 10, seed=1), random_fixations(6, 10)
    weights = solid_angle(6, 10)
    for turn in range(10):
        for metric, truth in [*((m, target) for m in PAIRED), *((m, fixations) for m in FIXATED)]:
            torch.testing.assert_close(metric(pred.roll(turn, -1), truth.roll(turn, -1), weights),
                                       metric(pred, truth, weights))


def test_negative_maps_are_raised_to_zero():
    pred, target = random_maps(6, 10) - 0.5, random_maps(6, 10, seed=1)
    torch.testing.assert_close(metrics.kld(pred, target), metrics.kld(pred - pred.min(), target))
    torch.testing.assert_close(metrics.sim(target, pred), metrics.sim(target, pred - pred.min()))


@pytest.mark.parametrize("value", [0.0, 0.5, math.nan])
def test_constant_maps_are_nan(value):
    constant, varied, fixations = torch.full((6, 10), value), random_maps(6, 10), random_fixations(6, 10)
    mixed = torch.stack([varied, constant.double()])
    for metric in PAIRED:
        assert metric(constant, varied).isnan()
        assert metric(varied, constant).isnan()
        assert metric(mixed, varied.flip(1)).isnan().tolist() == [False, True]
    for metric in FIXATED:
        assert metric(mixed, fixations).isnan().tolist() == [False, True]
    assert metrics.shuffled_auc(mixed, fixations, fixations.flip(0)).isnan().tolist() == [False, True]
    assert metrics.information_gain(mixed, fixations, varied).isnan().tolist() == [False, True]


def test_no_fixations_and_no_negatives_are_nan():
    pred, none, every = random_maps(6, 10), torch.zeros(6, 10), torch.ones(6, 10)
    for metric in FIXATED:
        assert metric(pred, none).isnan()
    assert metrics.auc_judd(pred, every).isnan()
    assert metrics.auc_borji(pred, every).item() == pytest.approx(0.5)
    assert metrics.shuffled_auc(pred, none, every).isnan()
    assert metrics.shuffled_auc(pred, every, none).isnan()
    assert metrics.information_gain(pred, none, every).isnan()


def test_arguments_broadcast():
    pred, fixations, one = random_maps(2, 3, 6, 10), random_fixations(6, 10), random_maps(6, 10, seed=1)
    for score in (metrics.cc(pred, one), metrics.sim(one, pred), metrics.kld(pred, one), metrics.nss(pred, fixations),
                  metrics.auc_judd(one, fixations.expand(2, 3, 6, 10)), metrics.auc_borji(pred, fixations),
                  metrics.shuffled_auc(pred, fixations, fixations.flip(0)),
                  metrics.information_gain(pred, fixations, one)):
        assert score.shape == (2, 3)


def test_real_maps():
    """Two frames of a real video as prediction and truth, at its full size, against numpy and pairs of points."""
    folder = MAPS / "lion"
    if not folder.is_dir():
        pytest.skip("../shared/maps is not here")
    pred, target = (torch.from_numpy(cv2.imread(str(folder / f"gauss/{name}.png"), cv2.IMREAD_GRAYSCALE))
                    for name in ("000100", "000120"))
    fixations = torch.from_numpy(cv2.imread(str(folder / "fixations/000120.png"), cv2.IMREAD_GRAYSCALE)) > 0
    p, t = pred.double(), target.double()
    assert metrics.cc(pred, target).item() == pytest.approx(torch.corrcoef(torch.stack([p.ravel(), t.ravel()]))[0, 1])
    standard = (p - p.mean()) / p.std(correction=0)
    assert metrics.nss(pred, fixations).item() == pytest.approx(standard[fixations].mean().item())
    at_fixations, elsewhere = p[fixations], p[~fixations]
    wins = sum(((value > elsewhere).sum() + (value == elsewhere).sum() / 2).item() for value in at_fixations)
    assert metrics.auc_judd(pred, fixations).item() == pytest.approx(wins / at_fixations.numel() / elsewhere.numel())
    area = solid_angle(*pred.shape)
    # people look near the equator, where a plane has too little area
    assert metrics.auc_judd(pred, fixations, area) < metrics.auc_judd(pred, fixations) < 1
    assert 0 < metrics.cc(pred, target, area) < 1
