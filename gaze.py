"""Makes ground truth from gaze recordings: a saliency map for every extracted frame, and the fixations of every video.

    python gaze.py --gaze_dir=GAZE_FOLDER

Reads VR-EyeTracking's own files, GAZE_FOLDER/Gaze_txt_files/USER/VIDEO.txt (no header; columns from 0: 1 the frame's
index in the source video, 6 and 7 where the eye looks as fractions of the panorama from its bottom-left corner), and
tables GAZE_FOLDER/*.csv with the columns video, frame, longitude, latitude (degrees, east and north positive) and,
where known, user. A frame gathers the samples from its own index up to the next extracted frame.

Writes gt_dir/VIDEO/FRAME.png and fixations_dir/VIDEO.csv, which is such a table. Each sample spreads as a Gaussian of
great-circle distance. (The authors blur in the image instead, with sigma in pixels and a width that depends on the
row.)
"""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

import config
from errors import InputError, run
from files import list_folders, made_after, number_images, write_image
from maps import scaled_to_maximum
from recordings.ground_truth import saliency_maps
from recordings.samples import Samples, assign_frames
from recordings.tables import fixations_file, read_table, write_fixations
from recordings.vr_eyetracking import read_recording
from settings import configure

FRAMES_AT_A_TIME = 64   # bounds the memory of maps that are not yet written


# ------------------------------------------------------------------------------------------------------- finding files


def find_recordings(gaze_dir):
    """({video: [VR-EyeTracking files]}, [tables]) of a folder. Raises InputError if it holds neither."""
    folder = Path(gaze_dir)
    if not folder.is_dir():
        raise InputError(f"gaze_dir {folder} is not a folder; it holds Gaze_txt_files/USER/VIDEO.txt, or tables *.csv")
    users = folder / "Gaze_txt_files" if (folder / "Gaze_txt_files").is_dir() else folder
    files = defaultdict(list)
    for user in list_folders(users):
        for path in sorted(user.glob("*.txt")):
            files[path.stem].append(path)
    tables = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if not files and not tables:
        raise InputError(f"gaze_dir {folder} holds neither Gaze_txt_files/USER/VIDEO.txt nor tables *.csv")
    return files, tables


def find_frames():
    """{video: {frame number: path}} of the extracted frames. Raises InputError if frames_dir is not a folder."""
    if not Path(config.frames_dir).is_dir():
        raise InputError(f"frames_dir {config.frames_dir} is not a folder; it holds the extracted frames as "
                         "VIDEO/VIDEO_FRAME.png, and maps are made for those")
    return {folder.name: number_images(folder) for folder in list_folders(config.frames_dir)}


def choose_videos(recorded, extracted):
    """The videos, sorted, that have both gaze and frames. Prints those without frames; raises InputError if all are."""
    videos = sorted(video for video in recorded if extracted.get(video))
    if not videos:
        raise InputError(f"no video has both gaze in {config.gaze_dir} (such as {min(recorded, default='none')}) and "
                         f"frames in {config.frames_dir} (such as {min(extracted, default='none')})")
    if others := sorted(set(recorded) - set(videos)):
        print(f"no frames in {config.frames_dir}, so left out: {', '.join(others)}")
    return videos


# ------------------------------------------------------------------------------------------------- reading and writing


def read_tables(tables):
    """{video: [samples from each table that names it]}."""
    found = defaultdict(list)
    for table in tables:
        videos, skipped = read_table(table)
        report_skipped(table, skipped, sum(len(samples.frame) for samples in videos.values()))
        for video, samples in videos.items():
            found[video].append(samples)
    return found


def read_recordings(paths):
    """A list of the samples in each VR-EyeTracking file."""
    found = []
    for path in paths:
        samples, skipped = read_recording(path)
        report_skipped(path, skipped, len(samples.frame))
        found.append(samples)
    return found


def report_skipped(path, skipped, kept):
    if skipped:
        tqdm.write(f"{path}: {skipped} of {skipped + kept} samples skipped, not numbers or outside the panorama")


def write_ground_truth(video, frames, samples, bar):
    """Writes a video's maps, each scaled to a maximum of 255, and then its fixations: their file is the mark that all
    maps are there. A frame that gathers no samples gets no map; returns the number of such frames.

    frames: {frame number: path}; samples: as `assign_frames` returns them; bar advances by 1 for each frame.
    """
    names = {number: path.stem.removeprefix(f"{video}_") for number, path in frames.items()}
    folder = Path(config.gt_dir, video)
    folder.mkdir(parents=True, exist_ok=True)
    looked_at = np.unique(samples.frame)
    for first in range(0, len(looked_at), FRAMES_AT_A_TIME):
        numbers = looked_at[first:first + FRAMES_AT_A_TIME]
        here = samples.where((samples.frame >= numbers[0]) & (samples.frame <= numbers[-1]))
        maps = saliency_maps(here, numbers, math.radians(config.gaze_sigma), *config.resolution)
        for number, image in zip(numbers.tolist(), scaled_to_maximum(maps)):
            write_image(folder / f"{names[number]}.png", image)
            bar.update()
    without = names.keys() - set(looked_at.tolist())
    for number in without:
        (folder / f"{names[number]}.png").unlink(missing_ok=True)  # of an earlier run
    bar.update(len(without))
    write_fixations(fixations_file(config.fixations_dir, config.gt_dir, video), video, samples)
    return len(without)


def main(argv):
    configure(config, argv)
    files, tables = find_recordings(config.gaze_dir)
    extracted = find_frames()
    in_tables = read_tables(tables)
    videos = choose_videos(files.keys() | in_tables.keys(), extracted)

    done, unseen, outside = 0, 0, 0
    with tqdm(total=sum(len(extracted[video]) for video in videos), desc="maps", unit="frame") as bar:
        for video in videos:
            fixations = fixations_file(config.fixations_dir, config.gt_dir, video)
            sources = [*files[video], *(tables if video in in_tables else []), Path(config.frames_dir, video)]
            if not config.overwrite and Path(config.gt_dir, video).is_dir() and made_after(fixations, sources):
                done += 1
                bar.update(len(extracted[video]))
                continue
            parts = in_tables[video] + read_recordings(files[video])
            samples = Samples(*map(np.concatenate, zip(*parts)))
            gathered = assign_frames(samples, sorted(extracted[video]))
            outside += len(samples.frame) - len(gathered.frame)
            unseen += write_ground_truth(video, extracted[video], gathered, bar)
    print(f"{len(videos) - done} videos made in {config.gt_dir}, {done} were there (--overwrite=True makes them again)")
    print(f"{unseen} frames without gaze got no map; {outside} samples lie before or after the extracted frames")


if __name__ == "__main__":
    run(main)
