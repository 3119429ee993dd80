"""Extraction of frames: from a folder of videos to folders of images, 8 a second as in the paper (section 4.1).

    videos_folder/NAME.mp4                  sorted by name: ids 000, 001, ...
    videos_folder/frames/000/000_0012.png   number = index of the frame in the video
    videos_folder/frames/000.json           when each of these frames is shown, seconds
    videos_folder/frames/videos.csv         which id is which file: see catalogue.py
"""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from errors import InputError
from files import clear_partials, list_folders, list_images, read_json, write_image, write_text
from provenance import claimed, fingerprint, is_claimed
from video.catalogue import assign_ids, assign_names, read_catalogue, write_catalogue
from video.decode import list_videos
from video.pipeline import in_order
from video.sources import VideoFile
from video.unused import unused_files

MARK = ".made-from.json"  # in a folder of frames that was extracted here: what it was made from


def identify(video):
    """What the frames of a `VideoFile` are made from."""
    stereo_layout, projection = video.settings
    return {"video": fingerprint(video.path), "stereo_layout": stereo_layout, "projection": projection}


def is_finished(video, folder, row):
    """Whether the folder holds all frames of this very `VideoFile` in its layout; row: of the catalogue, or None."""
    return (row is not None and folder.is_dir() and read_json(folder / MARK) == identify(video)
            and int(row["samples"]) == len(list_images(folder)))


def remove_folder(folder, identity):
    """Removes a folder of frames that was extracted here, and nothing else. Raises InputError if it holds more."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name == MARK or re.fullmatch(rf"{re.escape(identity)}_\d{{4,}}\.png|\..*\.partial", path.name):
                path.unlink()
        try:
            folder.rmdir()
        except OSError:
            raise InputError(f"{folder} holds more than the frames that were extracted there, which are outdated; move "
                             "it away") from None


def clear_unfinished(frames_dir):
    """Removes the folders, half full, that killed extractions left, if none is at work."""
    left = [path for path in Path(frames_dir).glob(".*.partial")
            if (path / MARK).is_file() or (path.is_dir() and not any(path.iterdir()))]
    if left and not is_claimed(frames_dir):
        for path in left:
            remove_folder(path, path.name[1:-len(".partial")])


def extract_frames(videos_folder, stereo_layout, projection="", by_name=False):
    """Extracts the frames of every video in a folder that has none yet, and returns a list of problems, one line for
    each video that has one and each file that is not used.

    A finished video is kept; an interrupted one is extracted again. A folder of frames whose id is not in videos.csv
    was made by other programs and is used as it is. by_name: whether new folders are named after their files, as data
    sets need it, and not 000, 001, ... Raises InputError if videos_folder does not exist.
    """
    videos_folder = Path(videos_folder)
    if not videos_folder.is_dir():
        raise InputError(f"the folder {videos_folder} does not exist; set videos_folder to a folder of videos")
    frames_dir = videos_folder / "frames"
    clear_unfinished(frames_dir)
    rows = read_catalogue(frames_dir)
    problems, unfinished = unused_files(videos_folder), []
    videos = list_videos(videos_folder)
    others = folders_of_others(frames_dir, rows)
    ids = assign_names(videos, rows) if by_name else assign_ids(videos, rows, others)
    for path, identity in ids.items():
        if identity in others:
            continue
        video = VideoFile(identity, path, stereo_layout, projection)
        folder, row = frames_dir / identity, rows.get(identity)
        if not is_finished(video, folder, row):
            unfinished.append(video)
        elif row["problem"]:
            problems.append(row["problem"])
    if not unfinished:
        return problems
    frames_dir.mkdir(exist_ok=True)
    clear_partials(frames_dir)
    with claimed(frames_dir, None, "videos_folder"), tqdm(desc="extracting", unit="frame") as bar:
        rows = read_catalogue(frames_dir)
        for video in unfinished:
            if video.id in rows and is_finished(video, frames_dir / video.id, rows[video.id]):
                continue  # by another process, for which this one has waited
            try:
                bar.set_postfix_str(video.title)
                rows[video.id] = row = extract_video(video, frames_dir, bar)
                write_catalogue(frames_dir, rows)
                problems += [row["problem"]] if row["problem"] else []
            except InputError as problem:
                problems.append(str(problem))
    return problems


def folders_of_others(frames_dir, rows):
    """The names of the folders of frames that are not in the catalogue: other programs made them."""
    names = {folder.name for folder in list_folders(frames_dir)} if frames_dir.is_dir() else set()
    return {name for name in names - rows.keys() if list_images(frames_dir / name)
            and not (frames_dir / name / MARK).is_file()}


def extract_video(video, frames_dir, bar):
    """Writes the frames of a `VideoFile` to frames_dir/ID, all or none, and returns its row of the catalogue. bar: a
    tqdm that counts the frames. Raises InputError if the video cannot be read."""
    folder, partial = frames_dir / video.id, frames_dir / f".{video.id}.partial"
    remove_folder(partial, video.id)  # of an extraction that was killed just now
    try:
        partial.mkdir()
        write_text(partial / MARK, json.dumps(identify(video)))
        frames = ((partial / f"{video.stem(position)}.png", frame) for position, frame in enumerate(video.frames()))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PNG compression takes longer than decoding
            for _ in in_order(pool, lambda item: write_image(*item), frames):
                bar.update()
        remove_folder(folder, video.id)
        partial.rename(folder)
    finally:
        remove_folder(partial, video.id)
    row = video.describe()
    write_text(frames_dir / f"{video.id}.json", json.dumps({"times": row["times"], "end": row["end"]}))
    return row
