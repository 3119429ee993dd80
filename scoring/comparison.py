"""A model's predictions and the baselines, scored side by side on the same frames."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from recordings.ground_truth import count_maps
from recordings.samples import Samples
from scoring.baselines import leave_one_out, mean_map
from scoring.scores import score_in_parts
from video.image_cache import read_resized
from video.pipeline import in_order

PREDICTION, EQUATOR, TRAINING_MEAN, OTHER_VIDEO, OBSERVERS = (
    "prediction", "equator prior", "mean training map", "another video's map", "other observers' map")


class ComparedVideo(NamedTuple):
    """What is compared of one video: the frames that have a true and a predicted map, in order."""

    name: str
    numbers: np.ndarray     # (T,) of the frames
    truth: np.ndarray       # (T, H, W) uint8
    predictions: list       # T paths of predicted maps
    samples: Samples        # fixations in those frames, none where they are not known
    kind: str               # "gaze", "head", or "" where it is not known


class OtherVideos(NamedTuple):
    """What people look at elsewhere: true maps and fixations of videos that are not compared."""

    maps: list              # an array (T, H, W) uint8 for each video
    samples: list           # `Samples` of each video


def pooled_counts(samples, height, width):
    """Fixations in each pixel, of all frames together: (H, W) float32."""
    return count_maps(samples._replace(frame=np.zeros_like(samples.frame)), np.zeros(1), height, width)[0]


def predicted_maps(pool, paths, resolution):
    """The maps in the files, resized to (H, W): (T, H, W) uint8."""
    return np.stack(list(in_order(pool, lambda path: read_resized(path, cv2.IMREAD_GRAYSCALE, resolution), paths)))


def score_videos(videos, training, sigma, prior, area):
    """{predictor: {video name: {column: scores (T,)}}} of the predictions and of every baseline that can be computed.

    videos: a list of `ComparedVideo`; training: `OtherVideos`; sigma: of the Gaussians of gaze maps, radians; prior:
    the equator prior (H, W), whose size the maps have; area: the weights of pixels, (H, W) or (H, 1).
    """
    mean = mean_map(training.maps) if training.maps else None
    pooled = {video.name: pooled_counts(video.samples, *prior.shape) for video in videos}
    everywhere = sum(pooled.values()) + sum(pooled_counts(samples, *prior.shape) for samples in training.samples)
    named = any((video.samples.user != "").any() for video in videos)
    predictors = [PREDICTION, EQUATOR, *[TRAINING_MEAN] * bool(training.maps), *[OTHER_VIDEO] * (len(videos) > 1),
                  *[OBSERVERS] * named]
    scores = {predictor: {} for predictor in predictors}

    torch.set_num_threads(1)  # the pool scores several parts at the same time instead
    total = len(predictors) * sum(len(video.numbers) for video in videos)
    with ThreadPoolExecutor() as pool, tqdm(total=total, desc="comparing", unit="map") as bar:
        for video, other in zip(videos, videos[1:] + videos[:1]):
            references = torch.from_numpy(everywhere - pooled[video.name]), prior, area
            counts = count_maps(video.samples, video.numbers, *prior.shape)
            truth = np.array(video.truth)
            for predictor in predictors:
                target, fixated = truth, counts
                if predictor == PREDICTION:
                    pred = predicted_maps(pool, video.predictions, prior.shape)
                elif predictor == EQUATOR:
                    pred = prior[None]
                elif predictor == TRAINING_MEAN:
                    pred = mean[None]
                elif predictor == OTHER_VIDEO:
                    pred = np.take(other.truth, np.arange(len(truth)), axis=0, mode="wrap")
                else:
                    pred, target, fixated = leave_one_out(video.samples, video.numbers, sigma, prior)
                scores[predictor][video.name] = score_in_parts(pool, pred, target, fixated, references)
                bar.update(len(truth))
    return scores


def extreme_frames(videos, scores, count):
    """The frames with the highest and then those with the lowest CC, each of another video, `count` of both at most:
    a list of ("best" or "worst", CC, video, position of the frame in it). Frames without a CC are not among them.

    videos: a list of `ComparedVideo`; scores: {video name: {column: (T,)}} of one predictor.
    """
    best, worst = [], []
    for video in videos:
        cc = scores[video.name]["CC"]
        if not np.isnan(cc).all():
            best.append(("best", np.nanmax(cc), video, np.nanargmax(cc)))
            worst.append(("worst", np.nanmin(cc), video, np.nanargmin(cc)))
    best.sort(key=lambda frame: -frame[1])
    worst.sort(key=lambda frame: -frame[1])
    return best[:count] + worst[-count:]
