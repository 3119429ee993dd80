"""Predicts where people look in 360° videos: a saliency map for every sampled frame, an overlay video and a page.

    python inference.py                                    the sample clip that comes with the repository
    python inference.py --videos_folder=clips              your videos: clips/*.mp4
    python inference.py --inference_model=SST_Sal_wo_OF.pth --of_available=False       a model without optical flow
    torchrun --nproc_per_node=N inference.py               several GPUs share the videos out

Writes results_dir/ID/ID_FRAME.png (and, as save_maps says, ID_maps.npy), results_dir/ID.mp4, results_dir/ID.html (the
video on the sphere; index.html lists them), results_dir/ID.json (which video ID is) and results_dir/run.json. An
interrupted run goes on where it stopped.

Videos are predicted straight from the decoder. Folders of frames in videos_folder/frames are predicted as they are;
save_frames makes them, and flow images beside them, of every video.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from distributed import barrier, join_process_group, leave_process_group, rank, sum_over_processes, world_size
from files import clear_partials
from flow.dis import MIN_ROWS
from flow.folders import resolve_flow_dir
from model import load_fitting_model, load_model
from prediction import (
    Output,
    colours_for_each,
    computed_colours,
    describe_run,
    list_sources,
    predict_frames,
    predict_sources,
    predictor_of,
)
from provenance import check_outputs, claimed
from results import check_results, read_record, write_record
from settings import configure, merged, settings, tiles_of
from video.extraction import clear_unfinished, extract_frames
from video.memory import share_one_heap
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


# --------------------------------------------------------------------------------------------------------- the sources


def skips_frames():
    """Whether videos are predicted straight from the decoder: nobody asks for frames or flow as files, nor brings flow
    along."""
    if config.save_frames or (config.of_available and (config.flow_save_raw or not config.compute_flow)):
        return False
    flow_dir = resolve_flow_dir(config.optical_flow_dir, Path(config.videos_folder, "frames"))
    return not (config.of_available and any(flow_dir.glob("*/*.png")))


# ---------------------------------------------------------------------------------------------------------- the script


def summary(results):
    """What there is of a video: one line, and another one to warn of a page that is more than one file."""
    if not results.complete:
        return f"{results.source.name}: some maps are missing, see below"
    places = {"png": [results.path("")], "npy": [results.exact.path], "both": [results.path(""), results.exact.path]}
    line = (f"{results.source.name}: {results.row['samples']} maps in "
            f"{' and '.join(map(str, places[config.save_maps]))}")
    if config.regions:
        line += f", regions {results.path('_regions.csv')}"
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


def begin(direct, description):
    """What one process does before all begin: checks what is in results_dir, extracts frames where they are asked for.
    Returns what was wrong with videos, a line each."""
    since = check_results(config.results_dir, description, config.overwrite)
    clear_partials(config.results_dir)
    if direct:
        clear_unfinished(Path(config.videos_folder, "frames"))
        problems = unused_files(config.videos_folder)
    else:
        problems = extract_frames(config.videos_folder, config.stereo_layout, config.projection)
    write_record(config.results_dir, description, since, settings(config))
    return problems


def predict_videos(model, device, direct, description):
    """Predicts what there is in videos_folder. Returns what was wrong with videos, a line each."""
    problems = begin(direct, description) if rank() == 0 else []
    barrier()
    sources = list_sources(config, direct, problems)[rank()::world_size()]
    since = read_record(config.results_dir)["since"]
    colours, bad_flow = colours_for_each(sources, Path(config.videos_folder, "frames"), config, device)
    problems += bad_flow
    start, written = time.perf_counter(), 0
    flow_dir = resolve_flow_dir(config.optical_flow_dir, Path(config.videos_folder, "frames"))
    output = Output(config.results_dir, description, since, config.overlay, config.overlay_height, config.viewer,
                    config.sound, flow_dir if config.of_available else None, config.save_maps, tiles_of(config.regions))
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
    share_one_heap()
    device = join_process_group(config.device)
    model = load_fitting_model(config.inference_model, device, config.geometry, config.of_available)
    check_folders()
    direct = skips_frames()  # before any process writes flow
    description = describe_run(model, config, device)
    with claimed(config.results_dir, description, "results_dir") if rank() == 0 else nullcontext():
        problems = predict_videos(model, device, direct, description)
    leave_process_group()
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    run(main)
