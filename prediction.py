"""From a source of frames to its maps: predicted, written and shown in one pass, in bounded memory, each stage at work
while the others are. An interrupted run goes on where it stopped."""

import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from errors import InputError
from files import checksum, frame_number
from flow.dis import MIN_ROWS
from flow.folders import colours_in, provide_flow
from flow.methods import choose_method, flow_images, flow_settings, load_flows
from maps.regions import RegionsWriter
from results import VideoResults, describe, read_rows
from spherical_conv import compile_kernels
from video.catalogue import assign_ids, read_catalogue
from video.decode import list_videos
from video.extraction import folders_of_others, is_finished
from video.memory import hand_back
from video.pipeline import read_ahead, write_behind
from video.planes import even_size, to_planes
from video.sources import VideoFile, list_frame_folders
from viewer.overlay import OverlayWriter
from viewer.page import FRAME_ROWS, PageWriter
from windows import finished_windows, model_inputs, split_windows, window_maps

FRAMES_AHEAD = 2    # frames that are decoded before they are needed
INPUTS_AHEAD = 4    # inputs of the model, resized and with flow, that are ready before they are needed


class Predictor(NamedTuple):
    """A model, and what its maps depend on beside the frames and their flow."""

    model: torch.nn.Module
    device: torch.device
    resolution: tuple       # (height, width)
    sequence_length: int
    overlap: int


def predictor_of(model, chosen, device):
    """The `Predictor` of the settings `chosen`: config, or a namespace of its names."""
    return Predictor(model, device, chosen.resolution, chosen.sequence_length, chosen.overlap)


def computed_colours(chosen, device):
    """The function `colours`, see `windows.model_inputs`, that computes flow of frames as they come, as the settings
    have it."""
    flows = load_flows(flow_settings(chosen), device)
    return lambda frames, first: flow_images(frames, flows, chosen.flow_resolution)


def colours_for_each(sources, frames_dir, chosen, device):
    """({id: the source's function `colours`, see `windows.model_inputs`}, what was wrong with frames, a line each). The
    flow of folders of frames, which lie in frames_dir, is kept as images."""
    if not chosen.of_available:
        return {source.id: None for source in sources}, []
    folders = [source.id for source in sources if source.path.is_dir()]
    flow_dir, problems = provide_flow(frames_dir, folders, flow_settings(chosen), device)
    computed = computed_colours(chosen, device) if len(folders) < len(sources) else None
    return {source.id: partial(colours_in, flow_dir / source.id, source) if source.id in folders else computed
            for source in sources}, problems


def list_sources(chosen, direct, problems=()):
    """The folders of frames in videos_folder and, if `direct`, the videos that have no such folder, sorted by id.
    problems: what went wrong with other videos, which is raised as InputError where there is no source at all."""
    frames_dir = Path(chosen.videos_folder, "frames")
    catalogue = read_catalogue(frames_dir)
    sources = list_frame_folders(frames_dir, catalogue)
    if direct:
        rows, others = {**read_rows(chosen.results_dir), **catalogue}, folders_of_others(frames_dir, catalogue)
        videos = [VideoFile(identity, path, chosen.stereo_layout, chosen.projection)
                  for path, identity in assign_ids(list_videos(chosen.videos_folder), rows, others).items()]
        outdated = {video.id for video in videos if (frames_dir / video.id).is_dir()
                    and not is_finished(video, frames_dir / video.id, catalogue.get(video.id))}
        for identity in sorted(outdated):
            tqdm.write(f"{frames_dir / identity} is not whole, or is of another video or an earlier version: "
                       "the video is predicted", file=sys.stderr)
        sources = [source for source in sources if source.id not in outdated]
        sources += [video for video in videos if video.id in outdated or not (frames_dir / video.id).is_dir()]
        sources.sort(key=lambda source: source.id)
    if not sources:
        nothing = (f"{frames_dir} holds no frames (folders of images, one a video)" if frames_dir.is_dir() else
                   f"{chosen.videos_folder} holds neither videos nor frames of any")
        raise InputError("\n".join(problems) or nothing)
    return sources


def describe_run(model, chosen, device):
    """What the maps of a run depend on beside frames and flow images: the description in run.json."""
    description = describe(model, chosen)
    if chosen.of_available and chosen.compute_flow:
        description |= {"flow_method": choose_method(chosen.flow_method, device),
                        "flow_resolution": chosen.flow_resolution, "flow_weights": checksum(chosen.flow_weights)}
    return description


class Output(NamedTuple):
    """Where maps go, and what shows them beside them."""

    folder: str             # results_dir
    made_by: dict           # what `results.describe` returned, and since when there are such maps, seconds since 1970:
    since: float            # other maps do not count
    overlay: bool = False
    overlay_height: int = 0     # rows at most
    page: bool = False
    sound: bool = False         # whether both keep the source's
    flow_dir: object = None     # where the flow images of frames that are files lie, a path; None: nowhere
    save_maps: str = "png"      # the forms of the maps: "png", "npy" or "both"
    tiles: object = None        # (rows, columns) of a grid of regions whose shares are written down; None: no table

    @property
    def picture_rows(self):
        """Rows at most of a frame that waits to be shown with its map; 0 where none is."""
        return max(self.overlay_height if self.overlay else 0, FRAME_ROWS if self.page else 0)


def predict_frames(frames, predictor, colours=None):
    """Yields the map of each frame, float32 (height, width), in (-1, 1), as the frames come. See
    `windows.model_inputs`."""
    with read_ahead(model_inputs(frames, predictor.resolution, colours), INPUTS_AHEAD) as inputs:
        windows = split_windows(inputs, predictor.sequence_length, predictor.overlap)
        yield from (saliency for _, saliency in window_maps(windows, predictor.model, predictor.device))


def predict_sources(sources, colours, predictor, output):
    """Predicts sources of frames (`video.sources`) one after the other, under one progress bar. Yields (`VideoResults`,
    what is wrong with the source or None) after each. colours: {id: function}, see `windows.model_inputs`."""
    with tqdm(total=sum(source.expected for source in sources) or None, unit="frame") as bar:
        for source in sources:
            bar.set_description(source.id)
            flow_dir = Path(output.flow_dir, source.id) if output.flow_dir and source.path.is_dir() else None
            results = VideoResults(output.folder, source, output.made_by, output.since, output.save_maps, flow_dir)
            problem = None
            try:
                write_results(results, predictor, colours[source.id], output, bar.update)
            except InputError as error:
                problem = str(error)
            yield results, problem or results.row.get("problem") or None


def write_results(results, predictor, colours, output, progress):
    """Writes what is missing of a source's maps, and what shows them. An interrupted run goes on where it stopped.

    results: a `VideoResults`. progress(count) is called as maps are done. Raises InputError for a source that cannot be
    read and, after all other maps are written, for frames that are bad.
    """
    results.prepare()
    writers = pending_writers(results, output)
    if not results.finished:
        predict_and_show(results, predictor, colours, list(writers.values()), output.picture_rows, progress)
    else:
        progress(results.leading)
        if writers:
            show_again(results, list(writers.values()), output.picture_rows)
    for suffix, writer in writers.items():
        files = [writer.path, *getattr(writer, "linked", ())]
        results.note_shown(suffix, how_to_show(results.source, output, suffix), files)


def how_to_show(source, output, suffix):
    """What the overlay (".mp4"), the page (".html") or the table of regions of a source depends on beside its frames
    and maps."""
    if suffix == "_regions.csv":
        return {"tiles": list(output.tiles)}
    how = {"title": source.name, "rate": source.rate, "sound": output.sound}
    tiles = output.tiles and list(output.tiles)  # as JSON keeps them
    return how | ({"height": output.overlay_height} if suffix == ".mp4" else {"tiles": tiles})


def pending_writers(results, output):
    """{suffix: the writer} of a video's overlay and page, as far as they are wanted and not there yet, as they would be
    made now."""
    def is_pending(suffix):
        return not results.shows(suffix, how_to_show(source, output, suffix))

    writers, source = {}, results.source
    if output.overlay and is_pending(".mp4"):
        writers[".mp4"] = OverlayWriter(results.path(".mp4"), source, output.overlay_height, output.sound)
    if output.page and is_pending(".html"):
        writers[".html"] = PageWriter(results.path(".html"), source.name, source, output.sound, output.tiles)
    if output.tiles and is_pending("_regions.csv"):
        writers["_regions.csv"] = RegionsWriter(
            results.path("_regions.csv"), lambda position: frame_number(source.stem(position)), *output.tiles)
    return writers


def picture_of(source, frame, rows):
    """What waits of a source's latest frame to be shown with its map: planes of at most so many rows; 0: nothing."""
    return to_planes(source.picture or frame, even_size(*frame.shape[:2], rows)) if rows else None


def show_again(results, writers, rows):
    """Writes the overlay or the page of maps that are all there. rows: at most so many are shown."""
    def pictures():
        for frame in results.source.frames():
            if isinstance(frame, InputError):
                raise frame
            yield picture_of(results.source, frame, rows)

    with read_ahead(pictures(), FRAMES_AHEAD) as ahead, write_behind(writers) as write:
        for position, picture in enumerate(ahead):
            write(picture, results.read_map(position), results.source.times[position])


def predict_and_show(results, predictor, colours, writers, rows, progress):
    """Predicts the windows that lack maps, and hands every frame with its map to the writers, in order of time."""
    length, overlap = predictor.sequence_length, predictor.overlap
    kept = finished_windows(results.leading, length, overlap)  # maps of windows that are complete stay as they are
    first = max(0, kept - length)  # the frames before may yet belong to the last window, which is moved back
    pictures, problems = deque(), []  # frames that wait for their maps; what was wrong with others

    def frames_to_predict(write):
        for position, frame in enumerate(results.source.frames()):
            if position == 0:
                results.claim()
            picture = None
            if isinstance(frame, InputError):
                if position < kept:
                    raise frame
            elif colours and len(frame) < MIN_ROWS:
                raise InputError(f"{results.source.path} has {len(frame)} rows; flow needs at least {MIN_ROWS}")
            else:
                picture = picture_of(results.source, frame, rows)
            if position < kept:
                write(picture, results.read_map(position), results.source.times[position])
            else:
                pictures.append(picture)
            if position >= first:
                yield frame

    def is_wanted(start, stop):
        return not all(map(results.has_map, range(start, stop)))

    progress(kept)
    with (write_behind(writers) as write, read_ahead(frames_to_predict(write), FRAMES_AHEAD) as frames,
          read_ahead(model_inputs(frames, predictor.resolution, colours, first), INPUTS_AHEAD) as inputs):
        compile_kernels(predictor.device, partial(tqdm.write, file=sys.stderr))  # while the first frames are decoded
        windows = split_windows(inputs, length, overlap, first, kept)
        for position, saliency in window_maps(windows, predictor.model, predictor.device, is_wanted):
            picture = pictures.popleft()
            if isinstance(saliency, InputError):
                problems.append(str(saliency))
                continue
            levels = results.read_map(position) if saliency is None else results.write_map(position, saliency)
            if not problems:
                write(picture, levels, results.source.times[position])
            progress(1)
            if position % length == 0:
                hand_back()
        if problems:
            raise InputError("\n".join(dict.fromkeys(problems)))
    results.finish()
