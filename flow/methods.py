"""Optical flow by the method of the settings, DIS or RAFT, and its colour images for a stream of frames."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from flow.colours import flow_to_colour
from flow.dis import METHODS, DisFlows
from flow.raft import load_raft, torchvision_weights
from video.pipeline import in_order
from video.resize import limit_rows


class FlowSettings(NamedTuple):
    """How optical flow is computed and where it is kept: settings of config.py, where each is explained."""

    method: str     # flow_method
    weights: str    # flow_weights
    rows: int       # flow_resolution
    save_raw: bool  # flow_save_raw
    compute: bool   # compute_flow
    folder: str     # optical_flow_dir


def flow_settings(config):
    """The `FlowSettings` in a config, a module or a namespace."""
    return FlowSettings(config.flow_method, config.flow_weights, config.flow_resolution, config.flow_save_raw,
                        config.compute_flow, config.optical_flow_dir)


def choose_method(method, device):
    """The name of the method that the setting flow_method means. "" is raft_large on a GPU if torchvision has already
    downloaded its weights, and dis_gated otherwise."""
    if method:
        return method
    return "raft_large" if device.type == "cuda" and torchvision_weights("raft_large")[0].is_file() else "dis_gated"


def load_flows(settings, device):
    """The flow of a method: an object that is called with an iterable of pairs of BGR frames (H, W, 3), uint8, all of
    one size, and yields the flow of each pair, (H, W, 2), float32: to the right and down, pixels. Its `of_pair(pair)`
    returns the flow of one pair, without reading others ahead.

    settings: a `FlowSettings`, of which method and weights are used. Raises InputError if RAFT's weights cannot be had;
    no other method replaces it then.
    """
    method = choose_method(settings.method, device)
    return DisFlows(METHODS[method]) if method in METHODS else load_raft(method, settings.weights, device)


def flow_images(frames, flows, rows):
    """Yields the colour image of the flow of each frame, BGR uint8: the same images that `folders.make_flow` writes.

    frames: an iterable of BGR frames (H, W, 3), uint8, of one size, of which a few are read ahead. flows: what
    `load_flows` returns. rows: to which frames are limited before, see `limit_rows`. The flow of a frame is its motion
    until the next one; the last frame repeats the flow before it, and the flow of a single frame is zero.
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
