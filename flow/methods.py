"""TODO"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from flow.colours import flow_to_colour
from flow.dis import dis_flows
from flow.raft import load_raft, torchvision_weights
from video.pipeline import in_order
from video.resize import limit_rows


def flow_images(frames, flows, rows):
    """Yields the colour image of each frame's flow, BGR uint8, for an iterable of BGR frames of one size, as they come
    (from a decoder, say), reading ahead by a few: the same images that `make_flow` writes.

    flows: what `load_flows` returns. rows: see `limit_rows`. A frame's flow is to the next one; the last frame repeats
    the flow of the one before it, and a single frame moves nowhere.
    """
    frames = (limit_rows(frame, rows) for frame in frames)
    first = next(frames, None)
    if first is None:
        return
    colour = None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for colour in in_order(pool, flow_to_colour, flows(pairwise(chain([first], frames)))):
            yield colour
    yield np.full_like(first, 255) if colour is None else colour


class FlowSettings(NamedTuple):
    """How optical flow is computed and where it is kept; the settings of config.py, which explains each."""

    method: str     # flow_method
    weights: str    # flow_weights
    rows: int       # flow_resolution
    save_raw: bool  # flow_save_raw
    compute: bool   # compute_flow
    folder: str     # optical_flow_dir


def flow_settings(config):
    """The `FlowSettings` of a config module or namespace."""
    return FlowSettings(config.flow_method, config.flow_weights, config.flow_resolution, config.flow_save_raw,
                        config.compute_flow, config.optical_flow_dir)


def choose_method(method, device):
    """The method meant by a setting: "" is raft_large on a GPU if its weights have been downloaded, dis otherwise."""
    if method:
        return method
    return "raft_large" if device.type == "cuda" and torchvision_weights("raft_large")[0].is_file() else "dis"


def load_flows(settings, device):
    """What yields the flow (H, W, 2) of each of an iterable of pairs of BGR frames (H, W, 3), uint8, of one size.

    settings: a `FlowSettings`, of which method and weights count. Raises InputError if RAFT's weights cannot be had: no
    method ever stands in for another."""
    method = choose_method(settings.method, device)
    return dis_flows if method == "dis" else load_raft(method, settings.weights, device)
