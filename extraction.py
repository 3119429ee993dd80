"""From a folder of videos to folders of frames: 8 a second, as the paper samples them (section 4.1).

    videos_folder/NAME.mp4                  sorted by name: ids 000, 001, ...
    videos_folder/frames/000/000_0012.png   number = index of the frame in the video
    videos_folder/frames/videos.csv         which id is which file
"""

import csv
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from files import InputError, list_images, write_image, write_text
from utils import in_order
from video import list_videos, probe, sample_frames

COLUMNS = ("id", "video", "bytes", "fps", "width", "height", "frames", "step", "samples", "stereo_layout", "problem")


def read_catalogue(frames_dir):
    """The rows of frames_dir/videos.csv as dicts of strings by id; none where there is no such file."""
    path = Path(frames_dir) / "videos.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if any(row.keys() != set(COLUMNS) or None in row.values() for row in rows):
        raise InputError(f"{path} is not as frames_extraction writes it; delete it together with the frames")
    return {row["id"]: row for row in rows}


def write_catalogue(frames_dir, rows):
    """Writes frames_dir/videos.csv, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[identity] for identity in sorted(rows))
    write_text(Path(frames_dir) / "videos.csv", text.getvalue())


def assign_ids(videos, rows):
    """An id for each video: the one it has, or else the next free one, so that a new video renames no other."""
    known = {row["video"]: identity for identity, row in rows.items()}
    taken, ids = set(known.values()), {}
    numbers = (f"{number:03d}" for number in range(len(videos) + len(taken)))
    free = (identity for identity in numbers if identity not in taken)
    for video in videos:
        ids[video] = known.get(video.name) or next(free)
    return ids


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


def describe_video(video, identity, info, shape, count, samples, stereo_layout):
    """The row of the catalogue of a video, of whose frames `count` could be read and `samples` are sampled."""
    cut_short = count < 0.9 * info.frames
    problem = f"{video} was cut short: only {count} of its {info.frames} frames could be read" if cut_short else ""
    height, width = shape
    return dict(zip(COLUMNS, (identity, video.name, video.stat().st_size, f"{info.fps:.6g}", width, height, count,
                              info.step, samples, stereo_layout, problem)))


def write_sample(sample):
    """Writes one (path, frame); returns the frame's height and width."""
    path, frame = sample
    write_image(path, frame)
    return frame.shape[:2]
