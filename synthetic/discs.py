"""Clips whose true motion is known at every pixel: a panorama that may turn, and textured discs that move over it along
great circles. What the errors of optical flow cost is measured on them (benchmarks/flow_quality.py)."""

from typing import NamedTuple

import numpy as np

from sphere import direction_to_pixel, directions
from synthetic.camera import cap_pixels, look_up, near_equator, rotation


class Disc(NamedTuple):
    """A round patch of a panorama that moves along a great circle."""

    still: np.ndarray       # the panorama, float32 BGR (H, W, 3)
    centre: np.ndarray      # unit vector of its middle at time 0
    radius: float           # radians
    axis: np.ndarray        # of the rotation that moves it
    speed: float            # radians a second
    contrast: float         # 1: its texture hides the panorama; less: as far as it shows

    def turned(self, time):
        """The rotation (3, 3) that it has gone through after `time` seconds."""
        return rotation(self.axis, self.speed * time)


def random_disc(rng, stills, contrast=1.0):
    """A disc of 3 to 12 degrees near the equator that moves 4 to 40 degrees a second."""
    centre = near_equator(rng, rng.uniform(-np.pi, np.pi, 1), np.radians(18))[0]
    course = np.cross(centre, rng.standard_normal(3))       # at right angles to the centre: the axis of a great circle
    return Disc(stills[rng.integers(len(stills))], centre, np.radians(rng.uniform(3, 12)), course,
                np.radians(np.exp(rng.uniform(np.log(4), np.log(40)))), contrast)


def owners(view, discs, time):
    """Which disc is seen in directions (h, w, 3) of the panorama at `time` seconds: its index, or -1 for none."""
    owner = np.full(view.shape[:2], -1)
    for index, disc in enumerate(discs):
        owner[view @ np.float32(disc.turned(time) @ disc.centre) > np.cos(disc.radius)] = index
    return owner


def frame(still, discs, camera, time, height):
    """The frame at `time` seconds: float32 BGR (height, 2 height, 3), in the panorama's levels. camera: the rotation
    (3, 3) from the panorama to the frame."""
    view = directions(height, 2 * height) @ np.float32(camera)
    picture = look_up(still, view)
    for disc in discs:
        middle = disc.turned(time) @ disc.centre
        box = np.ix_(*cap_pixels(camera @ middle, disc.radius + np.pi / height, height, 2 * height))
        distance = np.arccos(np.clip(view[box] @ np.float32(middle), -1, 1))
        cover = np.clip(0.5 + (disc.radius - distance) * height / np.pi, 0, 1)[..., None] * np.float32(disc.contrast)
        texture = look_up(disc.still, view[box] @ np.float32(disc.turned(time)))
        picture[box] += cover * (texture - picture[box])
    return picture


def true_flow(discs, cameras, times, height):
    """The motion of every pixel from the first to the second of two times, (height, 2 height, 2), float32: to the right
    and down, pixels. cameras: the camera's rotations at both times."""
    width = 2 * height
    pixels = directions(height, width)
    view = pixels @ np.float32(cameras[0])
    owner, moved = owners(view, discs, times[0]), view.copy()
    for index, disc in enumerate(discs):
        step = disc.turned(times[1] - times[0])
        moved[owner == index] = view[owner == index] @ np.float32(step.T)
    rows, columns = direction_to_pixel(moved @ np.float32(cameras[1].T), height, width)
    before_rows, before_columns = direction_to_pixel(pixels, height, width)
    across = (columns - before_columns + width / 2) % width - width / 2
    return np.stack([across, rows - before_rows], axis=-1).astype(np.float32)
