"""Procedural scenes seen from inside: a landscape about the camera and things that move through it.

World axes: z up, metres, the camera at (0, 0, 0), EYE above the ground; conventions of sphere.py. A thing moves on a
straight line of the world, which the camera sees as a great circle. Colours are BGR, float32 in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sphere import directions, pixel_directions
from synthetic.camera import cap_pixels, tangent_plane
from synthetic.landscape import EYE, ground, ground_points, hills, sky
from synthetic.noise import mix
from synthetic.shapes import sailboat, tree

SUPERSAMPLING = 2    # scenes are drawn this many times finer, then averaged
STILL = (0, 0, 0)    # the velocity of a thing at rest


@dataclass
class Thing:
    """Something in the scene, `size` metres high, whose foot is at position + velocity * time."""

    shape: Callable           # (u, v, time, colours) -> parts
    position: tuple           # x, y, z of the foot at time 0, metres; z = -EYE stands on the ground
    velocity: tuple           # metres per second
    size: float
    colours: tuple
    phase: float = 0.0        # seconds by which its own movement is ahead
    attracts: bool = False    # whether the observers of a synthetic data set look at it

    def foot(self, time):
        """The position of its foot at `time` seconds: (3,), metres."""
        return np.add(self.position, np.multiply(self.velocity, time))

    def middle(self, time):
        """The position of its middle at `time` seconds: (3,), metres."""
        return np.add(self.foot(time), (0, 0, self.size / 2))


def shape_plane(middle, size, leftward, height, width):
    """The part of an image of that size where an upright shape may be seen: (index of the pixels, their u, their v,
    whether they are in front of the shape's plane, width of a pixel in units of u). The first four are (h, w).

    middle: unit vector to the shape's middle; size: its height, in units of its distance; leftward: mirrors it.
    """
    rows, columns = cap_pixels(middle, np.arctan(1.1 * size), height, width)
    right, up, in_front = tangent_plane(middle, rows, columns, height, width)
    u, v = right / size * (-1 if leftward else 1), up / size + 0.5
    return np.ix_(rows, columns), u, v, in_front, np.pi / height / size


def paint(picture, parts, softness, visible):
    """(the picture (h, w, 3) with a shape's parts painted over it where `visible` (h, w), the share of each pixel that
    they cover (h, w)). softness: the width of their edges, in units of u."""
    covered = np.zeros(visible.shape, np.float32)
    for signed_distance, colour in parts:
        cover = np.clip(0.5 - signed_distance / softness, 0, 1) * visible
        picture = mix(picture, colour, cover)
        covered = np.maximum(covered, cover)
    return picture, covered


def draw(colour, depth, thing, time):
    """Draws a thing over colour (H, W, 3) and depth (H, W), in place, where nothing nearer stands."""
    middle = thing.middle(time)
    distance = np.linalg.norm(middle)
    leftward = np.cross(middle, thing.velocity)[2] < 0
    box, u, v, in_front, pixel = shape_plane(middle / distance, thing.size / distance, leftward, *depth.shape)
    visible = in_front & (depth[box] > distance - 0.5)        # feet sink into the ground a little
    parts = thing.shape(u, v, time + thing.phase, thing.colours)
    colour[box], covered = paint(colour[box], parts, pixel, visible)
    depth[box] = np.where(covered > 0.5, np.minimum(depth[box], distance), depth[box])


def draw_shadow(colour, depth, thing, time, sun):
    """Darkens the ground, in place, where a thing that stands on it blocks the sun: a soft, long ellipse."""
    height, width = depth.shape
    length = 0.45 * thing.size
    away = -sun[:2] / np.linalg.norm(sun[:2])
    centre = np.add(thing.foot(time), (*(0.8 * length * away), 0))
    distance = np.linalg.norm(centre)
    rows, columns = cap_pixels(centre / distance, min(np.arctan(2.5 * thing.size / distance), 1.2), height, width)
    box = np.ix_(rows, columns)
    points, reach = ground_points(pixel_directions(rows, columns, height, width))
    along, across = (points - centre[:2]) @ away, (points - centre[:2]) @ (away[1], -away[0])
    shade = 0.5 * np.exp(-((along / length) ** 2 + (across / (0.28 * thing.size)) ** 2) * 1.5)
    on_the_ground = depth[box] > 0.99 * reach                  # not what stands in front of it
    colour[box] = mix(colour[box], (0.10, 0.09, 0.05), shade * on_the_ground)


def forest(rng, count):
    """Trees on the land side of the lake, off the footpath."""
    things = []
    while len(things) < count:
        lon, distance, size = rng.uniform(-np.pi, 0), rng.uniform(10, 55), rng.uniform(5, 8)
        x, y = distance * np.cos(lon), distance * np.sin(lon)
        tint = rng.uniform(0.8, 1.15, 3)
        if abs(x + 4.2) > 4 and y < -4:
            things.append(Thing(tree, (x, y, -EYE), STILL, size, ((0.17, 0.40, 0.30) * tint,)))
    return things


class Scene:
    """A landscape with things in it. What is at rest is drawn once; `render(time)` adds what moves."""

    def __init__(self, height, width, sun, things, seed):
        """sun: its direction (3,), of any length; things: a list of `Thing`."""
        self.sun = np.asarray(sun, np.float32) / np.float32(np.linalg.norm(sun))
        view = directions(height * SUPERSAMPLING, width * SUPERSAMPLING)
        self.colour, self.depth = sky(view, self.sun, seed), np.full(view.shape[:2], np.inf, np.float32)
        hills(view, self.colour, self.depth, self.sun, seed + 100)
        ground(view, self.colour, self.depth, self.sun, seed + 300)
        self.size, self.things = (height, width), things
        self.moving = []
        for thing in sorted(things, key=lambda thing: -np.linalg.norm(thing.foot(0))):
            if any(thing.velocity):
                self.moving.append(thing)
            else:
                self._add(self.colour, self.depth, thing, 0)

    def _add(self, colour, depth, thing, time):
        if abs(thing.foot(time)[2] + EYE) < 0.01 and thing.shape is not sailboat:
            draw_shadow(colour, depth, thing, time, self.sun)
        draw(colour, depth, thing, time)

    def render(self, time):
        """The frame at `time` seconds: (H, W, 3) uint8 BGR."""
        colour, depth = self.colour.copy(), self.depth.copy()
        for thing in self.moving:
            self._add(colour, depth, thing, time)
        height, width = self.size
        small = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA)
        return np.uint8(np.clip(small, 0, 1) * 255 + 0.5)
