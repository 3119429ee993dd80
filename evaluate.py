"""Compares predicted saliency with where people looked, on the videos of videos_test_file.

    python evaluate.py --inference_model=models/SST-Sal.pth        predicts their frames in frames_dir, then compares
    python evaluate.py --results_dir=MAPS                          maps that are there already are compared as they are

Compares results_dir/VIDEO/VIDEO_FRAME.png with the maps in gt_dir and, where there are any, with the fixations that
gaze.py writes. Every score is given weighted by solid angle and plain (metrics.py has the definitions), beside those of
simple baselines. Writes evaluation_dir/table.md, scores.png, frames.png, videos.csv and frames.csv.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import config
import results
from distributed import choose_device
from files import checksum, number_images, read_json, read_split, write_figure, write_text
from flow.folders import colours_in, provide_flow
from flow.methods import flow_settings
from model import load_fitting_model
from prediction import Output, Predictor, predict_sources
from provenance import check_outputs, claimed
from recordings.check import SOURCES
from recordings.ground_truth import holding_pixels
from recordings.tables import fixations_file, read_fixations, settings_file
from scoring import report
from scoring.baselines import PRIOR_SHARE, equator_prior
from scoring.camera import PAIRS, SIZE, STILL, camera_speed, split_by_motion
from scoring.comparison import OBSERVERS, PREDICTION, ComparedVideo, OtherVideos, extreme_frames, score_videos
from scoring.scores import sine_weights
from settings import PROTOCOLS, configure, settings
from sphere import solid_angle
from video import image_cache
from video.catalogue import read_catalogue
from video.names import find_folders
from video.sources import FrameFolder
from video.stored_maps import find_maps
from viewer.overlay import overlay

SHOWN = 3               # best frames in frames.png, and as many of the worst
PICTURE_HEIGHT = 320    # pixels, of each image there
WEIGHTS = {"area": "solid angle", "sin": "the sine from 0 to pi over the rows"}


# ------------------------------------------------------------------------------------------------------------- reading


def find_images(folder, names, what, rows):
    """{name: {frame number: path}} of the images in the folders of all names; rows: what is known of these folders, see
    `find_folders`. Raises InputError naming each that has no images."""
    folders = find_folders(names, folder, rows, config.frames_ids)
    found = {name: number_images(Path(folder, folders.get(name, name))) if name in folders else {} for name in names}
    if missing := [name for name in names if not found[name]]:
        lines = [f"{Path(folder, folders.get(name, name))} holds no {what} of video {name}" for name in missing]
        others = [f" (its folder {name} is of {rows[name]['video']})" if name in rows and name not in folders else ""
                  for name in missing]
        raise InputError("\n".join(map("".join, zip(lines, others))))
    return found


def find_truths(names, frames):
    """{name: {frame number: path or StoredMap}} of the true maps of those videos that have any; frames: {name: {frame
    number: path}}. Raises InputError if none has."""
    truths = {name: find_maps(config.gt_dir, name, config.gt_first_frame, list(frames.get(name, ()))) for name in names}
    found = {name: maps for name, maps in truths.items() if maps}
    if not found:
        raise InputError("\n".join(f"{Path(config.gt_dir, name)} holds no ground-truth maps of video {name}"
                                   for name in names))
    return found


def read_maps(folders):
    """The maps (T, H, W) uint8 of each of `folders`, {frame number: path}, memory-mapped, at config.resolution."""
    lists = [(list(images.values()), cv2.IMREAD_GRAYSCALE) for images in folders]
    paths = image_cache.build(lists, config.resolution, config.cache_dir, max(1, config.num_workers))
    return [image_cache.open_array(path) for path in paths]


def fixations_of(name):
    """(samples, "gaze" or "head") of a video as gaze.py wrote them; no samples if there is no such file."""
    return read_fixations(fixations_file(config.fixations_dir, config.gt_dir, name), name)


def load_videos(names):
    """The videos to compare, a list of `ComparedVideo`. Prints how many true maps have no prediction; raises InputError
    if none of a video's has one."""
    rows = {**read_catalogue(config.frames_dir), **results.read_rows(config.results_dir)}
    predictions = find_images(config.results_dir, names, "predicted maps", rows)
    truths = find_truths(names, predictions)
    videos = []
    for name, maps in zip(names, read_maps(truths[name] for name in names)):
        predicted = list(predictions[name])[config.evaluation_skip:]
        numbers = [number for number in truths[name] if number in predicted]
        if not numbers:
            raise InputError(f"no frame of video {name} has both a map in {Path(config.gt_dir, name)} (such as "
                             f"{min(truths[name])}) and one in {Path(config.results_dir, name)} (such as "
                             f"{min(predictions[name])}) after the first {config.evaluation_skip}")
        if absent := truths[name].keys() - predictions[name].keys():
            print(f"{name}: {len(absent)} of {len(truths[name])} true maps have no prediction and are left out")
        positions = np.flatnonzero(np.isin(list(truths[name]), numbers))
        truth = maps if len(positions) == len(maps) else maps[positions]
        samples, kind = fixations_of(name)
        videos.append(ComparedVideo(name, np.array(numbers), truth, [predictions[name][number] for number in numbers],
                                    samples.where(np.isin(samples.frame, numbers)), kind))
    return videos


def load_training(test):
    """`OtherVideos`: those of videos_train_file that have true maps and are not in the list `test`; none if there is no
    such file."""
    names = read_split(config.videos_train_file) if Path(config.videos_train_file).exists() else []
    folders = {name: find_maps(config.gt_dir, name, config.gt_first_frame) for name in names if name not in test}
    folders = {name: images for name, images in folders.items() if images}
    return OtherVideos(read_maps(folders.values()), [fixations_of(name)[0] for name in folders])


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
    find_images(config.frames_dir, names, "frames", read_catalogue(config.frames_dir))
    description = {**results.describe(model, config), "frames_dir": str(Path(config.frames_dir).resolve())}
    del description["videos_folder"]
    with claimed(config.results_dir, description, "results_dir"):
        problems = predict_frames_of(names, model, device, description)
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


def predict_frames_of(names, model, device, description):
    """Predicts the frames of those videos into results_dir. Returns what was wrong with them, a line each."""
    since = results.check_results(config.results_dir, description, config.overwrite)
    results.write_record(config.results_dir, description, since, settings(config))
    rows, flow_dir, problems = read_catalogue(config.frames_dir), None, []
    folders = find_folders(names, config.frames_dir, rows, config.frames_ids).values()
    if config.of_available:
        flow_dir, problems = provide_flow(config.frames_dir, folders, flow_settings(config), device)
    predictor = Predictor(model, device, config.resolution, config.sequence_length, config.overlap)
    output = Output(config.results_dir, description, since, overlay=False, overlay_height=0, page=False, sound=False,
                    flow_dir=flow_dir)
    sources = [FrameFolder(Path(config.frames_dir, folder), rows.get(folder)) for folder in folders]
    colours = {source.id: partial(colours_in, flow_dir / source.id, source) if flow_dir else None for source in sources}
    return problems + [problem for _, problem in predict_sources(sources, colours, predictor, output) if problem]


# ------------------------------------------------------------------------------------------------------------- writing


def made_with():
    """{setting: value} that gaze.py made the ground truth with; {} where it did not make it."""
    return read_json(settings_file(config.fixations_dir, config.gt_dir))


def check_protocol():
    """Raises InputError where a protocol is asked for by name and the ground truth was made with another one."""
    made = made_with()
    wanted = {name: value for name, value in PROTOCOLS.get(config.protocol, {}).items() if name in made}
    if others := [f"{name}={made[name]}" for name in wanted if made[name] != getattr(config, name)]:
        raise InputError(f"{config.gt_dir} was made with {', '.join(others)}, which is not protocol {config.protocol}; "
                         f"run gaze.py --protocol={config.protocol}, for another gt_dir")


def protocol_in_words(videos):
    """A line that says what the scores depend on beside the maps."""
    kinds, made = sorted({video.kind for video in videos if video.kind}), made_with()
    truth = "true maps and fixations are as they were handed out"
    if made:
        blur = {"sphere": "on the sphere", "image": "in the image, as the authors"}.get(made.get("gaze_blur"))
        truth = f"fixations are {SOURCES.get(made.get('fixations'))}, true maps are blurred {blur}"
    if kinds:
        truth += f" ({' and '.join(kinds)})"
    return (f"Protocol{f' {config.protocol}' * bool(config.protocol)}: {truth}, the first {config.evaluation_skip} "
            f"frames of each video are left out, weights are {WEIGHTS[config.weighting]}.")


def camera_speeds(videos):
    """{name: degrees a second} that the cameras of those videos move whose frames frames_dir holds."""
    speeds, rows = {}, read_catalogue(config.frames_dir)
    folders = find_folders([video.name for video in videos], config.frames_dir, rows, config.frames_ids)
    for name, folder in tqdm(folders.items(), desc="camera motion", unit="video"):
        paths = list(number_images(Path(config.frames_dir, folder)).values())
        starts = np.unique(np.linspace(0, len(paths) - 2, PAIRS).astype(int)) if len(paths) > 1 else []
        pairs = ([image_cache.read_resized(path, cv2.IMREAD_COLOR, SIZE) for path in paths[start:start + 2]]
                 for start in starts)
        speeds[name] = camera_speed(pairs, FrameFolder(Path(config.frames_dir, folder), rows.get(folder)).rate)
    return speeds


def describe(videos, training, mapless):
    """What was compared, in a few sentences. mapless: names of videos that have no true maps."""
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
    lines.append(protocol_in_words(videos))
    if without := [video.name for video in videos if not len(video.samples.frame)]:
        lines.append(f"No fixations are known for {', '.join(without)}.")
    if mapless:
        lines.append(f"Left out, since {config.gt_dir} has no maps of them: {', '.join(mapless)}.")
    return lines


def picture_row(which, cc, video, position):
    """A row of `report.draw_frames` for one of `extreme_frames`. The frame is grey if frames_dir does not have it."""
    height, width = size = (PICTURE_HEIGHT, 2 * PICTURE_HEIGHT)
    number = video.numbers[position]
    folder = find_folders([video.name], config.frames_dir, read_catalogue(config.frames_dir), config.frames_ids)
    path = number_images(Path(config.frames_dir, folder.get(video.name, video.name))).get(number)
    frame = image_cache.read_resized(path, cv2.IMREAD_COLOR, size) if path else np.full((*size, 3), 96, np.uint8)
    prediction = image_cache.read_resized(video.predictions[position], cv2.IMREAD_GRAYSCALE, config.resolution)
    overlays = [overlay(frame, image, size) for image in (prediction, np.array(video.truth[position]))]
    samples = video.samples.where(video.samples.frame == number)
    pixels = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    return f"{which}: {video.name} frame {number}, CC {cc:.2f}", frame, *overlays, pixels


def write_report(videos, training, mapless, scores):
    """Writes everything into evaluation_dir and prints the table."""
    folder = Path(config.evaluation_dir)
    folder.mkdir(parents=True, exist_ok=True)
    report.write_frames(folder / "frames.csv", {video.name: video.numbers for video in videos}, scores[PREDICTION])
    report.write_videos(folder / "videos.csv", scores)
    notes = describe(videos, training, mapless)
    if groups := split_by_motion(camera_speeds(videos)):
        notes.append(f"A camera moves if its background does, by {STILL:g}° a second or more (median optical flow).")
    text = report.tables(scores, notes, config.seed, groups, WEIGHTS[config.weighting])
    write_text(folder / "table.md", text)
    write_figure(folder / "scores.png", report.draw_scores(scores))
    if frames := extreme_frames(videos, scores[PREDICTION], SHOWN):
        write_figure(folder / "frames.png", report.draw_frames([picture_row(*frame) for frame in frames]))
    print(f"{text}\nwritten to {folder}: table.md, scores.png, frames.png, videos.csv, frames.csv")


def main(argv):
    configure(config, argv)
    check_outputs({"results_dir": config.results_dir, "evaluation_dir": config.evaluation_dir,
                   "cache_dir": config.cache_dir},
                  {"frames_dir": config.frames_dir, "gt_dir": config.gt_dir, "fixations_dir": config.fixations_dir,
                   "optical_flow_dir": config.optical_flow_dir, "inference_model": config.inference_model},
                  alone=["results_dir"])
    names = read_split(config.videos_test_file)
    check_protocol()
    listed, names = names, list(find_truths(names, {}))  # before anything is predicted
    predict_missing(names)
    videos, training = load_videos(names), load_training(names)
    prior = equator_prior(*config.resolution, math.radians(config.equator_sigma))
    area = {"area": solid_angle, "sin": sine_weights}[config.weighting](*config.resolution)
    scores = score_videos(videos, training, math.radians(config.gaze_sigma), prior, area)
    write_report(videos, training, [name for name in listed if name not in names], scores)


if __name__ == "__main__":
    run(main)
