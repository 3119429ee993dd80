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
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config, others=("--check",))  # before PyTorch and other packages are imported, which takes seconds

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from files import (
    clear_partials,
    encoded,
    list_folders,
    list_images,
    number_images,
    read_image,
    read_json,
    replacing,
    write_figure,
    write_text,
)
from maps.levels import scaled_to_maximum
from provenance import Ledger, check_outputs, claimed, digest, is_unchanged, remove_own
from recordings import check
from recordings.clock import Clock, times_between
from recordings.collection import collect
from recordings.columns import first_lines
from recordings.fixations import IN_WORDS, ivt, once_a_frame, sample_times
from recordings.formats import find_recordings
from recordings.ground_truth import blurred_in_image, saliency_maps
from recordings.samples import Options, assign_frames
from recordings.tables import HEADER, fixations_file, fixations_text, settings_file
from settings import configure
from video.catalogue import read_catalogue
from video.names import find_folders
from video.sources import FrameFolder
from viewer.overlay import overlay

PIXELS_AT_A_TIME = 2**21    # of maps that a thread draws before it writes them: bounds the memory
SHOWN = 3                   # videos in the picture of --check
SETTINGS = ("gaze_kind", "mirror_gaze", "fixations", "ivt_velocity", "ivt_duration", "gaze_sigma", "gaze_blur",
            "resolution", "gaze_fps", "gaze_format", "table_origin", "table_first_frame", "table_time")


class VideoFrames(NamedTuple):
    """The extracted frames of one video, and what the catalogue knows of it."""

    folder: Path
    images: dict            # {frame number: path}, in order
    clock: Clock
    count: int              # frames of the video, 0 = not known

    def map_names(self):
        """{frame number: the file name of its map}."""
        return {number: f"{path.stem.removeprefix(f'{self.folder.name}_')}.png" for number, path in self.images.items()}


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
        return VideoFrames(folder, images, Clock(config.gaze_fps), 0)
    fps, count = float(row["fps"]), int(row["frames"])
    times = frame_times(FrameFolder(folder, row), list(images), count) if row["step"] == "0" and images else None
    return VideoFrames(folder, images, Clock(fps, times), count)


def frame_times(source, numbers, count):
    """The `times` of a video's `Clock` by the decoder's time stamps: of all its `count` frames, or where the file is
    gone, of those that were extracted. source: its `FrameFolder`; numbers: of the extracted frames. None where neither
    is known."""
    with suppress(InputError):  # a video that cannot be read
        if source.video and source.video.info.frames == count:
            return np.append(source.video.info.times, source.video.end)
    known = len(source.shown_at) == len(numbers)
    return times_between(numbers, source.shown_at, source.end, count) if known else None


def frames_of(gaze, frames):
    """The samples of a `Gaze` with the index of the source video's frame. None where only times are known, and the
    video's rate is not."""
    unknown = np.isnan(gaze.samples.frame)
    if not unknown.any():
        return gaze.samples
    if not frames.clock.known:
        return None
    index = frames.clock.frames_at(np.nan_to_num(gaze.time))
    return gaze.samples._replace(frame=np.where(unknown, index, np.nan_to_num(gaze.samples.frame)).astype(np.int64))


def find_fixations(samples, gaze, frames):
    """The samples, or with `fixations` "ivt" those of fixations, all with the fixation's direction."""
    if config.fixations != "ivt" or not len(samples.frame):
        return samples
    time = gaze.time
    if np.isnan(time).any():
        if not frames.clock.known:
            raise InputError(f"the frame rate of {frames.folder} is not known, and fixations need it: set gaze_fps")
        time = np.empty(len(samples.frame))
        users = samples.user.astype(str)
        for user in np.unique(users):
            rows = np.flatnonzero(users == user)
            rows = rows[np.argsort(samples.frame[rows], kind="stable")]
            time[rows] = sample_times(samples.frame[rows], frames.clock)
    return ivt(samples, time, config.ivt_velocity, config.ivt_duration / 1000)


# ------------------------------------------------------------------------------------------------------------- writing


def draw_maps(samples, numbers):
    """The maps of frames, uint8 (T, H, W), each scaled to a maximum of 255."""
    draw = saliency_maps if config.gaze_blur == "sphere" else blurred_in_image
    return scaled_to_maximum(draw(samples, numbers, math.radians(config.gaze_sigma), *config.resolution))


def write_ground_truth(name, frames, samples, kind, bar):
    """Sees to it that a video has the maps and the table of its samples, and no others of this program: what is there
    already and unchanged is kept. A frame that gathers no samples gets no map. Returns whether something was written.

    frames: its `VideoFrames`; samples: as `assign_frames` returns them; bar advances by 1 for each frame.
    """
    text, table = fixations_text(name, samples, kind), fixations_file(config.fixations_dir, config.gt_dir, name)
    made_from = {"fixations": digest(text.encode()), "gaze_sigma": config.gaze_sigma, "gaze_blur": config.gaze_blur,
                 "resolution": list(config.resolution)}
    ledger, names = ledger_of(name), frames.map_names()
    wanted = {number: names[number] for number in np.unique(samples.frame).tolist()}
    is_kept = not config.overwrite and ledger.made_from == made_from
    kept = {image: ledger.entries[image] for image in wanted.values() if is_kept and ledger.holds(image)}
    bar.update(len(frames.images) - len(wanted) + len(kept))
    if is_kept and len(kept) == len(wanted) == len(ledger.entries) and is_unchanged(table, made_from["fixations"]):
        return False
    for folder in (ledger.folder, table.parent):
        folder.mkdir(parents=True, exist_ok=True)
        clear_partials(folder)
    remove_own(ledger.folder, {image: content for image, content in ledger.entries.items() if image not in kept})
    ledger.begin(made_from, kept)
    missing = np.array([number for number, image in wanted.items() if image not in kept], np.int64)

    def write_part(numbers):
        here = samples.where(np.isin(samples.frame, numbers))
        for number, image in zip(numbers.tolist(), draw_maps(here, numbers)):
            ledger.write(wanted[number], encoded(Path(wanted[number]).suffix, image))
            bar.update()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        step = max(1, PIXELS_AT_A_TIME // math.prod(config.resolution))
        list(pool.map(write_part, [missing[first:first + step] for first in range(0, len(missing), step)]))
    ledger.close()
    with replacing(table) as partial:
        partial.write_bytes(text.encode())
    return True


def ledger_of(name):
    """The record of a video's maps."""
    return Ledger(Path(config.gt_dir, f".{name}.made"), Path(config.gt_dir, name))


def check_maps(frames):
    """Raises InputError where maps or tables of these videos would be written beside or over what gaze.py has not
    written. With `overwrite`, maps of the same frames make way. frames: {name: VideoFrames}."""
    foreign = []
    for name, video in frames.items():
        ledger, table = ledger_of(name), fixations_file(config.fixations_dir, config.gt_dir, name)
        names = set(video.map_names().values()) if config.overwrite else ()
        images = list_images(ledger.folder) if ledger.folder.is_dir() else []
        images = [path for path in images if path.name not in ledger.entries]
        replaced = [path for path in images if path.name in names]
        foreign += [path for path in images if path not in replaced]
        if table.is_file() and not config.overwrite and first_lines(table)[:1] != [HEADER]:
            foreign.append(table)
        for path in replaced:
            path.unlink()
    if foreign:
        more = f" (and {len(foreign) - 1} more files)" * (len(foreign) > 1)
        raise InputError(f"{foreign[0]}{more} would be mixed with what gaze.py writes, but was not written by it, or "
                         "by an earlier version; choose another gt_dir (--overwrite=True replaces maps of the same "
                         "frames)")


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
    numbers, end = list(frames.images), frames.count if frames.clock.times is not None else None
    gathered = assign_frames(find_fixations(samples, gaze, frames), numbers, end)
    outside = len(samples.frame) - len(assign_frames(samples, numbers, end).frame)
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
    request = json.loads(json.dumps({name: getattr(config, name) for name in SETTINGS}))
    made_by = settings_file(config.gt_dir)
    with claimed(config.gt_dir, request, "gt_dir"):
        check_maps(frames)
        clear_partials(config.gt_dir)
        if read_json(made_by) != request:
            made_by.unlink(missing_ok=True)  # until all ground truth is as it says
        lines = write_everything(collection, frames) + lines
        write_text(made_by, json.dumps(request, indent=1) + "\n")
    print("\n".join(lines))


def write_everything(collection, frames):
    """Writes what is not there yet of the maps and fixations of videos. Returns lines to print. frames: {name:
    VideoFrames}."""
    made, unseen, outside, unknown, short = 0, 0, 0, [], []
    with tqdm(total=sum(len(video.images) for video in frames.values()), desc="maps", unit="frame") as bar:
        for name, video in frames.items():
            gathered, left = gather(name, collection, video)
            if gathered is None:
                unknown.append(name)
                bar.update(len(video.images))
                continue
            outside += left
            if len(gathered.frame) and gathered.frame.max() < max(video.images):
                short.append(f"{name} (frame {gathered.frame.max()} of {max(video.images)})")
            unseen += len(video.images) - len(np.unique(gathered.frame))
            made += write_ground_truth(name, video, gathered, collection.videos[name].kind, bar)
    lines = [f"{made} videos made in {config.gt_dir}, {len(frames) - made - len(unknown)} were there "
             "(--overwrite=True makes them again)",
             f"{unseen} frames without gaze got no map; {outside} samples lie before or after the extracted frames",
             f"{check.kinds(collection.videos[name] for name in frames)}; fixations are {IN_WORDS[config.fixations]}"]
    if short:
        lines.append(f"the gaze ends before the video: {check.listed(short)}")
    if unknown:
        lines.append(f"the frame rate is not known, so left out: {check.listed(unknown)}; extract their frames with "
                     "utils.py, or set gaze_fps")
    names = (path.name.removeprefix(".").removesuffix(".made") for path in sorted(Path(config.gt_dir).glob(".*.made")))
    if earlier := [name for name in names if name not in frames]:
        lines.append(f"maps of {check.listed(earlier)} in {config.gt_dir} are of an earlier run: their gaze or frames "
                     "are not here now")
    return lines


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
