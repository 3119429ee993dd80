"""Folders of flow images, flow_dir/ID/ID_FRAME.png of frames_dir/ID/ID_FRAME.png: missing ones are made, or named."""

import io
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from errors import InputError
from files import checksum, clear_partials, encoded, list_images
from flow.colours import flow_to_colour
from flow.dis import MIN_ROWS
from flow.methods import choose_method, load_flows
from provenance import Ledger, claimed, fingerprint_files, is_unchanged, remove_own
from video.pipeline import in_order
from video.resize import limit_rows
from video.sources import checked_sizes, read_or_problem


class FlowFolder(NamedTuple):
    """The folder of a video's flow images, the frames that they belong to, and which of them are missing."""

    path: Path
    frames: list[Path]  # in order
    missing: set[int]   # indices of frames
    ledger: Ledger      # of the images that were made here; the others were brought along


def resolve_flow_dir(optical_flow_dir, frames_dir):
    """The folder that the setting optical_flow_dir means: "" is the folder optical_flow beside frames_dir."""
    return Path(optical_flow_dir) if optical_flow_dir else Path(frames_dir).parent / "optical_flow"


def find_missing(frames_dir, flow_dir, ids, suffixes, made_by=None):
    """(folders, problems): a `FlowFolder` for each id, in which the flow of a frame is missing if flow_dir/ID lacks its
    file of any of the suffixes; and a line for each folder frames_dir/ID that holds no frames, or whose flow belongs to
    other frames. made_by: how flow is made; what was made here in another way, or of other frames, is removed. None:
    flow may have been made in any way."""
    folders, problems = [], []
    for identity in ids:
        folder = Path(frames_dir, identity)
        frames = list_images(folder) if folder.is_dir() else []
        if not frames:
            problems.append(f"{folder} holds no frames")
        flow = Path(flow_dir, identity)
        ledger = Ledger(Path(flow_dir, f".{identity}.made"), flow)  # beside the folder, which holds images alone
        try:
            check_origin(ledger, frames, made_by)
        except InputError as problem:
            problems.append(str(problem))
            continue
        existing = {path.name for path in flow.iterdir()} if flow.is_dir() else set()
        missing = {index for index, frame in enumerate(frames)
                   if not all(frame.stem + suffix in existing for suffix in suffixes)}
        folders.append(FlowFolder(flow, frames, missing, ledger))
    return folders, problems


def check_origin(ledger, frames, made_by):
    """Sees to it that the flow images in a folder belong to these frames. Those that were made here of others, or in
    another way than `made_by`, are removed. Flow that was brought along, or changed, is used as it is, and is taken to
    belong to the frames with which it was first seen: raises InputError where these have changed."""
    folder, before = ledger.folder, ledger.made_from if isinstance(ledger.made_from, dict) else {}
    if not frames or not folder.is_dir():
        return
    found = {"frames": fingerprint_files(frames), "by": made_by or before.get("by")}
    if all(before.get(name, ()) == value for name, value in found.items()):
        return
    brought = fingerprint_files([path for path in list_images(folder) if path.name not in ledger.entries])
    if before and before.get("frames") != found["frames"]:
        changed = any(path.name in ledger.entries and not is_unchanged(path, ledger.entries[path.name])
                      for path in list_images(folder))
        if changed or (brought["files"] and before.get("brought") == brought):
            raise InputError(f"flow in {folder} was brought along for other frames; delete it to have it made, or "
                             f"delete {ledger.path} to use it as it is")
        if ledger.entries and not made_by:
            raise InputError(f"the flow in {folder} was made from other frames; delete it to have it made again")
    with suppress(PermissionError):  # flow may be read where nothing may be written
        if made_by:
            clear_partials(folder)
            remove_own(folder, ledger.entries)
        kept = {} if made_by else ledger.entries
        ledger.begin({**found, "brought": brought}, kept)
        ledger.close()


def require_flow(frames_dir, flow_dir, ids, command):
    """Raises InputError if a flow image is missing, naming the first one and the command that makes them all, or if
    folders hold no frames, naming each."""
    folders, problems = find_missing(frames_dir, flow_dir, ids, [".png"])
    if problems:
        raise InputError("\n".join(problems))
    for folder in folders:
        if folder.missing:
            first = folder.path / f"{folder.frames[min(folder.missing)].stem}.png"
            raise InputError(f"the flow image {first} is missing; make all that are with: {command}")


def make_flow(frames_dir, flow_dir, ids, settings, device):
    """Writes flow_dir/ID/ID_FRAME.png for every frame of frames_dir/ID that has none yet. A bad frame does not stop it:
    it returns a list of problems, one line each.

    settings: a `FlowSettings`; with `save_raw` the flow itself is written too, as array `flow`, float16 (H, W, 2), of
    ID_FRAME.npz. Raises InputError as `load_flows` does.
    """
    method = choose_method(settings.method, device)
    made_by = {"method": method, "weights": checksum(settings.weights), "rows": settings.rows}
    suffixes = [".png", ".npz"] if settings.save_raw else [".png"]
    folders, problems = find_missing(frames_dir, flow_dir, ids, suffixes, made_by)
    folders = [folder for folder in folders if folder.missing]
    if not folders:
        return problems
    flows = load_flows(settings, device)
    description = f"optical flow ({method})"
    with (tqdm(total=sum(len(folder.missing) for folder in folders), desc=description, unit="frame") as bar,
          ThreadPoolExecutor(os.cpu_count()) as pool):
        for folder in folders:
            folder.path.mkdir(parents=True, exist_ok=True)
            with claimed(flow_dir, made_by, "optical_flow_dir", folder.path.name):
                (folder,), _ = find_missing(frames_dir, flow_dir, [folder.path.name], suffixes, made_by)
                folder.ledger.begin(folder.ledger.made_from, folder.ledger.entries)
                reader = FrameReader(folder, settings.rows, pool)
                for _ in in_order(pool, partial(write_flow, folder.ledger),
                                  missing_flows(folder, reader, flows, settings.save_raw)):
                    bar.update()
                folder.ledger.close()
            problems += reader.problems
    return problems


class FrameReader:
    """Reads the frames that the missing flow of a folder needs, each of them once and ahead of its use. problems: what
    was wrong with frames, one line each."""

    def __init__(self, folder, rows, pool):
        self.frames, self.rows, self.pool, self.problems = folder.frames, rows, pool, []
        last = len(folder.frames) - 1
        self.starts = {max(0, min(index, last - 1)) for index in folder.missing}  # the last one repeats a flow

    def pairs(self):
        """Yields (index, frame, next frame) in order, if both can be read. A single frame is its own next one."""
        last = len(self.frames) - 1
        needed = sorted(self.starts | {min(start + 1, last) for start in self.starts})
        images = self.images([self.frames[index] for index in needed])
        if last == 0:
            yield from ((0, image, image) for image in images if image is not None)
        for (start, first), (_, second) in pairwise(zip(needed, images)):
            if start in self.starts and first is not None and second is not None:
                yield start, first, second

    def read(self, path):
        """The image of a frame, BGR uint8 of at most so many rows, or the InputError that says why there is none."""
        image = read_or_problem(path)
        if isinstance(image, InputError):
            return image
        image = limit_rows(image, self.rows)
        if len(image) < MIN_ROWS:
            return InputError(f"{path} has {len(image)} rows; flow needs at least {MIN_ROWS}")
        return image

    def images(self, paths):
        """Yields the image of each path, or None if there is a problem."""
        for image in checked_sizes(paths, in_order(self.pool, self.read, paths)):
            if isinstance(image, InputError):
                self.problems += [str(image)] if str(image) not in self.problems else []
                image = None
            yield image


def missing_flows(folder, reader, flows, save_raw):
    """Yields (path of the flow image, flow, save_raw) for every missing flow that can be computed, in order. flows: as
    `load_flows` returns it."""
    last, waiting = len(folder.frames) - 1, deque()

    def pairs():
        for start, first, second in reader.pairs():
            waiting.append(start)
            yield first, second

    for flow in flows(pairs()):
        start = waiting.popleft()
        if last == 0:
            flow = np.zeros_like(flow)
        for index in sorted(folder.missing & ({start, last} if start >= last - 1 else {start})):
            yield folder.path / f"{folder.frames[index].stem}.png", flow, save_raw


def colours_in(folder, source, frames, first):
    """Yields the colour images of the flow of a source's frames, the first of which has the position `first`, from a
    folder where they have the frames' names; an InputError in place of one that cannot be read. See
    `windows.model_inputs`."""
    paths = (folder / f"{source.stem(position)}.png" for position, _ in enumerate(frames, first))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from in_order(pool, read_or_problem, paths)


def write_flow(ledger, item):
    """Writes the files of one item of `missing_flows`, the image last: where it exists, the flow is complete."""
    path, flow, save_raw = item
    if save_raw:
        np.savez(archive := io.BytesIO(), flow=flow.astype(np.float16))
        ledger.write(path.with_suffix(".npz").name, archive.getvalue())
    ledger.write(path.name, encoded(path.suffix, flow_to_colour(flow)))


def provide_flow(frames_dir, ids, settings, device):
    """(flow_dir, problems): the folder with the flow images of frames_dir/ID for every id, and the problems of
    `make_flow`, one line each.

    settings: a `FlowSettings`. If `compute` is true, missing flow is made; otherwise the first flow image that is
    missing raises InputError.
    """
    frames_dir = Path(frames_dir)
    flow_dir = resolve_flow_dir(settings.folder, frames_dir)
    if settings.compute:
        return flow_dir, make_flow(frames_dir, flow_dir, ids, settings, device)
    folder = f" --optical_flow_dir={settings.folder}" if settings.folder else ""
    command = f"python optical_flow.py --videos_folder={frames_dir.parent}{folder}"
    require_flow(frames_dir, flow_dir, ids, command if frames_dir.name == "frames" else "--compute_flow=True")
    return flow_dir, []
