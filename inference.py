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

import sys
import time
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

import config
from distributed import barrier, join_process_group, leave_process_group, rank, sum_over_processes, world_size
from errors import InputError, run
from flow.folders import colours_in, provide_flow, resolve_flow_dir
from flow.methods import choose_method, flow_images, flow_settings, load_flows
from model import load_fitting_model, load_model
from prediction import Output, Predictor, predict_frames, predict_sources
from results import check_results, describe, read_record, read_rows, write_record
from settings import configure, merged, settings
from video.catalogue import assign_ids, read_catalogue
from video.decode import list_videos
from video.extraction import extract_frames
from video.sources import VideoFile, list_frame_folders
from viewer.index import write_index
from viewer.page import linked_files


def predict(frames, model, device="cpu", **given):
    """Yields the saliency of each frame, float32 (height, width), in (-1, 1), as the frames come; writes nothing.

    frames: an array (T, H, W, 3) or any iterable of frames (H, W, 3) of one size, BGR uint8, 8 a second as in training.
    model: an `SST_Sal`, or the path of one; a model with 6 channels also gets the frames' optical flow. given: settings
    by their names in config.py, such as resolution=(120, 160); what is not given is as config.py says. The maps are
    those that this script writes, before they are scaled, and come a window at a time. Raises InputError for a wrong
    name or value of a setting, and for a file that holds no model.
    """
    chosen, device = merged(config, given), torch.device(device)
    if not isinstance(model, torch.nn.Module):
        model = load_model(model, device, chosen.geometry)
    colours = computed_colours(chosen, device) if model.input_dim == 6 else None
    return predict_frames(frames, predictor_of(model, chosen, device), colours)


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
        ids = assign_ids(list_videos(config.videos_folder), catalogue | read_rows(config.results_dir))
        sources += [VideoFile(identity, path, config.stereo_layout) for path, identity in ids.items()
                    if not (frames_dir / identity).is_dir()]
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


def begin(direct, description):
    """What one process does before all begin: checks the folders, extracts frames where they are asked for. Returns
    what was wrong with videos, a line each."""
    since = check_results(config.results_dir, description, config.overwrite)
    if not Path(config.videos_folder).is_dir():
        raise InputError(f"the folder {config.videos_folder} does not exist; set videos_folder to one of videos")
    problems = [] if direct else extract_frames(config.videos_folder, config.stereo_layout)
    write_record(config.results_dir, description, since, settings(config))
    return problems


def main(argv):
    configure(config, argv)
    device = join_process_group(config.device)
    model = load_fitting_model(config.inference_model, device, config.geometry, config.of_available)
    direct, description = skips_frames(), describe(model, config)  # before any process writes flow
    if config.of_available and direct:  # flow that lies on disk is used however it was made
        description |= {"flow_method": choose_method(config.flow_method, device),
                        "flow_resolution": config.flow_resolution}
    problems = begin(direct, description) if rank() == 0 else []
    barrier()
    sources, since = list_sources(direct, problems)[rank()::world_size()], read_record(config.results_dir)["since"]
    colours, bad_flow = colours_for_each(sources, device)
    problems += bad_flow
    start = time.perf_counter()
    output, written = Output(config.results_dir, since, config.overlay, config.overlay_height, config.viewer), 0
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
    leave_process_group()
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    run(main)
