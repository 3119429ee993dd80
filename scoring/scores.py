"""The scores of maps: every metric of metrics.py, weighted by solid angle and plain, for each frame."""

import math

import numpy as np
import torch

import metrics

PLAIN = " plain"  # ends the name of a column whose score takes the image as a plane
METRICS = {"CC": "↑", "SIM": "↑", "KLD": "↓", "NSS": "↑", "AUC-Judd": "↑", "AUC-Borji": "↑", "sAUC": "↑", "IG": "↑"}
COLUMNS = [*METRICS, *(f"{metric}{PLAIN}" for metric in METRICS if metric != "sAUC")]
FRAMES_AT_A_TIME = 8    # bounds the memory of scoring


def sine_weights(height, width):
    """Weights of pixels (height, width) as other authors have them (SalViT360, AViSal360): the sine from 0 to pi over
    the rows, which is zero in the first and the last one. Theirs are near the solid angle's."""
    sine = torch.sin(torch.linspace(0, math.pi, height, dtype=torch.float64)).clamp(min=0)
    return sine[:, None].expand(height, width)


def score_frames(pred, target, counts, references):
    """{column: scores (T,)} of the maps `pred`, (T, H, W) or one for all frames (1, H, W).

    target: true maps (T, H, W); counts: fixations in each pixel (T, H, W); references: three maps (H, W), namely the
    fixations on other videos in each pixel, the prior that information is gained over, and each pixel's solid angle.
    """
    other_counts, prior, area = references
    scores = {"sAUC": metrics.shuffled_auc(pred, counts, other_counts)}
    for suffix, weights in (("", area), (PLAIN, None)):
        scores |= {f"CC{suffix}": metrics.cc(pred, target, weights),
                   f"SIM{suffix}": metrics.sim(pred, target, weights),
                   f"KLD{suffix}": metrics.kld(pred, target, weights),
                   f"NSS{suffix}": metrics.nss(pred, counts, weights),
                   f"AUC-Judd{suffix}": metrics.auc_judd(pred, counts, weights),
                   f"AUC-Borji{suffix}": metrics.auc_borji(pred, counts, weights),
                   f"IG{suffix}": metrics.information_gain(pred, counts, prior, weights)}
    return {column: values.numpy() for column, values in scores.items()}


def score_in_parts(pool, pred, target, counts, references):
    """What `score_frames` returns, computed by the pool's threads, a few frames at a time. Arrays or tensors."""
    pred, target, counts = map(torch.as_tensor, (pred, target, counts))
    parts = list(pool.map(lambda part: score_frames(pred if len(pred) == 1 else pred[part], target[part], counts[part],
                                                    references), torch.arange(len(target)).split(FRAMES_AT_A_TIME)))
    return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
