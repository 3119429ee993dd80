"""TODO"""

import numpy as np
import torch

import metrics
from scoring import report

FRAMES_AT_A_TIME = 8    # bounds the memory of scoring


# ------------------------------------------------------------------------------------------------------------- scoring


def score_frames(pred, target, counts, other_counts, prior, area):
    """{column: scores (T,)} of the maps `pred`, (T, H, W) or one for all frames (1, H, W).

    target: true maps (T, H, W); counts: fixations in each pixel (T, H, W); other_counts: the same on other videos, all
    in one (H, W); prior: what information is gained over (H, W); area: solid angles (H, W).
    """
    scores = {"sAUC": metrics.shuffled_auc(pred, counts, other_counts)}
    for suffix, weights in (("", area), (report.PLAIN, None)):
        scores |= {f"CC{suffix}": metrics.cc(pred, target, weights),
                   f"SIM{suffix}": metrics.sim(pred, target, weights),
                   f"KLD{suffix}": metrics.kld(pred, target, weights),
                   f"NSS{suffix}": metrics.nss(pred, counts, weights),
                   f"AUC-Judd{suffix}": metrics.auc_judd(pred, counts, weights),
                   f"AUC-Borji{suffix}": metrics.auc_borji(pred, counts, weights),
                   f"IG{suffix}": metrics.information_gain(pred, counts, prior, weights)}
    return {column: values.numpy() for column, values in scores.items()}


def score_in_parts(pool, pred, target, counts, *rest):
    """`score_frames` some frames at a time, by the pool's threads."""
    pred, target, counts = map(torch.as_tensor, (pred, target, counts))
    parts = list(pool.map(lambda part: score_frames(pred if len(pred) == 1 else pred[part], target[part], counts[part],
                                                    *rest), torch.arange(len(target)).split(FRAMES_AT_A_TIME)))
    return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
