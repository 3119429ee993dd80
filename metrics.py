"""Saliency metrics, on the image as a plane or weighted by solid angle.

Definitions are the MIT saliency benchmark's (Bylinskii et al., What do different evaluation metrics tell us about
saliency models?, TPAMI 2019). Arguments are tensors (..., H, W) of any real type whose leading axes broadcast; scores
are (...), float64. `weights`, (H, W) or (H, 1), is the area of each pixel in any unit; None is a plane of equal pixels.
`fixations` is the number of fixations in each pixel, up to a factor: 0 and 1, or 0 and 255, are fine.

A score is NaN where it has no meaning: if a prediction or target is constant or holds NaN, or if there is no fixation.
"""

import torch

EPSILON = 2.2204e-16  # the benchmark's: it is added inside quotients and logarithms


def _flat(maps):
    return maps.flatten(-2).double()  # (..., H * W)


def _area(maps, weights):
    """Area of each pixel, (H * W,)."""
    if weights is None:
        return torch.ones(maps.shape[-2] * maps.shape[-1], dtype=torch.float64, device=maps.device)
    return _flat(weights.to(maps.device).expand(maps.shape[-2:]))


def _deviation(maps, area):
    """Maps minus their mean over the area."""
    maps = _flat(maps)
    return maps - (area * maps).sum(-1, keepdim=True) / area.sum(-1)


def _mass(maps, area):
    """The share of each pixel in a map's integral. A map with negative values is first raised so that its minimum is 0.
    (The benchmark's scripts for SIM and information gain also lower positive minima to 0; its paper does not.)"""
    maps = _flat(maps)
    mass = area * (maps - maps.amin(-1, keepdim=True).clamp(max=0))
    return mass / mass.sum(-1, keepdim=True)


def _ranks(values):
    """Integers in the order of the values along the last axis; equal values have equal ranks."""
    if values.dtype == torch.uint8:
        return values.long()  # 8-bit maps need no sorting
    values, order = values.sort(dim=-1)
    steps = torch.zeros_like(order)
    steps[..., 1:] = (values[..., 1:] > values[..., :-1]).cumsum(-1)
    return torch.empty_like(order).scatter_(-1, order, steps)


def _auc(pred, positives, negatives):
    """The probability that a positive has a higher prediction than a negative; ties count half. `positives` and
    `negatives` are the weights (..., H * W) with which each pixel is one or the other."""
    ranks = _ranks(pred.flatten(-2))
    shape = torch.broadcast_shapes(ranks.shape, positives.shape, negatives.shape)
    counts = torch.zeros(*shape[:-1], int(ranks.max()) + 1, dtype=torch.float64, device=pred.device)
    positives, negatives = (counts.scatter_add(-1, ranks.expand(shape), weight.expand(shape))
                            for weight in (positives, negatives))
    below = negatives.cumsum(-1) - negatives
    won = (positives * (below + negatives / 2)).sum(-1)
    return (won / (positives.sum(-1) * negatives.sum(-1))).clamp(0, 1)  # rounding may exceed it by one unit


def _where_varied(score, *maps):
    """The score where every map varies, NaN elsewhere. (Comparisons with NaN are false.)"""
    for values in maps:
        score = score.where(values.amax((-2, -1)) > values.amin((-2, -1)), torch.nan)
    return score


def cc(pred, target, weights=None):
    """Pearson's linear correlation coefficient of two maps, -1 to 1, means and moments weighted by area."""
    area = _area(pred, weights)
    pred_deviation, target_deviation = _deviation(pred, area), _deviation(target, area)
    covariance = (area * pred_deviation * target_deviation).sum(-1)
    score = covariance / ((area * pred_deviation**2).sum(-1) * (area * target_deviation**2).sum(-1)).sqrt()
    return _where_varied(score, pred, target)


def sim(pred, target, weights=None):
    """Similarity: the part that two maps have in common when each sums to 1. From 0 to 1."""
    area = _area(pred, weights)
    return _where_varied(torch.minimum(_mass(pred, area), _mass(target, area)).sum(-1), pred, target)


def kld(pred, target, weights=None):
    """Kullback-Leibler divergence of target from prediction when each sums to 1, nats, 0 is best."""
    area = _area(pred, weights)
    pred_mass, target_mass = _mass(pred, area), _mass(target, area)
    terms = target_mass * torch.log(EPSILON + target_mass / (pred_mass + EPSILON))
    return _where_varied(terms.sum(-1), pred, target)


def nss(pred, fixations, weights=None):
    """Normalised scanpath saliency: the mean over fixations of the prediction, in standard deviations above its mean.
    The deviation is the population's, as in pysaliency; the benchmark's divides by one pixel less."""
    area = _area(pred, weights)
    deviation, fixations = _deviation(pred, area), _flat(fixations)
    spread = ((area * deviation**2).sum(-1) / area.sum(-1)).sqrt()
    return _where_varied((fixations * deviation).sum(-1) / fixations.sum(-1) / spread, pred)


def auc_judd(pred, fixations, weights=None):
    """Area under the ROC curve of the prediction as a classifier of fixations against the area without fixations.

    The area is exact: a tie between a fixation and a pixel counts half, as the benchmark's jitter makes it on average.
    (The benchmark's script cuts the curve's corners between fixations, which adds up to half a fixation's share.)
    """
    fixations = _flat(fixations)
    return _where_varied(_auc(pred, fixations, _area(pred, weights) * (fixations == 0)), pred)


def auc_borji(pred, fixations, weights=None):
    """Area under the ROC curve of the prediction as a classifier of fixations against pixels drawn at random, uniform
    in area, fixated or not.

    The benchmark draws as many pixels as there are fixations, 100 times, and averages. This is the expectation over
    all draws, so nothing is drawn; and it has a threshold at every value instead of at every tenth of the range.
    """
    return _where_varied(_auc(pred, _flat(fixations), _area(pred, weights)), pred)


def shuffled_auc(pred, fixations, other_fixations):
    """Area under the ROC curve of the prediction as a classifier of fixations against fixations on other content
    (`other_fixations`, counted like `fixations`). So a habit, such as looking at the equator, earns nothing.

    It is exact over all of them, where the benchmark draws at random. Both sides are points, so area plays no part.
    """
    return _where_varied(_auc(pred, _flat(fixations), _flat(other_fixations)), pred)


def information_gain(pred, fixations, baseline, weights=None):
    """Mean over fixations of log2(prediction / baseline), both maps as distributions: bits per fixation (Kümmerer et
    al., PNAS 2015). A constant `baseline` is the uniform distribution, over area if there are weights. 8-bit maps have
    many exact zeros: a fixation on one costs 52 bits less those of the baseline, some 36 at 240 x 320."""
    area, fixations = _area(pred, weights), _flat(fixations)
    gain = torch.log2(EPSILON + _mass(pred, area)) - torch.log2(EPSILON + _mass(baseline, area))
    return _where_varied((fixations * gain).sum(-1) / fixations.sum(-1), pred)
