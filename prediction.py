"""From a source of frames to its maps: predicted, written and shown in one pass, in bounded memory, each stage at work
while the others are. An interrupted run goes on where it stopped."""

from collections import deque
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from errors import InputError
from flow.dis import MIN_ROWS
from maps import grey_levels
from results import VideoResults
from video.pipeline import read_ahead, write_behind
from video.resize import limit_rows
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


class Output(NamedTuple):
    """Where maps go, and what shows them beside them."""

    folder: str             # results_dir
    made_by: dict           # what `results.describe` returned, and since when there are such maps, seconds since 1970:
    since: float            # other maps do not count
    overlay: bool
    overlay_height: int     # rows at most
    page: bool
    sound: bool             # whether both keep the source's
    flow_dir: object = None     # where the flow images of frames that are files lie, a path; None: nowhere

    @property
    def picture_rows(self):
        """Rows at most of a frame that waits to be shown with its map."""
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
            results = VideoResults(output.folder, source, output.made_by, output.since, flow_dir)
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
    """What the overlay (".mp4") or the page (".html") of a source depends on beside its frames and maps."""
    how = {"title": source.name, "rate": source.rate, "sound": output.sound}
    return {**how, "height": output.overlay_height} if suffix == ".mp4" else how


def pending_writers(results, output):
    """{suffix: the writer} of a video's overlay and page, as far as they are wanted and not there yet, as they would be
    made now."""
    def is_pending(suffix):
        return not results.shows(suffix, how_to_show(source, output, suffix))

    writers, source = {}, results.source
    if output.overlay and is_pending(".mp4"):
        writers[".mp4"] = OverlayWriter(results.path(".mp4"), source, output.overlay_height, output.sound)
    if output.page and is_pending(".html"):
        writers[".html"] = PageWriter(results.path(".html"), source.name, source, output.sound)
    return writers


def show_again(results, writers, rows):
    """Writes the overlay or the page of maps that are all there. rows: at most so many are shown."""
    with read_ahead(results.source.frames(), FRAMES_AHEAD) as frames, write_behind(writers) as write:
        for position, frame in enumerate(frames):
            if isinstance(frame, InputError):
                raise frame
            write(limit_rows(frame, rows), results.read_map(position), results.source.times[position])


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
            elif writers:
                picture = limit_rows(frame, rows)
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
          read_ahead(model_inputs(frames, predictor.resolution, colours), INPUTS_AHEAD) as inputs):
        windows = split_windows(inputs, length, overlap, first, kept)
        for position, saliency in window_maps(windows, predictor.model, predictor.device, is_wanted):
            picture = pictures.popleft()
            if isinstance(saliency, InputError):
                problems.append(str(saliency))
                continue
            levels = results.read_map(position) if saliency is None else grey_levels(saliency)
            if saliency is not None:
                results.write_map(position, levels)
            if not problems:
                write(picture, levels, results.source.times[position])
            progress(1)
        if problems:
            raise InputError("\n".join(dict.fromkeys(problems)))
    results.finish()
