"""Makes ground truth from gaze recordings: a saliency map for every extracted frame, and the fixations of every video.

    python gaze.py --gaze_dir=GAZE_FOLDER

Reads VR-EyeTracking's own files, GAZE_FOLDER/Gaze_txt_files/USER/VIDEO.txt (no header; columns from 0: 1 the frame's
index in the source video, 6 and 7 where the eye looks as fractions of the panorama from its bottom-left corner), and
tables GAZE_FOLDER/*.csv with the columns video, frame, longitude, latitude (degrees, east and north positive) and,
where known, user. A frame gathers the samples from its own index up to the next extracted frame.

Writes gt_dir/VIDEO/FRAME.png and fixations_dir/VIDEO.csv, which is such a table. Each sample spreads as a Gaussian of
great-circle distance: it crosses the seam and the poles as the sphere does and widens in pixels toward the poles. (The
authors blur in the image instead, with sigma in pixels and a width that depends on the row.)
"""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

import config
from errors import InputError, run
from files import list_folders, number_images, write_image
from recordings.ground_truth import saliency_maps, to_bytes
from recordings.samples import Samples, assign_frames
from recordings.tables import fixations_file, read_table, write_fixations
from recordings.vr_eyetracking import read_recording
from settings import configure

FRAMES_AT_A_TIME = 64   # bounds the memory of maps that are not yet written


# ------------------------------------------------------------------------------------------------------------- reading


def find_recordings(gaze_dir):
    """({video: [VR-EyeTracking files]}, [tables]) of a folder. Raises InputError where there are neither."""
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


# -------------------------------------------------------------------------------------------------------------- script


def write_ground_truth(video, frames, samples, gt_dir, fixations_file, sigma, resolution, bar):
    """Writes the maps of the frames that gather samples, as 8 bits up to each one's maximum, and last, as the mark that
    all is there, the fixations. Returns how many frames gather none: they get no map.

    frames: {number: path}; samples: as `assign_frames` returns them; sigma: radians; bar moves on by one a frame.
    """
    names = {number: path.stem.removeprefix(f"{video}_") for number, path in frames.items()}
    folder = Path(gt_dir, video)
    folder.mkdir(parents=True, exist_ok=True)
    looked_at, positions = np.unique(samples.frame, return_inverse=True)
    longitude, latitude = np.radians(samples.longitude), np.radians(samples.latitude)
    for first in range(0, len(looked_at), FRAMES_AT_A_TIME):
        numbers = looked_at[first:first + FRAMES_AT_A_TIME].tolist()
        here = (positions >= first) & (positions < first + len(numbers))
        maps = to_bytes(saliency_maps(positions[here] - first, longitude[here], latitude[here], len(numbers), sigma,
                                      *resolution))
        for number, image in zip(numbers, maps):
            write_image(folder / f"{names[number]}.png", image)
            bar.update()
    without = names.keys() - set(looked_at.tolist())
    for number in without:
        (folder / f"{names[number]}.png").unlink(missing_ok=True)  # of an earlier run
    bar.update(len(without))
    write_fixations(fixations_file, video, samples)
    return len(without)


def is_current(result, sources):
    """Whether the file was written after every one of its sources."""
    return result.exists() and all(result.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)


def main(argv):
    configure(config, argv)
    files, tables = find_recordings(config.gaze_dir)
    if not Path(config.frames_dir).is_dir():
        raise InputError(f"frames_dir {config.frames_dir} is not a folder; it holds the extracted frames as "
                         "VIDEO/VIDEO_FRAME.png, and maps are made for those")
    extracted = {folder.name: number_images(folder) for folder in list_folders(config.frames_dir)}

    in_tables = defaultdict(list)
    for table in tables:
        videos, skipped = read_table(table)
        report_skipped(table, skipped, sum(len(samples.frame) for samples in videos.values()))
        for video, samples in videos.items():
            in_tables[video].append(samples)

    recorded = files.keys() | in_tables.keys()
    videos = sorted(video for video in recorded if extracted.get(video))
    if not videos:
        raise InputError(f"no video has both gaze in {config.gaze_dir} (such as {min(recorded, default='none')}) and "
                         f"frames in {config.frames_dir} (such as {min(extracted, default='none')})")
    if others := sorted(recorded - set(videos)):
        print(f"no frames in {config.frames_dir}, so left out: {', '.join(others)}")

    done, unseen, outside = 0, 0, 0
    with tqdm(total=sum(len(extracted[video]) for video in videos), desc="maps", unit="frame") as bar:
        for video in videos:
            target = fixations_file(config.fixations_dir, config.gt_dir, video)
            sources = [*files[video], *(tables if video in in_tables else []), Path(config.frames_dir, video)]
            if not config.overwrite and Path(config.gt_dir, video).is_dir() and is_current(target, sources):
                done += 1
                bar.update(len(extracted[video]))
                continue
            parts = list(in_tables[video])
            for path in files[video]:
                samples, skipped = read_recording(path)
                report_skipped(path, skipped, len(samples.frame))
                parts.append(samples)
            samples = Samples(*map(np.concatenate, zip(*parts)))
            gathered = assign_frames(samples, sorted(extracted[video]))
            outside += len(samples.frame) - len(gathered.frame)
            unseen += write_ground_truth(video, extracted[video], gathered, config.gt_dir, target,
                                         math.radians(config.gaze_sigma), config.resolution, bar)
    print(f"{len(videos) - done} videos made in {config.gt_dir}, {done} were there (--overwrite=True makes them again)")
    print(f"{unseen} frames without gaze got no map; {outside} samples lie before or after the extracted frames")


def report_skipped(path, skipped, kept):
    if skipped:
        tqdm.write(f"{path}: {skipped} of {skipped + kept} samples skipped, not numbers or outside the panorama")


if __name__ == "__main__":
    run(main)
