"""From a folder of videos to folders of frames: 8 a second, as the paper samples them (section 4.1).

    videos_folder/NAME.mp4                  sorted by name: ids 000, 001, ...
    videos_folder/frames/000/000_0012.png   number = index of the frame in the video
    videos_folder/frames/videos.csv         which id is which file
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from errors import InputError
from files import list_images, write_image
from video.catalogue import assign_ids, describe_video, read_catalogue, write_catalogue
from video.decode import list_videos, probe, sample_frames
from video.pipeline import in_order


def is_finished(folder, video, row, stereo_layout):
    """Whether the frames of this very file, sampled in this way, are all there."""
    if not folder.is_dir():
        return False
    return (int(row["bytes"]) == video.stat().st_size and row["stereo_layout"] == stereo_layout
            and int(row["samples"]) == len(list_images(folder)))


def extract_frames(videos_folder, stereo_layout):
    """Extracts the frames of every video that has none yet; returns what went wrong, a line a video.

    A video that is finished is kept, one that was interrupted is done again. A folder of frames under an id that no
    video.csv mentions was made by others: it is used as it is. Raises InputError where the folder is missing.
    """
    videos_folder = Path(videos_folder)
    if not videos_folder.is_dir():
        raise InputError(f"the folder {videos_folder} does not exist; set videos_folder to a folder of videos")
    frames_dir = videos_folder / "frames"
    rows = read_catalogue(frames_dir)
    problems, todo = [], []
    for video, identity in assign_ids(list_videos(videos_folder), rows).items():
        folder, row = frames_dir / identity, rows.get(identity)
        if row is None and folder.is_dir():
            continue
        if row is None or not is_finished(folder, video, row, stereo_layout):
            todo.append((video, identity))
        elif row["problem"]:
            problems.append(row["problem"])
    if not todo:
        return problems
    frames_dir.mkdir(exist_ok=True)
    with tqdm(desc="extracting", unit="frame") as bar:
        for video, identity in todo:
            try:
                bar.set_postfix_str(video.name)
                rows[identity] = extract_video(video, identity, frames_dir, stereo_layout, bar)
                write_catalogue(frames_dir, rows)
                if rows[identity]["problem"]:
                    problems.append(rows[identity]["problem"])
            except InputError as problem:
                problems.append(str(problem))
    return problems


def extract_video(video, identity, frames_dir, stereo_layout, bar):
    """Writes one video's frames to frames_dir/identity, whole or not at all; returns its row of the catalogue."""
    info = probe(video)
    partial = frames_dir / f".{identity}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    count = 0

    def samples():
        nonlocal count
        for index, frame in sample_frames(video, info.step, stereo_layout):
            count = index + 1
            bar.update()
            if frame is not None:
                yield partial / f"{identity}_{index:04d}.png", frame

    folder = frames_dir / identity
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PNG compression takes longer than decoding
            shapes = list(in_order(pool, write_sample, samples()))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return describe_video(video, identity, info, shapes[0], count, len(shapes), stereo_layout)


def write_sample(sample):
    """Writes one (path, frame); returns the frame's height and width."""
    path, frame = sample
    write_image(path, frame)
    return frame.shape[:2]
