"""Compares predicted saliency with where people looked, on the videos of videos_test_file.

    python evaluate.py --inference_model=models/SST-Sal.pth        predicts their frames in frames_dir, then compares
    python evaluate.py --results_dir=MAPS                          maps that are there already are compared as they are

Compares results_dir/VIDEO/VIDEO_FRAME.png with the maps in gt_dir and, where there are any, with the fixations that
gaze.py writes. Every score is given weighted by solid angle and plain (metrics.py has the definitions), beside those of
simple baselines. Writes evaluation_dir/table.md, scores.png, frames.png, videos.csv and frames.csv.
"""

import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import config
import results
from distributed import choose_device
from errors import InputError, run
from files import checksum, number_images, read_split, write_figure, write_text
from flow.folders import colours_in, provide_flow
from flow.methods import flow_settings
from model import load_fitting_model
from prediction import Output, Predictor, predict_sources
from recordings.ground_truth import holding_pixels
from recordings.samples import NO_SAMPLES
from recordings.tables import fixations_file, read_table
from scoring import report
from scoring.baselines import PRIOR_SHARE, equator_prior
from scoring.comparison import OBSERVERS, PREDICTION, ComparedVideo, OtherVideos, extreme_frames, score_videos
from settings import configure, settings
from video import image_cache
from video.sources import FrameFolder
from viewer.overlay import overlay

SHOWN = 3               # best frames in frames.png, and as many of the worst
PICTURE_HEIGHT = 320    # pixels, of each image there


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
    """A video's fixations as gaze.py wrote them; no samples if there is no such file."""
    path = fixations_file(config.fixations_dir, config.gt_dir, name)
    videos = read_table(path)[0] if path.exists() else {}
    return videos.get(name, NO_SAMPLES)


def load_videos(names):
    """The videos to compare, a list of `ComparedVideo`. Prints how many true maps have no prediction; raises InputError
    if none of a video's has one."""
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
        videos.append(ComparedVideo(name, np.array(numbers), truth, [predictions[name][number] for number in numbers],
                                    samples.where(np.isin(samples.frame, numbers))))
    return videos


def load_training(test):
    """`OtherVideos`: those of videos_train_file that have true maps and are not in the list `test`; none if there is no
    such file."""
    names = read_split(config.videos_train_file) if Path(config.videos_train_file).exists() else []
    folders = {name: number_images(Path(config.gt_dir, name)) for name in names if name not in test}
    folders = {name: images for name, images in folders.items() if images}
    return OtherVideos(read_maps(folders.values()), [read_fixations(name) for name in folders])


# ---------------------------------------------------------------------------------------------------------- prediction


def predict_missing(names):
    """Predicts, with inference_model, the frames of those videos that have no map in results_dir. Maps there that
    evaluate.py has not made are compared as they are. Raises InputError where they are known to be another model's."""
    if not config.overwrite and any(Path(config.results_dir).glob("*/*.png")):
        made_by = results.read_record(config.results_dir).get("made_by", {})
        if made_by and made_by.get("sha256") != checksum(config.inference_model):
            raise InputError(f"{config.results_dir} holds maps of {made_by.get('inference_model')}, but "
                             f"inference_model is {config.inference_model}; set that one to compare its maps, or "
                             "choose another results_dir, or --overwrite=True to replace them")
        if "frames_dir" not in made_by:
            return
    device = choose_device(config.device)
    model = load_fitting_model(config.inference_model, device, config.geometry, config.of_available)
    find_images(config.frames_dir, names, "frames")
    description = {**results.describe(model, config), "frames_dir": str(Path(config.frames_dir).resolve())}
    del description["videos_folder"]
    since = results.check_results(config.results_dir, description, config.overwrite)
    results.write_record(config.results_dir, description, since, settings(config))
    flow_dir, problems = None, []
    if config.of_available:
        flow_dir, problems = provide_flow(config.frames_dir, names, flow_settings(config), device)
    predictor = Predictor(model, device, config.resolution, config.sequence_length, config.overlap)
    output = Output(config.results_dir, since, overlay=False, overlay_height=0, page=False)
    sources = [FrameFolder(Path(config.frames_dir, name)) for name in names]
    colours = {source.id: partial(colours_in, flow_dir / source.id, source) if flow_dir else None for source in sources}
    problems += [problem for _, problem in predict_sources(sources, colours, predictor, output) if problem]
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


# ------------------------------------------------------------------------------------------------------------- writing


def describe(videos, training):
    """What was compared, in a few sentences."""
    height, width = config.resolution
    lines = [f"{len(videos)} videos, {sum(len(video.numbers) for video in videos)} frames at {height} x {width}, "
             f"predictions from {config.results_dir}. The equator prior is a Gaussian of latitude, sigma "
             f"{config.equator_sigma:g}°."]
    if training.maps:
        lines.append(f"The mean training map is that of {len(training.maps)} videos.")
    if any(len(video.samples.frame) for video in videos):
        lines.append(f"{OBSERVERS.capitalize()}: in each frame one observer, by turns, is predicted by the others (and "
                     f"{PRIOR_SHARE:.0%} equator prior). CC, SIM and KLD there have that one observer's map as truth; "
                     "NSS, AUC and IG are a ceiling for the rows above, the better the more observers there are.")
    if without := [video.name for video in videos if not len(video.samples.frame)]:
        lines.append(f"No fixations are known for {', '.join(without)}.")
    return lines


def picture_row(which, cc, video, position):
    """A row of `report.draw_frames` for one of `extreme_frames`. The frame is grey if frames_dir does not have it."""
    height, width = size = (PICTURE_HEIGHT, 2 * PICTURE_HEIGHT)
    number = video.numbers[position]
    path = number_images(Path(config.frames_dir, video.name)).get(number)
    frame = image_cache.read_resized(path, cv2.IMREAD_COLOR, size) if path else np.full((*size, 3), 96, np.uint8)
    prediction = image_cache.read_resized(video.predictions[position], cv2.IMREAD_GRAYSCALE, config.resolution)
    overlays = [overlay(frame, image, size) for image in (prediction, np.array(video.truth[position]))]
    samples = video.samples.where(video.samples.frame == number)
    pixels = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    return f"{which}: {video.name} frame {number}, CC {cc:.2f}", frame, *overlays, pixels


def write_report(videos, training, scores):
    """Writes everything into evaluation_dir and prints the table."""
    folder = Path(config.evaluation_dir)
    folder.mkdir(parents=True, exist_ok=True)
    report.write_frames(folder / "frames.csv", {video.name: video.numbers for video in videos}, scores[PREDICTION])
    report.write_videos(folder / "videos.csv", scores)
    text = report.tables(scores, describe(videos, training), config.seed)
    write_text(folder / "table.md", text)
    write_figure(folder / "scores.png", report.draw_scores(scores))
    if frames := extreme_frames(videos, scores[PREDICTION], SHOWN):
        write_figure(folder / "frames.png", report.draw_frames([picture_row(*frame) for frame in frames]))
    print(f"{text}\nwritten to {folder}: table.md, scores.png, frames.png, videos.csv, frames.csv")


def main(argv):
    configure(config, argv)
    names = read_split(config.videos_test_file)
    find_images(config.gt_dir, names, "ground-truth maps")  # before anything is predicted
    predict_missing(names)
    videos, training = load_videos(names), load_training(names)
    prior = equator_prior(*config.resolution, math.radians(config.equator_sigma))
    write_report(videos, training, score_videos(videos, training, math.radians(config.gaze_sigma), prior))


if __name__ == "__main__":
    run(main)
