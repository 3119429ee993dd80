"""Compares predicted saliency with where people looked, on the videos of videos_test_file.

    python evaluate.py --inference_model=models/SST-Sal.pth        predicts their frames in frames_dir, then compares
    python evaluate.py --results_dir=MAPS                          maps that are there already are compared as they are

Compares results_dir/VIDEO/VIDEO_FRAME.png with the maps in gt_dir and, where there are any, with the fixations that
gaze.py writes. Every score is given weighted by solid angle and plain (metrics.py has the definitions), beside those of
simple baselines. Writes evaluation_dir/table.md, scores.png, frames.png, videos.csv and frames.csv.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

import math
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import results
from distributed import choose_device
from files import checksum, frame_number, read_json, read_split, write_figure, write_text
from flow.folders import resolve_flow_dir
from model import load_fitting_model
from prediction import Output, colours_for_each, predict_sources, predictor_of
from provenance import check_outputs, claimed
from recordings.fixations import IN_WORDS
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
from video.names import explain_missing, find_folders
from video.sources import FrameFolder
from video.stored_maps import find_maps
from viewer.overlay import overlay

SHOWN = 3               # best frames in frames.png, and as many of the worst
PICTURE_HEIGHT = 320    # pixels, of each image there
WEIGHTS = {"area": "solid angle", "sin": "the sine from 0 to pi over the rows"}


# ------------------------------------------------------------------------------------------------------------- reading


def find_sources(names):
    """{name: its `FrameFolder`} of those videos that have frames in frames_dir."""
    rows = read_catalogue(config.frames_dir)
    folders = find_folders(names, config.frames_dir, rows, config.frames_ids)
    sources = {name: FrameFolder(Path(config.frames_dir, folder), rows.get(folder)) for name, folder in folders.items()}
    return {name: source for name, source in sources.items() if source.images}


def find_predictions(names):
    """{name: {frame number: path or `results.ExactMap`}} of the maps in results_dir. Raises InputError naming each
    video that has none."""
    rows = {**read_catalogue(config.frames_dir), **results.read_rows(config.results_dir)}
    folders = find_folders(names, config.results_dir, rows, config.frames_ids)
    found = {name: results.find_maps(config.results_dir, folders[name]) if name in folders else {} for name in names}
    if missing := [name for name in names if not found[name]]:
        others = [f" (its folder {name} is of {rows[name]['video']})" if name in rows and name not in folders else ""
                  for name in missing]
        where = [Path(config.results_dir, folders.get(name, name)) for name in missing]
        raise InputError("\n".join(f"{folder} holds no predicted maps of video {name}{other}"
                                   for folder, name, other in zip(where, missing, others)))
    return found


def find_truths(names, sources, predictions):
    """{name: {frame number: path or StoredMap}} of the true maps of those videos that have any; sources: see
    `find_sources`; predictions: see `find_predictions`. Raises InputError if none has."""
    truths = {}
    for name in names:
        frames = sources[name].seconds if name in sources else dict.fromkeys(predictions.get(name, ()), math.nan)
        truths[name] = find_maps(config.gt_dir, name, config.gt_first_frame, frames, config.gt_fps)
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


def load_videos(names, sources):
    """The videos to compare, a list of `ComparedVideo`. Prints how many true maps have no prediction; raises InputError
    if none of a video's has one. sources: see `find_sources`."""
    predictions = find_predictions(names)
    truths = find_truths(names, sources, predictions)
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


def predict_missing(names, sources):
    """Predicts, with inference_model, the frames of those videos that have no map in results_dir. Maps there that
    evaluate.py has not made are compared as they are. Raises InputError where they are known to be another model's.
    sources: see `find_sources`."""
    if not config.overwrite and results.holds_maps(config.results_dir):
        made_by = results.read_record(config.results_dir).get("made_by", {})
        if made_by and made_by.get("sha256") != checksum(config.inference_model):
            raise InputError(f"{config.results_dir} holds maps of {made_by.get('inference_model')}, but "
                             f"inference_model is {config.inference_model}; set that one to compare its maps, or "
                             "choose another results_dir, or --overwrite=True to replace them")
        if "frames_dir" not in made_by:
            return
    device = choose_device(config.device)
    model = load_fitting_model(config.inference_model, device, config.geometry, config.of_available)
    if missing := [name for name in names if name not in sources]:
        rows = read_catalogue(config.frames_dir)
        raise InputError("\n".join(explain_missing(name, config.frames_dir, rows) for name in missing))
    description = {**results.describe(model, config), "frames_dir": str(Path(config.frames_dir).resolve())}
    del description["videos_folder"]
    with claimed(config.results_dir, description, "results_dir"):
        problems = predict_frames_of([sources[name] for name in names], model, device, description)
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


def predict_frames_of(sources, model, device, description):
    """Predicts folders of frames into results_dir. Returns what was wrong with them, a line each."""
    since = results.check_results(config.results_dir, description, config.overwrite)
    results.write_record(config.results_dir, description, since, settings(config))
    colours, problems = colours_for_each(sources, config.frames_dir, config, device)
    flow_dir = resolve_flow_dir(config.optical_flow_dir, config.frames_dir) if config.of_available else None
    output = Output(config.results_dir, description, since, flow_dir=flow_dir, save_maps=config.save_maps)
    predicted = predict_sources(sources, colours, predictor_of(model, config, device), output)
    return problems + [problem for _, problem in predicted if problem]


# ------------------------------------------------------------------------------------------------------------- writing


def made_with():
    """{setting: value} that gaze.py made the ground truth with; {} where it did not make it."""
    return read_json(settings_file(config.gt_dir))


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
        truth = f"fixations are {IN_WORDS.get(made.get('fixations'))}, true maps are blurred {blur}"
    if kinds:
        truth += f" ({' and '.join(kinds)})"
    return (f"Protocol{f' {config.protocol}' * bool(config.protocol)}: {truth}, the first {config.evaluation_skip} "
            f"frames of each video are left out, weights are {WEIGHTS[config.weighting]}.")


def camera_speeds(sources):
    """{name: degrees a second} that the cameras of videos move. sources: see `find_sources`."""
    speeds = {}
    for name, source in tqdm(sources.items(), desc="camera motion", unit="video"):
        last = len(source.images) - 2
        starts = np.unique(np.linspace(0, last, PAIRS).astype(int)) if last >= 0 else []
        pairs = ([image_cache.read_resized(path, cv2.IMREAD_COLOR, SIZE) for path in source.images[start:start + 2]]
                 for start in starts)
        speeds[name] = camera_speed(pairs, source.rate)
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


def picture_row(which, cc, video, position, sources):
    """A row of `report.draw_frames` for one of `extreme_frames`. The frame is grey if frames_dir does not have it.
    sources: see `find_sources`."""
    height, width = size = (PICTURE_HEIGHT, 2 * PICTURE_HEIGHT)
    number = video.numbers[position]
    images = sources[video.name].images if video.name in sources else []
    path = next((path for path in images if frame_number(path) == number), None)
    frame = image_cache.read_resized(path, cv2.IMREAD_COLOR, size) if path else np.full((*size, 3), 96, np.uint8)
    prediction = image_cache.read_resized(video.predictions[position], cv2.IMREAD_GRAYSCALE, config.resolution)
    overlays = [overlay(frame, image, size) for image in (prediction, np.array(video.truth[position]))]
    samples = video.samples.where(video.samples.frame == number)
    pixels = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    return f"{which}: {video.name} frame {number}, CC {cc:.2f}", frame, *overlays, pixels


def write_report(videos, training, mapless, scores, sources):
    """Writes everything into evaluation_dir and prints the table. sources: see `find_sources`."""
    folder = Path(config.evaluation_dir)
    folder.mkdir(parents=True, exist_ok=True)
    report.write_frames(folder / "frames.csv", {video.name: video.numbers for video in videos}, scores[PREDICTION])
    report.write_videos(folder / "videos.csv", scores)
    notes = describe(videos, training, mapless)
    if groups := split_by_motion(camera_speeds(sources)):
        notes.append(f"A camera moves if its background does, by {STILL:g}° a second or more (median optical flow).")
    text = report.tables(scores, notes, config.seed, groups, WEIGHTS[config.weighting])
    write_text(folder / "table.md", text)
    write_figure(folder / "scores.png", report.draw_scores(scores))
    if frames := extreme_frames(videos, scores[PREDICTION], SHOWN):
        write_figure(folder / "frames.png", report.draw_frames([picture_row(*frame, sources) for frame in frames]))
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
    sources = find_sources(names)
    listed, names = names, list(find_truths(names, sources, {}))  # before anything is predicted
    sources = {name: source for name, source in sources.items() if name in names}
    predict_missing(names, sources)
    videos, training = load_videos(names, sources), load_training(names)
    prior = equator_prior(*config.resolution, math.radians(config.equator_sigma))
    area = {"area": solid_angle, "sin": sine_weights}[config.weighting](*config.resolution)
    scores = score_videos(videos, training, math.radians(config.gaze_sigma), prior, area)
    write_report(videos, training, [name for name in listed if name not in names], scores, sources)


if __name__ == "__main__":
    run(main)
