"""Extraction of frames: from a folder of videos to folders of images, 8 a second as in the paper (section 4.1).

    videos_folder/NAME.mp4                  sorted by name: ids 000, 001, ...
    videos_folder/frames/000/000_0012.png   number = index of the frame in the video
    videos_folder/frames/videos.csv         which id is which file: see catalogue.py
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from errors import InputError
from files import list_images, write_image
from video.catalogue import assign_ids, read_catalogue, write_catalogue
from video.decode import list_videos
from video.pipeline import in_order
from video.sources import VideoFile


def is_finished(video, folder, row):
    """Whether the folder holds all frames of this very `VideoFile` in its layout; row: of the catalogue."""
    return (folder.is_dir() and int(row["bytes"]) == video.bytes and row["stereo_layout"] == video.stereo_layout
            and int(row["samples"]) == len(list_images(folder)))


def extract_frames(videos_folder, stereo_layout):
    """Extracts the frames of every video in a folder that has none yet, and returns a list of problems, one line for
    each video that has one.

    A finished video is kept; an interrupted one is extracted again. A folder of frames whose id is not in videos.csv
    was made by other programs and is used as it is. Raises InputError if videos_folder does not exist.
    """
    videos_folder = Path(videos_folder)
    if not videos_folder.is_dir():
        raise InputError(f"the folder {videos_folder} does not exist; set videos_folder to a folder of videos")
    frames_dir = videos_folder / "frames"
    rows = read_catalogue(frames_dir)
    problems, unfinished = [], []
    for path, identity in assign_ids(list_videos(videos_folder), rows).items():
        video, folder, row = VideoFile(identity, path, stereo_layout), frames_dir / identity, rows.get(identity)
        if row is None and folder.is_dir():
            continue
        if row is None or not is_finished(video, folder, row):
            unfinished.append(video)
        elif row["problem"]:
            problems.append(row["problem"])
    if not unfinished:
        return problems
    frames_dir.mkdir(exist_ok=True)
    with tqdm(desc="extracting", unit="frame") as bar:
        for video in unfinished:
            try:
                bar.set_postfix_str(video.title)
                rows[video.id] = row = extract_video(video, frames_dir, bar)
                write_catalogue(frames_dir, rows)
                problems += [row["problem"]] if row["problem"] else []
            except InputError as problem:
                problems.append(str(problem))
    return problems


def extract_video(video, frames_dir, bar):
    """Writes the frames of a `VideoFile` to frames_dir/ID, all or none, and returns its row of the catalogue. bar: a
    tqdm that counts the frames. Raises InputError if the video cannot be read."""
    folder, partial = frames_dir / video.id, frames_dir / f".{video.id}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    frames = ((partial / f"{video.stem(position)}.png", frame) for position, frame in enumerate(video.frames()))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PNG compression takes longer than decoding
            for _ in in_order(pool, lambda item: write_image(*item), frames):
                bar.update()
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return video.describe()
