"""Makes ground truth from gaze recordings: a saliency map for every extracted frame, and the fixations of every video.

    python gaze.py --gaze_dir=GAZE_FOLDER            reads every recording below the folder
    python gaze.py --gaze_dir=GAZE_FOLDER --check    only prints what it finds, and draws a few frames with their gaze

Formats are recognised by content and place: VR-EyeTracking, D-SAV360, Salient360!, 360_em, PVS-HM, OpenSAL360,
Nasrabadi 2019, and tables with named columns (docs/recordings.md). A frame gathers the samples from its own index up to
the next extracted frame's.

Writes gt_dir/VIDEO/FRAME.png and fixations_dir/VIDEO.csv, a table with the columns video, frame, longitude, latitude
(degrees, east and north positive), user and kind (gaze or head). VIDEO is what the data set calls it. Each sample
spreads as a Gaussian of great-circle distance.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

import config
from files import list_folders, made_after, number_images, read_image, write_figure, write_image, write_text
from maps import scaled_to_maximum
from provenance import check_outputs
from recordings import check
from recordings.collection import collect
from recordings.fixations import ivt, once_a_frame, sample_times
from recordings.formats import find_recordings
from recordings.ground_truth import blurred_in_image, saliency_maps
from recordings.samples import Options, assign_frames, frames_at
from recordings.tables import fixations_file, settings_file, write_fixations
from settings import configure
from video.catalogue import read_catalogue
from video.decode import probe
from video.names import find_folders
from viewer.overlay import overlay

FRAMES_AT_A_TIME = 16   # bounds the memory of maps that are not yet written
SHOWN = 3               # videos in the picture of --check
SETTINGS = ("gaze_kind", "mirror_gaze", "fixations", "ivt_velocity", "ivt_duration", "gaze_sigma", "gaze_blur",
            "resolution", "gaze_fps", "gaze_format", "table_origin", "table_first_frame", "table_time")


class VideoFrames(NamedTuple):
    """The extracted frames of one video, and what the catalogue knows of it."""

    folder: Path
    images: dict            # {frame number: path}, in order
    fps: float              # frames a second, 0 = not known
    count: int              # frames of the video, 0 = not known
    times: np.ndarray       # of its frames, seconds, where its rate varies; else None


# -------------------------------------------------------------------------------------------------------------- frames


def find_frames(names):
    """({name: VideoFrames} of the videos that have any, names of folders that belong to none of them). Raises
    InputError if frames_dir is not a folder, and as `find_folders` does."""
    if not Path(config.frames_dir).is_dir():
        raise InputError(f"frames_dir {config.frames_dir} is not a folder; it holds the extracted frames as "
                         "VIDEO/VIDEO_FRAME.png, and maps are made for those")
    rows = read_catalogue(config.frames_dir)
    found = find_folders(names, config.frames_dir, rows, config.frames_ids)
    frames = {name: describe_frames(Path(config.frames_dir, folder), rows.get(folder))
              for name, folder in found.items()}
    others = sorted({path.name for path in list_folders(config.frames_dir)} - set(found.values()))
    return ({name: video for name, video in frames.items() if video.images},
            [Path(rows[identity]["video"]).stem if identity in rows else identity for identity in others])


def describe_frames(folder, row):
    """The `VideoFrames` in a folder; row: of the catalogue, or None."""
    images = number_images(folder)
    if row is None:
        return VideoFrames(folder, images, config.gaze_fps, 0, None)
    video = folder.parent.parent / row["video"]
    times = probe(video).times if row["step"] == "0" and video.is_file() else None
    return VideoFrames(folder, images, float(row["fps"]), int(row["frames"]), times)


def frames_of(gaze, frames):
    """The samples of a `Gaze` with the index of the source video's frame. None where only times are known, and the
    video's rate is not."""
    unknown = np.isnan(gaze.samples.frame)
    if not unknown.any():
        return gaze.samples
    if frames.times is not None:
        index = np.searchsorted(frames.times, gaze.time + 1e-8, side="right") - 1
    elif frames.fps:
        index = frames_at(np.nan_to_num(gaze.time), frames.fps)
    else:
        return None
    return gaze.samples._replace(frame=np.where(unknown, index, np.nan_to_num(gaze.samples.frame)).astype(np.int64))


def find_fixations(samples, gaze, frames):
    """The samples, or with `fixations` "ivt" those of fixations, all with the fixation's direction."""
    if config.fixations != "ivt" or not len(samples.frame):
        return samples
    time = gaze.time
    if np.isnan(time).any():
        if not frames.fps:
            raise InputError(f"the frame rate of {frames.folder} is not known, and fixations need it: set gaze_fps")
        time = np.empty(len(samples.frame))
        users = samples.user.astype(str)
        for user in np.unique(users):
            rows = np.flatnonzero(users == user)
            rows = rows[np.argsort(samples.frame[rows], kind="stable")]
            time[rows] = sample_times(samples.frame[rows], frames.fps)
    return ivt(samples, time, config.ivt_velocity, config.ivt_duration / 1000)


# ------------------------------------------------------------------------------------------------------------- writing


def draw_maps(samples, numbers):
    """The maps of frames, uint8 (T, H, W), each scaled to a maximum of 255."""
    draw = saliency_maps if config.gaze_blur == "sphere" else blurred_in_image
    return scaled_to_maximum(draw(samples, numbers, math.radians(config.gaze_sigma), *config.resolution))


def write_ground_truth(name, frames, samples, kind, bar):
    """Writes a video's maps, and then its fixations: their file is the mark that all maps are there. A frame that
    gathers no samples gets no map; returns the number of such frames.

    frames: its `VideoFrames`; samples: as `assign_frames` returns them; bar advances by 1 for each frame.
    """
    names = {number: path.stem.removeprefix(f"{frames.folder.name}_") for number, path in frames.images.items()}
    folder = Path(config.gt_dir, name)
    folder.mkdir(parents=True, exist_ok=True)
    looked_at = np.unique(samples.frame)

    def write_part(first):
        numbers = looked_at[first:first + FRAMES_AT_A_TIME]
        here = samples.where((samples.frame >= numbers[0]) & (samples.frame <= numbers[-1]))
        for number, image in zip(numbers.tolist(), draw_maps(here, numbers)):
            write_image(folder / f"{names[number]}.png", image)
            bar.update()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write_part, range(0, len(looked_at), FRAMES_AT_A_TIME)))
    without = names.keys() - set(looked_at.tolist())
    for number in without:
        (folder / f"{names[number]}.png").unlink(missing_ok=True)  # of an earlier run
    bar.update(len(without))
    write_fixations(fixations_file(config.fixations_dir, config.gt_dir, name), name, samples, kind)
    return len(without)


def is_made_with(request):
    """Whether the ground truth that is there was made with this request, the text of its settings. If not, it no longer
    says what it was made with."""
    path = settings_file(config.fixations_dir, config.gt_dir)
    same = path.is_file() and path.read_text(encoding="utf-8") == request
    if not same:
        path.unlink(missing_ok=True)
    return same


# ---------------------------------------------------------------------------------------------------------------- main


def read_everything():
    """(`Collection`, {name: VideoFrames}, lines to print at the end). Raises InputError if no video has both gaze and
    frames."""
    ours = (config.frames_dir, config.gt_dir, fixations_file(config.fixations_dir, config.gt_dir, "x").parent)
    formats, problems, others = find_recordings(config.gaze_dir, config.gaze_format, ours)
    rows = read_catalogue(config.frames_dir) if Path(config.frames_dir).is_dir() else {}
    names = {Path(row["video"]).stem for row in rows.values()}
    names |= {path.name for path in list_folders(config.frames_dir)} if Path(config.frames_dir).is_dir() else set()
    options = Options(config.gaze_kind, config.fixations, config.table_origin, config.table_first_frame,
                      config.table_time, frozenset(names))
    with tqdm(total=len(formats), desc="reading", unit="file") as bar:
        collection = collect(formats, options, config.mirror_gaze, bar.update)
    frames, without_gaze = find_frames(collection.videos)
    if not frames:
        lines = [*collection.problems, *problems]
        raise InputError("\n".join([*lines[:5], (
            f"no video has both gaze in {config.gaze_dir} (such as {min(collection.videos, default='none')}) and "
            f"frames in {config.frames_dir} (such as {min(without_gaze, default='none')})")]))
    lines = check.left_out(collection, problems, others)
    if missing := sorted(collection.videos.keys() - frames.keys()):
        lines.append(f"no frames in {config.frames_dir}, so left out: {check.listed(missing)}")
    if without_gaze:
        lines.append(f"no gaze of {check.listed(without_gaze)}, which have frames")
    return collection, frames, lines


def gather(name, collection, frames):
    """(samples of a video's extracted frames, number of samples that no frame gathers); (None, 0) where the rate of the
    video is not known."""
    gaze = collection.videos[name]
    samples = frames_of(gaze, frames)
    if samples is None:
        return None, 0
    gathered = assign_frames(find_fixations(samples, gaze, frames), sorted(frames.images))
    outside = len(samples.frame) - len(assign_frames(samples, sorted(frames.images)).frame)
    return (once_a_frame(gathered) if config.fixations == "ivt" else gathered), outside


def check_only():
    """Prints the table of `--check` and draws its picture."""
    collection, frames, lines = read_everything()
    rows, pictures = [], []
    for name, video in frames.items():
        gathered, outside = gather(name, collection, video)
        rows.append(check.table_row(name, collection.videos[name], video, gathered, outside))
        if gathered is not None and len(gathered.frame) and len(pictures) < 2 * SHOWN:
            numbers = np.unique(gathered.frame)
            for number in {numbers[len(numbers) // 3], numbers[2 * len(numbers) // 3]}:
                frame = read_image(video.images[number], cv2.IMREAD_COLOR)
                here = gathered.where(gathered.frame == number)
                over = overlay(frame, draw_maps(here, np.array([number]))[0], frame.shape[:2])
                pictures.append((f"{name} frame {number}", frame, over, here))
    print("\n".join([check.table(rows), *lines]))
    if pictures:
        path = Path(config.gt_dir).parent / "gaze_check.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_figure(path, check.draw(pictures))
        print(f"{path} shows frames with their samples and maps: is the gaze where something is to be seen?")


def make_ground_truth():
    """Writes maps and fixations of every video that has gaze and frames."""
    collection, frames, lines = read_everything()
    request = json.dumps({name: getattr(config, name) for name in SETTINGS}, indent=1) + "\n"
    same = is_made_with(request)
    done, unseen, outside, unknown, short = 0, 0, 0, [], []
    with tqdm(total=sum(len(video.images) for video in frames.values()), desc="maps", unit="frame") as bar:
        for name, video in frames.items():
            gaze, fixations = collection.videos[name], fixations_file(config.fixations_dir, config.gt_dir, name)
            gathered, left = gather(name, collection, video)
            if gathered is None:
                unknown.append(name)
                bar.update(len(video.images))
                continue
            outside += left
            if len(gathered.frame) and gathered.frame.max() < max(video.images):
                short.append(f"{name} (frame {gathered.frame.max()} of {max(video.images)})")
            sources = [*gaze.files, video.folder]
            if same and not config.overwrite and Path(config.gt_dir, name).is_dir() and made_after(fixations, sources):
                done += 1
                bar.update(len(video.images))
                continue
            unseen += write_ground_truth(name, video, gathered, gaze.kind, bar)
    path = settings_file(config.fixations_dir, config.gt_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, request)
    print(f"{len(frames) - done - len(unknown)} videos made in {config.gt_dir}, {done} were there "
          "(--overwrite=True makes them again)")
    print(f"{unseen} frames without gaze got no map; {outside} samples lie before or after the extracted frames")
    print(f"{check.kinds(collection.videos[name] for name in frames)}; fixations are {check.SOURCES[config.fixations]}")
    if short:
        lines.append(f"the gaze ends before the video: {check.listed(short)}")
    if unknown:
        lines.append(f"the frame rate is not known, so left out: {check.listed(unknown)}; extract their frames with "
                     "utils.py, or set gaze_fps")
    for line in lines:
        print(line)


def main(argv):
    configure(config, [argument for argument in argv if argument != "--check"])
    check_outputs({"gt_dir": config.gt_dir, "fixations_dir": config.fixations_dir},
                  {"gaze_dir": config.gaze_dir, "frames_dir": config.frames_dir}, may_hold=["gaze_dir"],
                  alone=["gt_dir"])
    if "--check" in argv:
        check_only()
    else:
        make_ground_truth()


if __name__ == "__main__":
    run(main)
