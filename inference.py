"""Predicts where people look in 360° videos: a saliency map for every sampled frame, an overlay video and a page.

    python inference.py                                    the sample clip that comes with the repository
    python inference.py --videos_folder=clips              your videos: clips/*.mp4
    python inference.py --inference_model=SST_Sal_wo_OF.pth --of_available=False       a model without optical flow
    torchrun --nproc_per_node=N inference.py               several GPUs share the videos out

Writes results_dir/ID/ID_FRAME.png, results_dir/ID.mp4, results_dir/ID.html (the video on the sphere; index.html lists
them), results_dir/ID.json (which video ID is) and results_dir/run.json. An interrupted run goes on where it stopped.

Videos are predicted straight from the decoder. Folders of frames in videos_folder/frames are predicted as they are;
save_frames makes them, and flow images beside them, of every video.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import config
from distributed import barrier, join_process_group, leave_process_group, rank, sum_over_processes, world_size
from files import checksum, clear_partials
from flow.dis import MIN_ROWS
from flow.folders import colours_in, provide_flow, resolve_flow_dir
from flow.methods import choose_method, flow_images, flow_settings, load_flows
from model import load_fitting_model, load_model
from prediction import Output, Predictor, predict_frames, predict_sources
from provenance import check_outputs, claimed
from results import check_results, describe, read_record, read_rows, write_record
from settings import configure, merged, settings
from video.catalogue import assign_ids, read_catalogue
from video.decode import list_videos
from video.extraction import extract_frames, folders_of_others, is_outdated
from video.sources import VideoFile, list_frame_folders
from video.unused import unused_files
from viewer.index import write_index
from viewer.page import linked_files


def predict(frames, model, device="cpu", **given):
    """Yields the saliency of each frame, float32 (height, width), in (-1, 1), as the frames come; writes nothing.

    frames: an array (T, H, W, 3) or any iterable of frames (H, W, 3) of one size, BGR uint8, 8 a second as in training.
    model: an `SST_Sal`, or the path of one; a model with 6 channels also gets the frames' optical flow. given: settings
    by their names in config.py, such as resolution=(120, 160); what is not given is as config.py says. The maps are
    those that this script writes, before they are scaled, and come a window at a time. Raises InputError for a wrong
    name or value of a setting, for a file that holds no model, and for frames of a wrong size; TypeError for frames
    that are not of bytes.
    """
    chosen, device = merged(config, given), torch.device(device)
    if not isinstance(model, torch.nn.Module):
        model = load_model(model, device, chosen.geometry)
    colours = computed_colours(chosen, device) if model.input_dim == 6 else None
    return predict_frames(checked_frames(frames, colours is not None), predictor_of(model, chosen, device), colours)


def checked_frames(frames, with_flow):
    """Yields the frames. Raises TypeError for one that is not (H, W, 3) uint8, and InputError for one of another size
    than the first or, with flow, too small for it."""
    size = None
    for number, frame in enumerate(frames):
        kind = f"{getattr(frame, 'shape', '')} {getattr(frame, 'dtype', type(frame).__name__)}".strip()
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise TypeError(f"frames must be arrays (H, W, 3) of uint8, BGR, 0 to 255; frame {number} is {kind}")
        size = size or frame.shape
        if frame.shape != size or 0 in size:
            raise InputError(f"frames must have one size: frame {number} is {kind}, and the first one {size}")
        if with_flow and min(size[:2]) < MIN_ROWS:
            raise InputError(f"frames have {size[0]} rows and {size[1]} columns; flow needs at least {MIN_ROWS} each")
        yield frame


def predictor_of(model, chosen, device):
    """The `Predictor` of the settings `chosen`: config, or a namespace of its names."""
    return Predictor(model, device, chosen.resolution, chosen.sequence_length, chosen.overlap)


def computed_colours(chosen, device):
    """The function that computes the flow's colour images of frames as they come, as the settings have it."""
    return partial(flow_images, flows=load_flows(flow_settings(chosen), device), rows=chosen.flow_resolution)


# --------------------------------------------------------------------------------------------------------- the sources


def skips_frames():
    """Whether videos are predicted straight from the decoder: nobody asks for frames or flow as files, nor brings flow
    along."""
    if config.save_frames or (config.of_available and (config.flow_save_raw or not config.compute_flow)):
        return False
    flow_dir = resolve_flow_dir(config.optical_flow_dir, Path(config.videos_folder, "frames"))
    return not (config.of_available and any(flow_dir.glob("*/*.png")))


def list_sources(direct, problems):
    """The folders of frames and, if `direct`, the videos that have no such folder. problems: what went wrong with other
    videos, which is raised as InputError where there is no source at all."""
    frames_dir = Path(config.videos_folder, "frames")
    catalogue = read_catalogue(frames_dir)
    sources = list_frame_folders(frames_dir, catalogue)
    if direct:
        rows, others = {**read_rows(config.results_dir), **catalogue}, folders_of_others(frames_dir, catalogue)
        videos = [VideoFile(identity, path, config.stereo_layout, config.projection)
                  for path, identity in assign_ids(list_videos(config.videos_folder), rows, others).items()]
        outdated = {video.id for video in videos if is_outdated(video, frames_dir / video.id)}
        for identity in sorted(outdated):
            tqdm.write(f"{frames_dir / identity} was made from another video, or by an earlier version: the video is "
                       "predicted", file=sys.stderr)
        sources = [source for source in sources if source.id not in outdated]
        sources += [video for video in videos if video.id in outdated or not (frames_dir / video.id).is_dir()]
        sources.sort(key=lambda source: source.id)
    if not sources:
        nothing = (f"{frames_dir} holds no frames (folders of images, one a video)" if frames_dir.is_dir() else
                   f"{config.videos_folder} holds neither videos nor frames of any")
        raise InputError("\n".join(problems) or nothing)
    return sources


def colours_for_each(sources, device):
    """({id: the source's function `colours`, see `windows.model_inputs`}, what was wrong with frames, a line each)."""
    if not config.of_available:
        return {source.id: None for source in sources}, []
    folders = [source.id for source in sources if not isinstance(source, VideoFile)]
    flow_dir, problems = provide_flow(Path(config.videos_folder, "frames"), folders, flow_settings(config), device)
    computed = computed_colours(config, device) if len(folders) < len(sources) else None
    return {source.id: partial(colours_in, flow_dir / source.id, source) if source.id in folders else computed
            for source in sources}, problems


# ---------------------------------------------------------------------------------------------------------- the script


def summary(results):
    """What there is of a video: one line, and another one to warn of a page that is more than one file."""
    if not results.complete:
        return f"{results.source.name}: some maps are missing, see below"
    line = f"{results.source.name}: {results.row['samples']} maps in {results.path('')}"
    if config.overlay:
        line += f", overlay {results.path('.mp4')}"
    if config.viewer:
        line += f", to look at {results.path('.html')}"
        if linked_files(results.path(".html")):
            line += (f"\nwarning: the video is too large for one page: keep {results.source.id}_video_*.js beside "
                     f"{results.path('.html')}")
    return line


def check_folders():
    """Raises InputError if there is no videos_folder, or if results would be written where something is read."""
    if not Path(config.videos_folder).is_dir():
        raise InputError(f"the folder {config.videos_folder} does not exist; set videos_folder to one of videos")
    frames_dir = Path(config.videos_folder, "frames")
    flow_dir = resolve_flow_dir(config.optical_flow_dir, frames_dir)
    frames = {"the folder of frames": frames_dir, "the folder of optical flow": flow_dir}
    inputs = {"videos_folder": config.videos_folder, "inference_model": config.inference_model, **frames}
    check_outputs({"results_dir": config.results_dir}, inputs, may_hold=["videos_folder"], alone=["results_dir"])
    check_outputs({"optical_flow_dir": flow_dir}, {"videos_folder": config.videos_folder, "its frames": frames_dir},
                  may_hold=["videos_folder"])


def describe_run(model, device):
    """What the maps of this run depend on beside frames and flow images: the description in run.json."""
    description = describe(model, config)
    if config.of_available and config.compute_flow:
        description |= {"flow_method": choose_method(config.flow_method, device),
                        "flow_resolution": config.flow_resolution, "flow_weights": checksum(config.flow_weights)}
    return description


def begin(direct, description):
    """What one process does before all begin: checks what is in results_dir, extracts frames where they are asked for.
    Returns what was wrong with videos, a line each."""
    since = check_results(config.results_dir, description, config.overwrite)
    clear_partials(config.results_dir)
    problems = (unused_files(config.videos_folder) if direct else
                extract_frames(config.videos_folder, config.stereo_layout, config.projection))
    write_record(config.results_dir, description, since, settings(config))
    return problems


def predict_videos(model, device, direct, description):
    """Predicts what there is in videos_folder. Returns what was wrong with videos, a line each."""
    problems = begin(direct, description) if rank() == 0 else []
    barrier()
    sources, since = list_sources(direct, problems)[rank()::world_size()], read_record(config.results_dir)["since"]
    colours, bad_flow = colours_for_each(sources, device)
    problems += bad_flow
    start, written = time.perf_counter(), 0
    flow_dir = resolve_flow_dir(config.optical_flow_dir, Path(config.videos_folder, "frames"))
    output = Output(config.results_dir, description, since, config.overlay, config.overlay_height, config.viewer,
                    config.sound, flow_dir if config.of_available else None)
    for results, problem in predict_sources(sources, colours, predictor_of(model, config, device), output):
        written += results.written
        problems += [problem] if problem else []
        tqdm.write(summary(results), file=sys.stdout)
    seconds, written = time.perf_counter() - start, int(sum_over_processes([written], device)[0])
    if rank() == 0:
        if config.viewer:
            write_index(config.results_dir)
        write_record(config.results_dir, description, since, settings(config), written, seconds)
        print(f"{written} maps in {seconds:.1f} s ({written / seconds:.1f} frames/s)")
    return problems


def main(argv):
    configure(config, argv)
    device = join_process_group(config.device)
    model = load_fitting_model(config.inference_model, device, config.geometry, config.of_available)
    check_folders()
    direct = skips_frames()  # before any process writes flow
    description = describe_run(model, device)
    with claimed(config.results_dir, description, "results_dir") if rank() == 0 else nullcontext():
        problems = predict_videos(model, device, direct, description)
    leave_process_group()
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    run(main)
