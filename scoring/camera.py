"""Whether the camera of a video moves, by the optical flow of its background, to split scores by it."""

import numpy as np

from flow.dis import dis_flow

SIZE = (96, 192)        # (height, width) that frames are reduced to, pixels
PAIRS = 12              # of frames that are looked at in each video
STILL = 2.0             # degrees a second: a background that is slower belongs to a camera that stands still
POLES = 60              # degrees of latitude: flow in equirectangular rows farther out is mostly noise


def background_speed(flow):
    """The median over the sphere, without the poles, of how far a flow (H, W, 2), pixels, moves: degrees. What moves by
    itself covers less than half of a frame."""
    height, width = flow.shape[:2]
    latitude = 90 - (np.arange(height) + 0.5) * 180 / height
    east = flow[..., 0] * 360 / width * np.cos(np.radians(latitude))[:, None]
    south = flow[..., 1] * 180 / height
    return float(np.median(np.hypot(east, south)[np.abs(latitude) < POLES]))


def camera_speed(pairs, rate):
    """The median background speed of pairs of consecutive frames, BGR uint8, degrees a second; rate: frames a
    second. NaN without pairs."""
    speeds = [background_speed(dis_flow(pair)) * rate for pair in pairs]
    return float(np.median(speeds)) if speeds else np.nan


def split_by_motion(speeds):
    """{"still camera": [names], "moving camera": [names]} of {name: degrees a second}, without empty lists."""
    groups = {"still camera": [name for name, speed in speeds.items() if speed < STILL],
              "moving camera": [name for name, speed in speeds.items() if speed >= STILL]}
    return {group: names for group, names in groups.items() if names}
