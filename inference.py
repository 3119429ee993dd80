"""Predicts where people look in 360° videos: a saliency map for every sampled frame, and an overlay video.

    python inference.py                                    the sample clip that comes with the repository
    python inference.py --videos_folder=clips              your videos: clips/*.mp4
    python inference.py --inference_model=SST_Sal_wo_OF.pth --of_available=False       a model without optical flow
    torchrun --nproc_per_node=N inference.py               several GPUs share the videos out

Writes results_dir/ID/ID_FRAME.png, results_dir/ID.mp4, results_dir/ID.html (the video on the sphere; index.html lists
them) and results_dir/run.json. An interrupted run continues.

Videos are predicted straight from the decoder, and results_dir/ID.json says which one ID is. Folders of frames in
videos_folder/frames are predicted as they are; save_frames makes them, and flow images beside them, of every video.
"""

import hashlib
import json
import math
import sys
import time
from collections import deque
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

import config
from distributed import barrier, join, leave, rank, total, world
from errors import InputError, run
from files import read_image, write_image, write_text
from flow.dis import SMALLEST
from flow.folders import flow_folder, provide_flow
from flow.methods import choose_method, flow_settings, load_flows
from model import load_model
from settings import configure, settings
from video.catalogue import assign_ids, describe_video, read_catalogue
from video.decode import SAMPLES_PER_SECOND, list_videos, probe, sample_frames
from video.extraction import extract_frames
from video.pipeline import FRAMES_AHEAD, ahead, behind
from video.resize import limit_rows
from viewer import page
from viewer.index import write_index
from viewer.overlay import OverlayWriter
from windows import INPUTS_AHEAD, finished_windows, model_inputs, predict_clip, stream_maps, stream_windows
from windows_on_disk import list_frames, read_windows, split_windows


def predict(frames, model, device="cpu"):
    """Yields the saliency (height, width) of each frame, float32 in (-1, 1), as the frames come; writes nothing.

    frames: an array (T, H, W, 3) or any iterable of frames (H, W, 3) of one size, BGR uint8, 8 a second as in training;
    model: an `SST_Sal`, or the path of one. A model with 6 channels also gets the frames' optical flow. Settings are
    those of config.py, which the caller may change. The maps are those that this script writes, before they are scaled;
    they come a window at a time. Raises InputError for a file that holds no model.
    """
    device = torch.device(device)
    if not isinstance(model, torch.nn.Module):
        model = load_model(model, device, config.geometry)
    flows = load_flow_method(device) if model.input_dim == 6 else None
    with ahead(model_inputs(frames, config.resolution, flows, config.flow_resolution), INPUTS_AHEAD) as inputs:
        windows = stream_windows(inputs, config.sequence_length, config.overlap)
        yield from (saliency for _, saliency in stream_maps(windows, model, device))


def load_flow_method(device):
    """What yields the flow of pairs of frames, as the settings have it: see `load_flows`."""
    return load_flows(flow_settings(config), device)


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


def show_writers(identity, title, fps, maps, since):
    """What shows a video's maps: the writers of its overlay and of its page, as far as the settings ask for them and
    they are not there yet, newer than all of `maps`."""
    results, writers = Path(config.results_dir), []
    if config.overlay and not is_current(results / f"{identity}.mp4", maps, since):
        writers.append(OverlayWriter(results / f"{identity}.mp4", fps, config.overlay_height))
    if config.viewer and not is_current(results / f"{identity}.html", maps, since):
        writers.append(page.PageWriter(results / f"{identity}.html", title, fps))
    return writers


def show_frames(video, title, fps, since):
    """Writes the overlay and the page of a video whose frames and maps are files."""
    maps = [map_path(config.results_dir, video, frame) for frame in video.frames]
    if writers := show_writers(video.id, title, fps, maps, since):
        with ahead(map(read_image, video.frames), FRAMES_AHEAD) as frames, behind(writers) as write:
            for frame, saliency in zip(frames, maps):
                write(frame, read_image(saliency, cv2.IMREAD_GRAYSCALE))


def shown_rows():
    """Rows at most of a frame that is kept to be shown with its map."""
    return max(config.overlay_height if config.overlay else 0, page.FRAME_ROWS if config.viewer else 0)


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


def list_sources(direct, problems):
    """(videos that have frames, {id: file} of those to be read from the file). direct: what `goes_direct` says.
    problems: what went wrong with other videos, which is raised as InputError where there is none."""
    frames_dir, files = Path(config.videos_folder, "frames"), {}
    if direct:
        rows = read_catalogue(frames_dir) | read_rows(config.results_dir)
        files = {identity: file for file, identity in assign_ids(list_videos(config.videos_folder), rows).items()
                 if not (frames_dir / identity).is_dir()}
    if not files and not frames_dir.is_dir() and not problems:
        raise InputError(f"{config.videos_folder} holds neither videos nor frames of any")
    try:
        return list_frames(frames_dir) if frames_dir.is_dir() else [], files
    except InputError as problem:
        if files:
            return [], files
        raise InputError("\n".join(problems) or str(problem)) from None


def goes_direct():
    """Whether videos that have no frames are predicted straight from the decoder: where nobody asks for frames or flow
    as files, nor brings flow along."""
    if config.save_frames or (config.of_available and (config.flow_save_raw or not config.compute_flow)):
        return False
    flow_dir = flow_folder(config.optical_flow_dir, Path(config.videos_folder, "frames"))
    return not (config.of_available and any(flow_dir.glob("*/*.png")))


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


# ------------------------------------------------------------------------------------------------ from the decoder


def read_rows(results_dir):
    """What `stream_video` wrote of each video, by id: rows as those of the catalogue of frames."""
    rows = {}
    for path in Path(results_dir).glob("*.json"):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("id") == path.stem:
            rows[path.stem] = row
    return rows


def stream_video(model, path, identity, flows, since, device, bar):
    """Predicts a video straight from the decoder: writes its maps, what shows them and results_dir/ID.json, its row:
    whose maps these are before the first of them, the rest at the end. What is there is kept. Returns (row, number of
    maps written). Raises InputError for a video that cannot be read."""
    info, results = probe(path), Path(config.results_dir)
    row, title = read_rows(results).get(identity, {}), f"{identity} {path.name}"
    (results / identity).mkdir(exist_ok=True)
    if row.get("bytes", path.stat().st_size) != path.stat().st_size:
        for outdated in (results / identity).glob("*.png"):  # of another file with this name, which may have been older
            outdated.unlink()

    def target(position):
        return results / identity / f"{identity}_{position * info.step:04d}.png"

    def is_made(position):
        return is_current(target(position), [path], since)

    done = next(position for position in count() if not is_made(position))
    finished = (row.get("samples"), row.get("bytes"), row.get("stereo_layout")) == (
        done, path.stat().st_size, config.stereo_layout)
    writers = show_writers(identity, title, info.fps / info.step, [target(position) for position in range(done)],
                           since if finished else math.inf)
    if finished and not writers:
        return row, 0
    # Windows that are finished are passed over; the last frames before them may yet belong to the video's last window.
    kept = done if finished else finished_windows(done, config.sequence_length, config.overlap)
    first = max(0, kept - config.sequence_length)
    waiting, read, written = deque(), 0, 0

    def write_row(row):
        write_text(results / f"{identity}.json", json.dumps(row, indent=2) + "\n")

    def frames(write):
        nonlocal read, row
        positions = count()
        for index, frame in sample_frames(path, info.step, config.stereo_layout):
            read = index + 1
            if frame is None:
                continue
            position = next(positions)
            if position == 0:
                row = {"shape": frame.shape[:2]}
                if flows and len(frame) < SMALLEST:
                    raise InputError(f"{path} has {len(frame)} rows; flow needs at least {SMALLEST}")
                if not finished:  # before the first map, so that a run that goes on knows whose maps these are
                    write_row({"id": identity, "video": path.name, "bytes": path.stat().st_size})
            row["samples"] = position + 1
            shown = limit_rows(frame, shown_rows()) if writers else None
            if position < kept:
                write(shown, read_image(target(position), cv2.IMREAD_GRAYSCALE))
            else:
                waiting.append(shown)
            if position >= first and not finished:
                yield frame

    with (behind(writers) as write, ahead(frames(write), FRAMES_AHEAD) as sampled,
          ahead(model_inputs(sampled, config.resolution, flows, config.flow_resolution), INPUTS_AHEAD) as inputs):
        windows = stream_windows(inputs, config.sequence_length, config.overlap, first, kept)
        for position, saliency in stream_maps(windows, model, device,
                                              lambda start, stop: not all(map(is_made, range(start, stop)))):
            if saliency is None:
                levels = read_image(target(position), cv2.IMREAD_GRAYSCALE)
            else:
                levels = grey_levels(saliency)
                write_image(target(position), levels)
                written += 1
            write(waiting.popleft(), levels)
            bar.update(saliency is not None)
    row = describe_video(path, identity, info, row["shape"], read, row["samples"], config.stereo_layout)
    write_row(row)
    return row, written


def stream_videos(model, files, since, device):
    """Predicts the videos {id: file} straight from the decoder. Yields (line that says what there is, number of maps
    written, problem or None) after each."""
    flows = load_flow_method(device) if files and config.of_available else None
    with tqdm(unit="frame", disable=not files) as bar:
        for identity, path in files.items():
            bar.set_description(identity)
            try:
                row, written = stream_video(model, path, identity, flows, since, device, bar)
            except InputError as problem:
                yield f"{identity} {path.name}: some maps are missing, see below", 0, str(problem)
                continue
            yield summary(identity, name_of(identity, row), row["samples"]), written, row["problem"] or None


def name_of(identity, row):
    """What to call a video: its id, and its file's name where the row of a catalogue says it."""
    return f"{identity} {row['video']}" if row else identity


def summary(identity, name, maps):
    """What there is of a finished video: one line, and another one to warn of a page that is more than one file."""
    results = Path(config.results_dir)
    line = f"{name}: {maps} maps in {results / identity}"
    if config.overlay:
        line += f", overlay {results / identity}.mp4"
    if config.viewer:
        line += f", to look at {results / identity}.html"
        if page.linked_files(results / f"{identity}.html"):
            line += (f"\nwarning: the video is too large for one page: keep {identity}_video_*.js beside "
                     f"{results / identity}.html")
    return line


def finish_video(video, row, since, incomplete):
    """Writes a video's overlay and page if all its maps are there; returns what to say of it."""
    name = name_of(video.id, row)
    if incomplete:
        return f"{name}: some maps are missing, see below"
    show_frames(video, name, float(row["fps"]) / int(row["step"]) if row else SAMPLES_PER_SECOND, since)
    return summary(video.id, name, len(video.frames))


def main(argv):
    configure(config, argv)
    device = join(config.device)
    model = load_checked_model(device)
    description, problems = describe(model, config), []
    direct = goes_direct()  # before any process writes flow
    if config.of_available and direct:  # flow that lies on disk is used however it was made
        description |= {"flow_method": choose_method(config.flow_method, device),
                        "flow_resolution": config.flow_resolution}
    if rank() == 0:
        since = check_results(config.results_dir, description, config.overwrite)
        if not Path(config.videos_folder).is_dir():
            raise InputError(f"the folder {config.videos_folder} does not exist; set videos_folder to one of videos")
        if not direct:
            problems = extract_frames(config.videos_folder, config.stereo_layout)
        write_record(config.results_dir, description, since, frames=0, seconds=0.0)
    barrier()
    videos, files = list_sources(direct, problems)
    share, since = [*videos, *files][rank()::world()], read_record(config.results_dir)["since"]
    videos = [video for video in videos if video in share]
    files = {identity: file for identity, file in files.items() if identity in share}
    flow_dir = None
    if config.of_available and videos:
        frames_dir, ids = Path(config.videos_folder, "frames"), [video.id for video in videos]
        flow_dir, flow_problems = provide_flow(frames_dir, ids, flow_settings(config), device)
        problems += flow_problems
    catalogue = read_catalogue(Path(config.videos_folder, "frames"))
    written, start = 0, time.perf_counter()
    for video, new, problem in write_maps(model, videos, flow_dir, since, device):
        written += new
        problems += [problem] if problem else []
        tqdm.write(finish_video(video, catalogue.get(video.id), since, incomplete=bool(problem)), file=sys.stdout)
    for line, new, problem in stream_videos(model, files, since, device):
        written += new
        problems += [problem] if problem else []
        tqdm.write(line, file=sys.stdout)
    seconds = time.perf_counter() - start
    written = int(total([written], device)[0])
    if rank() == 0:
        if config.viewer:
            write_index(config.results_dir)
        write_record(config.results_dir, description, since, written, seconds)
        print(f"{written} maps in {seconds:.1f} s ({written / seconds:.1f} frames/s)")
    leave()
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    run(main)
