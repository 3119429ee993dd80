"""Compares predicted saliency with where people looked, on the videos of videos_test_file.

    python evaluate.py --inference_model=models/SST-Sal.pth        predicts their frames in frames_dir, then compares
    python evaluate.py --results_dir=MAPS                          maps that are there already are compared as they are

Compares results_dir/VIDEO/VIDEO_FRAME.png with the maps in gt_dir and, where there are any, with the fixations that
gaze.py writes. Every score is given weighted by solid angle and plain (metrics.py has the definitions), beside those of
simple baselines. Writes evaluation_dir/table.md, scores.png, frames.png, videos.csv and frames.csv.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

import config
import inference
import windows_on_disk
from distributed import choose_device
from errors import InputError, run
from files import number_images, read_split, write_figure, write_text
from flow.folders import provide_flow
from flow.methods import flow_settings
from recordings.ground_truth import count_maps, holding_pixels
from recordings.samples import NO_SAMPLES, Samples
from recordings.tables import fixations_file, read_table
from scoring import report
from scoring.baselines import PRIOR_SHARE, equator_prior, leave_one_out, mean_map
from scoring.scores import score_in_parts
from settings import configure
from sphere import solid_angle
from video import image_cache
from video.pipeline import in_order
from viewer.overlay import overlay

SHOWN = 3               # best frames, and as many of the worst
PICTURE_HEIGHT = 320    # pixels, of each image in frames.png
PREDICTION, EQUATOR, TRAINING_MEAN, OTHER_VIDEO, OBSERVERS = (
    "prediction", "equator prior", "mean training map", "another video's map", "other observers' map")


class Video(NamedTuple):
    """What is compared of one video: the frames that have a true and a predicted map, in order."""

    name: str
    numbers: np.ndarray     # (T,) of the frames
    truth: np.ndarray       # (T, H, W) uint8
    predictions: list       # T paths of predicted maps
    samples: Samples   # fixations in those frames, none where they are not known


# ------------------------------------------------------------------------------------------------------------- reading


def find_images(folder, names, what):
    """{name: {frame number: path}} of folder/NAME for all names. Raises InputError naming each that has no images."""
    found = {name: number_images(Path(folder, name)) for name in names}
    if missing := [name for name in names if not found[name]]:
        raise InputError("\n".join(f"{Path(folder, name)} holds no {what} of video {name}" for name in missing))
    return found


def read_maps(folders):
    """The maps (T, H, W) uint8 of each of `folders`, {frame number: path}, memory-mapped, at config.resolution."""
    lists = [(list(images.values()), cv2.IMREAD_GRAYSCALE) for images in folders]
    paths = image_cache.build(lists, config.resolution, config.cache_dir, max(1, config.num_workers))
    return [image_cache.open_array(path) for path in paths]


def read_fixations(name):
    """The video's fixations as gaze.py wrote them; no samples where there is no such file."""
    path = fixations_file(config.fixations_dir, config.gt_dir, name)
    videos = read_table(path)[0] if path.exists() else {}
    return videos.get(name, NO_SAMPLES)


def load_videos(names):
    """The videos to compare. What lacks a counterpart is printed, or where all does an InputError."""
    truths = find_images(config.gt_dir, names, "ground-truth maps")
    predictions = find_images(config.results_dir, names, "predicted maps")
    videos = []
    for name, maps in zip(names, read_maps(truths[name] for name in names)):
        numbers = [number for number in truths[name] if number in predictions[name]]
        if not numbers:
            raise InputError(f"no frame of video {name} has both a map in {Path(config.gt_dir, name)} (such as "
                             f"{min(truths[name])}) and one in {Path(config.results_dir, name)} (such as "
                             f"{min(predictions[name])})")
        if len(numbers) < len(truths[name]):
            print(f"{name}: {len(truths[name]) - len(numbers)} of {len(truths[name])} true maps have no prediction and "
                  "are left out")
        rows = np.flatnonzero(np.isin(list(truths[name]), numbers))
        truth = maps if len(rows) == len(maps) else maps[rows]
        samples = read_fixations(name)
        videos.append(Video(name, np.array(numbers), truth, [predictions[name][number] for number in numbers],
                            samples.where(np.isin(samples.frame, numbers))))
    return videos


def score_videos(videos, training, sigma, prior):
    """{predictor: {video name: {column: scores (T,)}}} of the predictions and of every baseline that can be had.

    training: names of the videos that tell what people look at elsewhere; sigma: of gaze maps, radians; prior (H, W).
    """
    height, width = config.resolution
    area = solid_angle(height, width)
    mean = mean_map(read_maps(find_images(config.gt_dir, training, "ground-truth maps").values())) if training else None
    pooled = {video.name: pool_counts(video.samples, height, width) for video in videos}
    everywhere = sum(pooled.values()) + sum(pool_counts(read_fixations(name), height, width) for name in training)
    named = any((video.samples.user != "").any() for video in videos)
    predictors = [PREDICTION, EQUATOR, *[TRAINING_MEAN] * bool(training), *[OTHER_VIDEO] * (len(videos) > 1),
                  *[OBSERVERS] * named]
    scores = {predictor: {} for predictor in predictors}

    torch.set_num_threads(1)  # frames are scored side by side instead
    total = len(predictors) * sum(len(video.numbers) for video in videos)
    with ThreadPoolExecutor() as pool, tqdm(total=total, desc="comparing", unit="map") as bar:
        for video, other in zip(videos, videos[1:] + videos[:1]):
            rest = (torch.from_numpy(everywhere - pooled[video.name]), prior, area)
            counts = count_maps(video.samples, video.numbers, height, width)
            truth = np.array(video.truth)
            for predictor in predictors:
                target, fixated = truth, counts
                if predictor == PREDICTION:
                    pred = np.stack(list(in_order(pool, read_prediction, video.predictions)))
                elif predictor == EQUATOR:
                    pred = prior[None]
                elif predictor == TRAINING_MEAN:
                    pred = mean[None]
                elif predictor == OTHER_VIDEO:
                    pred = np.take(other.truth, np.arange(len(truth)), axis=0, mode="wrap")
                else:
                    pred, target, fixated = leave_one_out(video, sigma, prior)
                scores[predictor][video.name] = score_in_parts(pool, pred, target, fixated, *rest)
                bar.update(len(truth))
    return scores


def read_prediction(path):
    return image_cache.read_resized(path, cv2.IMREAD_GRAYSCALE, config.resolution)


def pool_counts(samples, height, width):
    """Fixations in each pixel, those of all frames in one: (H, W)."""
    return count_maps(samples._replace(frame=np.zeros_like(samples.frame)), np.zeros(1), height, width)[0]


# -------------------------------------------------------------------------------------------------------------- script


def predict_missing(names):
    """Predicts, with inference_model, the frames of those videos that have no map in results_dir. Maps there that
    evaluate.py has not made are compared as they are. Raises InputError where they are known to be another model's."""
    if not config.overwrite and any(Path(config.results_dir).glob("*/*.png")):
        made_by = inference.read_record(config.results_dir).get("made_by", {})
        if made_by and made_by.get("sha256") != inference.checksum(config.inference_model):
            raise InputError(f"{config.results_dir} holds maps of {made_by.get('inference_model')}, but "
                             f"inference_model is {config.inference_model}; set that one to compare its maps, or "
                             "choose another results_dir, or --overwrite=True to replace them")
        if "frames_dir" not in made_by:
            return
    device = choose_device(config.device)
    model = inference.load_checked_model(device)
    images = find_images(config.frames_dir, names, "frames")
    videos = [windows_on_disk.Video(name, list(images[name].values())) for name in names]
    description = {**inference.describe(model, config), "frames_dir": str(Path(config.frames_dir).resolve())}
    del description["videos_folder"]
    since = inference.check_results(config.results_dir, description, config.overwrite)
    inference.write_record(config.results_dir, description, since, frames=0, seconds=0.0)
    flow_dir, problems = None, []
    if config.of_available:
        flow_dir, problems = provide_flow(config.frames_dir, names, flow_settings(config), device)
    for _, _, problem in inference.write_maps(model, videos, flow_dir, since, device):
        problems += [problem] if problem else []
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


def training_videos(test):
    """The videos of videos_train_file that have true maps and are not in the list `test`; none where there is no such
    file."""
    names = read_split(config.videos_train_file) if Path(config.videos_train_file).exists() else []
    return [name for name in names if name not in test and number_images(Path(config.gt_dir, name))]


def main(argv):
    configure(config, argv)
    names = read_split(config.videos_test_file)
    find_images(config.gt_dir, names, "ground-truth maps")  # before anything is predicted
    predict_missing(names)
    videos, training = load_videos(names), training_videos(names)
    prior = equator_prior(*config.resolution, math.radians(config.equator_sigma))
    scores = score_videos(videos, training, math.radians(config.gaze_sigma), prior)

    folder = Path(config.evaluation_dir)
    folder.mkdir(parents=True, exist_ok=True)
    report.write_frames(folder / "frames.csv", {video.name: video.numbers for video in videos}, scores[PREDICTION])
    report.write_videos(folder / "videos.csv", scores)
    text = report.tables(scores, describe(videos, training), config.seed)
    write_text(folder / "table.md", text)
    write_figure(folder / "scores.png", report.draw_scores(scores))
    if rows := extreme_frames(videos, scores[PREDICTION]):
        write_figure(folder / "frames.png", report.draw_frames(rows))
    print(f"{text}\nwritten to {folder}: table.md, scores.png, frames.png, videos.csv, frames.csv")


def describe(videos, training):
    """What was compared, in a few sentences."""
    height, width = config.resolution
    lines = [f"{len(videos)} videos, {sum(len(video.numbers) for video in videos)} frames at {height} x {width}, "
             f"predictions from {config.results_dir}. The equator prior is a Gaussian of latitude, sigma "
             f"{config.equator_sigma:g}°."]
    if training:
        lines.append(f"The mean training map is that of {len(training)} videos.")
    if any(len(video.samples.frame) for video in videos):
        lines.append(f"{OBSERVERS.capitalize()}: in each frame one observer, by turns, is predicted by the others (and "
                     f"{PRIOR_SHARE:.0%} equator prior). CC, SIM and KLD there have that one observer's map as truth; "
                     "NSS, AUC and IG are a ceiling for the rows above, the better the more observers there are.")
    if without := [video.name for video in videos if not len(video.samples.frame)]:
        lines.append(f"No fixations are known for {', '.join(without)}.")
    return lines


def extreme_frames(videos, scores):
    """The rows of `report.draw_frames`: the frames with the highest and then those with the lowest CC, each of another
    video, SHOWN of both at most. Frames without a CC are not among them."""
    best, worst = [], []
    for video in videos:
        cc = scores[video.name]["CC"]
        if not np.isnan(cc).all():
            best.append((np.nanmax(cc), video, np.nanargmax(cc)))
            worst.append((np.nanmin(cc), video, np.nanargmin(cc)))
    best.sort(key=lambda frame: -frame[0])
    worst.sort(key=lambda frame: -frame[0])
    return ([picture_row("best", *frame) for frame in best[:SHOWN]]
            + [picture_row("worst", *frame) for frame in worst[-SHOWN:]])


def picture_row(which, cc, video, position):
    """One row of `report.draw_frames`; the frame is grey where frames_dir does not have it."""
    height, width = size = (PICTURE_HEIGHT, 2 * PICTURE_HEIGHT)
    number = video.numbers[position]
    path = number_images(Path(config.frames_dir, video.name)).get(number)
    frame = image_cache.read_resized(path, cv2.IMREAD_COLOR, size) if path else np.full((*size, 3), 96, np.uint8)
    maps = read_prediction(video.predictions[position]), np.array(video.truth[position])
    samples = video.samples.where(video.samples.frame == number)
    places = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    overlays = [overlay(frame, image, size) for image in maps]
    return f"{which}: {video.name} frame {number}, CC {cc:.2f}", frame, *overlays, places


if __name__ == "__main__":
    run(main)
