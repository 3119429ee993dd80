"""Predicts where people look in 360° videos: a saliency map for every sampled frame, and an overlay video.

    python inference.py                                    the sample clip that comes with the repository
    python inference.py --videos_folder=clips              your videos: clips/*.mp4
    python inference.py --inference_model=SST_Sal_wo_OF.pth --of_available=False       a model without optical flow
    torchrun --nproc_per_node=N inference.py               several GPUs share the videos out

Writes results_dir/ID/ID_FRAME.png, results_dir/ID.mp4 and results_dir/run.json. An interrupted run continues.
"""

import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

import config
from dataset import list_frames, read_windows, split_windows
from distributed import barrier, join, leave, rank, total, world
from extraction import extract_frames, read_catalogue
from files import InputError, read_image, write_image, write_text
from model import load_model
from optical_flow import provide_flow
from utils import configure, in_order, run, settings
from video import SAMPLES_PER_SECOND, even_size, overlay, write_video


@torch.inference_mode()
def predict_clip(model, clip, device):
    """Saliency of a clip (T, H, W, C), uint8, from an empty state: (T, H, W) float32, in (-1, 1), NumPy."""
    frames = clip.to(device).permute(0, 3, 1, 2)[None].float() / 255  # (1, T, C, H, W)
    return model(frames)[0, :, 0].cpu().numpy()


def grey_levels(saliency):
    """A map scaled from its least value, 0, to its largest, 255, and truncated, as published: uint8. A constant map is
    all zeros."""
    least, largest = saliency.min(), saliency.max()
    if not largest > least:
        return np.zeros(saliency.shape, np.uint8)
    return ((saliency - least) / (largest - least) * 255).astype(np.uint8)


def map_path(results_dir, video, frame):
    """Where the map of a frame goes: results_dir/ID/FRAME.png."""
    return Path(results_dir, video.id, f"{frame.stem}.png")


def is_current(path, sources, since):
    """Whether `path` exists and was made after all its sources and after `since`, seconds since 1970."""
    made = path.stat().st_mtime if path.is_file() else -1.0
    return made >= since and all(made >= source.stat().st_mtime for source in sources)


def missing_maps(video, results_dir, since):
    """The indices of a video's frames that have no map made since then, or one older than the frame."""
    return {index for index, frame in enumerate(video.frames)
            if not is_current(map_path(results_dir, video, frame), [frame], since)}


def write_overlay(video, results_dir, fps, max_height, since):
    """Writes results_dir/ID.mp4, the maps over the frames, unless it is there and newer than all of them."""
    path = Path(results_dir, f"{video.id}.mp4")
    maps = [map_path(results_dir, video, frame) for frame in video.frames]
    if is_current(path, maps, since):
        return
    size = even_size(*read_image(video.frames[0]).shape[:2], max_height)

    def draw(paths):
        frame, saliency = paths
        return overlay(read_image(frame), read_image(saliency, cv2.IMREAD_GRAYSCALE), size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        write_video(path, in_order(pool, draw, zip(video.frames, maps)), fps)


# -------------------------------------------------------------------------------------------------------- the record


def checksum(path):
    """SHA-256 of a file in hexadecimal; "" where there is none."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""


def describe(model, cfg):
    """What decides the maps: runs with one description give the same maps of the same frames."""
    return {"inference_model": cfg.inference_model,
            "sha256": checksum(cfg.inference_model), "geometry": model.geometry,
            "videos_folder": str(Path(cfg.videos_folder).resolve()), "stereo_layout": cfg.stereo_layout,
            "optical_flow_dir": cfg.optical_flow_dir, "resolution": list(cfg.resolution),
            "sequence_length": cfg.sequence_length, "overlap": cfg.overlap}


def read_record(results_dir):
    """What `write_record` wrote, or {} where there is no such file."""
    try:
        record = json.loads(Path(results_dir, "run.json").read_text(encoding="utf-8"))
        return record if {"made_by", "since"} <= record.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def check_results(results_dir, description, overwrite):
    """Since when maps of this description have been written to results_dir, seconds since 1970; from now on where there
    are none, or they are to be overwritten. Raises InputError where it holds maps of another description."""
    since = time.time()
    if not overwrite and any(Path(results_dir).glob("*/*.png")):
        remedy = "choose another results_dir, or --overwrite=True to replace them"
        record = read_record(results_dir)
        if not record:
            raise InputError(f"{results_dir} holds maps, but no run.json that says how they were made; {remedy}")
        made_by, since = record["made_by"], record["since"]
        ways = [f"{name}={made_by.get(name)} (now {value})" for name, value in description.items()
                if made_by.get(name) != value]
        if ways:
            raise InputError(f"{results_dir} holds maps made with {', '.join(ways)}; {remedy}")
    return since


def write_record(results_dir, description, since, frames, seconds):
    """Writes results_dir/run.json: how the maps are made, and what the latest run predicted in how much time. Written
    before the first map as well, so that no map is ever without it."""
    Path(results_dir).mkdir(parents=True, exist_ok=True)
    record = {"made_by": description, "since": since, "settings": settings(config), "frames": frames,
              "seconds": round(seconds, 2), "frames_per_second": round(frames / seconds, 2) if seconds else 0.0}
    write_text(Path(results_dir, "run.json"), json.dumps(record, indent=2) + "\n")


# ------------------------------------------------------------------------------------------------------------- script


def load_checked_model(device):
    """The model of the settings, on the device. Raises InputError if it does not take what the settings give it."""
    model = load_model(config.inference_model, device, config.geometry)
    if model.input_dim != (6 if config.of_available else 3):
        wanted = {3: "frames only: --of_available=False", 6: "frames and optical flow: --of_available=True"}
        takes = wanted.get(model.input_dim, f"{model.input_dim} channels")
        raise InputError(f"of_available={config.of_available}, but the model {config.inference_model} takes {takes}")
    return model


def find_videos(problems):
    """This process's share of the videos that have frames. problems: what went wrong with others, which is raised as
    InputError where there is none."""
    frames_dir = Path(config.videos_folder, "frames")
    if not frames_dir.is_dir() and not problems:
        raise InputError(f"{config.videos_folder} holds neither videos nor frames of any")
    try:
        return list_frames(frames_dir)[rank()::world()]
    except InputError as problem:
        raise InputError("\n".join(problems) or str(problem)) from None


def write_maps(model, videos, flow_dir, since, device):
    """Writes the maps that are missing. Yields (video, number of maps written, problem or None) after each video."""
    missing = {video.id: missing_maps(video, config.results_dir, since) for video in videos}
    windows = {video.id: [window for window in split_windows(video, config.sequence_length, config.overlap)
                          if missing[video.id] & set(range(window.first, window.stop))] for video in videos}
    clips = read_windows([*chain(*windows.values())], flow_dir, config.resolution, config.num_workers)
    with tqdm(total=sum(map(len, missing.values())), unit="frame", disable=not any(missing.values())) as bar:
        for video in videos:
            bar.set_description(video.id)
            Path(config.results_dir, video.id).mkdir(exist_ok=True)
            written, first_problem = 0, None
            for window in windows[video.id]:
                clip, problem = next(clips)
                if problem:
                    first_problem = first_problem or problem
                    continue
                maps = predict_clip(model, clip, device)
                for index in range(window.first, window.stop):
                    path = map_path(config.results_dir, video, video.frames[index])
                    write_image(path, grey_levels(maps[index - window.start]))
                written += window.stop - window.first
                bar.update(len(missing[video.id] & set(range(window.first, window.stop))))
            yield video, written, first_problem


def finish_video(video, row, since, incomplete):
    """Writes a video's overlay if all its maps are there; returns one line that says what there is."""
    name = f"{video.id} {row['video']}" if row else video.id
    if incomplete:
        return f"{name}: some maps are missing, see below"
    line = f"{name}: {len(video.frames)} maps in {Path(config.results_dir, video.id)}"
    if not config.overlay:
        return line
    fps = float(row["fps"]) / int(row["step"]) if row else SAMPLES_PER_SECOND
    write_overlay(video, config.results_dir, fps, config.overlay_height, since)
    return f"{line}, overlay {Path(config.results_dir, video.id)}.mp4"


def main(argv):
    configure(config, argv)
    device = join(config.device)
    model = load_checked_model(device)
    description, problems = describe(model, config), []
    if rank() == 0:
        since = check_results(config.results_dir, description, config.overwrite)
        problems = extract_frames(config.videos_folder, config.stereo_layout)
        write_record(config.results_dir, description, since, frames=0, seconds=0.0)
    barrier()
    videos, since = find_videos(problems), read_record(config.results_dir)["since"]
    flow_dir = None
    if config.of_available:
        frames_dir, ids = Path(config.videos_folder, "frames"), [video.id for video in videos]
        flow_dir, flow_problems = provide_flow(frames_dir, ids, device)
        problems += flow_problems
    catalogue = read_catalogue(Path(config.videos_folder, "frames"))
    written, start = 0, time.perf_counter()
    for video, count, problem in write_maps(model, videos, flow_dir, since, device):
        written += count
        problems += [problem] if problem else []
        tqdm.write(finish_video(video, catalogue.get(video.id), since, incomplete=bool(problem)), file=sys.stdout)
    seconds = time.perf_counter() - start
    written = int(total([written], device)[0])
    if rank() == 0:
        write_record(config.results_dir, description, since, written, seconds)
        print(f"{written} maps in {seconds:.1f} s ({written / seconds:.1f} frames/s)")
    leave()
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    run(main)
