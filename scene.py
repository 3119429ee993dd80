"""Procedural scenes seen from inside: a landscape about the camera and things that move through it.

World axes: z up, metres, the camera at (0, 0, 0), EYE above the ground; conventions of sphere.py. A thing moves on a
straight line of the world, which the camera sees as a great circle. Colours are BGR, float32 in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np

from sphere import cap_pixels, directions, pixel_directions, rotation, tangent_plane

EYE = 1.7            # metres from the ground to the camera
SUPERSAMPLING = 2    # scenes are drawn this many times finer, then averaged
STILL = (0, 0, 0)    # velocity of what is at rest

PAINT = SimpleNamespace(red=(0.16, 0.18, 0.86), orange=(0.20, 0.50, 0.95), yellow=(0.15, 0.78, 0.98),
                        blue=(0.70, 0.35, 0.12), green=(0.35, 0.55, 0.15), magenta=(0.62, 0.20, 0.85),
                        white=(0.92, 0.95, 0.97), grey=(0.50, 0.50, 0.48), dark=(0.14, 0.14, 0.15),
                        brown=(0.08, 0.12, 0.20), blond=(0.10, 0.20, 0.35), denim=(0.42, 0.25, 0.15))

# --------------------------------------------------------------------------------------------------------------- noise


def smoothstep(low, high, x):
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, weight):
    """From colour (or number) a at weight 0 to b at weight 1; `weight` (...) meets colours (3,) or (..., 3)."""
    weight = np.asarray(weight, np.float32)[..., None]
    return (1 - weight) * np.asarray(a, np.float32) + weight * np.asarray(b, np.float32)


BLOCK = 1 << 15      # points of noise at a time, so that they stay in the processor's cache


def value_noise(points, seed):
    """Smooth noise in [-1, 1] at points (..., 3): random values on the integer lattice, quintic in between."""
    cell = np.floor(points)
    t = points - cell
    x, y, z = np.moveaxis(t * t * t * (t * (t * 6 - 15) + 10), -1, 0)
    cell = cell.astype(np.int32).astype(np.uint32)
    keys = [[(cell[..., axis] + np.uint32(step)) * np.uint32(prime) for step in (0, 1)]
            for axis, prime in enumerate((0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D))]
    keys[2] = [key ^ np.uint32(seed * 0x27D4EB2F & 0xFFFFFFFF) for key in keys[2]]

    def corner(i, j, k):
        key = keys[0][i] ^ keys[1][j] ^ keys[2][k]
        key = (key ^ key >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
        key = (key ^ key >> np.uint32(12)) * np.uint32(0x297A2D39)
        return (key ^ key >> np.uint32(15)).astype(np.float32) * np.float32(2.0**-31) - np.float32(1)

    def edge(j, k):
        start = corner(0, j, k)
        return start + x * (corner(1, j, k) - start)

    def side(k):
        start = edge(0, k)
        return start + y * (edge(1, k) - start)

    front = side(0)
    return front + z * (side(1) - front)


def fractal_noise(points, octaves, seed, footprint=0.0):
    """Sum of octaves of value noise, about in [-1, 1], at points (..., 3): (...) float32. Octaves finer than
    `footprint`, the width of a pixel in units of the points (number or (...)), fade out, so that nothing aliases."""
    tilt = rotation((1, 2, 3), 0.7).astype(np.float32)          # so that the lattices of the octaves do not line up
    points = np.asarray(points, np.float32)
    flat, total = points.reshape(-1, 3), np.empty(points[..., 0].size, np.float32)
    footprint = np.broadcast_to(np.float32(footprint), points.shape[:-1]).reshape(-1)
    norm = np.float32(1.6 / (2 - 0.5 ** (octaves - 1)))
    for start in range(0, len(total), BLOCK):
        block, pixel = flat[start:start + BLOCK], footprint[start:start + BLOCK]
        value = 0
        for octave in range(octaves):
            visible = 1 - smoothstep(0.2, 0.6, pixel * np.float32(2**octave))
            if visible.any():
                noise = value_noise(block * np.float32(2**octave), seed + octave)
                value = value + visible * noise * np.float32(0.5**octave)
            block = block @ tilt
        total[start:start + BLOCK] = value * norm
    return total.reshape(points.shape[:-1])


# ----------------------------------------------------------------------------------------------------------- landscape


def sky(view, sun, seed):
    """Colour of the sky in directions (..., 3): a gradient, the sun's glow, clouds on a plane overhead."""
    up = np.clip(view[..., 2], 0, 1)
    towards_sun = np.clip(view @ sun, 0, 1)
    colour = mix((0.80, 0.86, 0.90), (0.86, 0.66, 0.44), 1 - np.exp(-up * 5))
    colour = mix(colour, (0.60, 0.36, 0.17), smoothstep(0.15, 1.1, up))
    colour = mix(colour, (0.62, 0.82, 0.99), 0.75 * towards_sun**10 * (1 - 0.5 * up))

    plane = view / (up + 0.12)[..., None] * np.float32(1.6)
    plane[..., 2] = 0
    footprint = 1.6 * np.float32(np.pi / view.shape[0]) / (up + 0.12) ** 2
    density = fractal_noise(plane, 6, seed, footprint)
    sunward = fractal_noise(plane + 0.35 * np.array([sun[0], sun[1], 0], np.float32), 3, seed, footprint)
    cover = smoothstep(0.12, 0.60, density) * smoothstep(0.02, 0.22, up)
    shade = smoothstep(-0.35, 0.45, density - sunward)
    cloud = mix(mix((0.80, 0.74, 0.72), (0.99, 0.99, 1.0), shade), (0.80, 0.93, 1.0), 0.5 * towards_sun**4)
    colour = mix(colour, cloud, 0.92 * cover)
    return mix(colour, (0.90, 0.97, 1.0), 0.9 * towards_sun**220 + 0.35 * towards_sun**40)


RIDGES = ((1.6, 0.100, 0.30, 9000, 0.74),   # frequency around the horizon, lowest and highest elevation (radians),
          (2.6, 0.060, 0.20, 4000, 0.56),   # distance (metres), haziness
          (3.7, 0.025, 0.13, 1500, 0.36),
          (5.5, 0.012, 0.06, 500, 0.15))


def hills(view, colour, depth, sun, seed):
    """Draws four ridges, the far ones paler, over colour and depth (in place)."""
    elevation = np.arcsin(np.clip(view[..., 2], -1, 1))
    around = view[..., :2] / np.maximum(np.hypot(view[..., 0], view[..., 1]), 1e-6)[..., None]
    around = np.concatenate([around, 0 * around[..., :1]], -1)
    haze, pixel = np.array((0.84, 0.74, 0.64), np.float32), np.pi / view.shape[0]
    near_horizon = np.abs(view[..., 2]) < 0.45
    for layer, (frequency, low, high, distance, haziness) in enumerate(RIDGES):
        where = view[near_horizon]
        ridge = fractal_noise(around[near_horizon] * frequency, 6, seed + 10 * layer)
        edge = low + (high - low) * np.clip(0.5 + 0.5 * ridge, 0, 1)
        cover = np.clip(0.5 + (edge - elevation[near_horizon]) / pixel, 0, 1)
        forest = fractal_noise(where * np.float32(14 + 22 * layer), 4, seed + 50 + layer)
        slope = smoothstep(-0.6, 0.6, fractal_noise(where * np.float32(6 + 3 * layer), 3, seed + 70 + layer))
        ground = mix((0.20, 0.34, 0.27), (0.24, 0.47, 0.44), slope) * (1 + 0.22 * forest)[..., None]
        ground = mix(ground, haze, haziness)
        ground = mix(ground, (0.66, 0.82, 0.97), 0.30 * np.clip(where @ sun, 0, 1) ** 8)
        colour[near_horizon] = mix(colour[near_horizon], ground, cover)
        depth[near_horizon] = np.where(cover > 0.5, distance, depth[near_horizon])


def ground_points(view):
    """Where the lines of sight meet the ground: world (..., 2) in metres, and their distance; inf above the horizon."""
    distance = np.where(view[..., 2] < 0, EYE / np.maximum(-view[..., 2], 1e-6), np.inf).astype(np.float32)
    return view[..., :2] * np.minimum(distance, 1e4)[..., None], distance


def ground(view, colour, depth, sun, seed):
    """Draws a meadow with a footpath (along the line x = -4.2 m) and a lake (y > 9 m) over colour and depth."""
    below = view[..., 2] < 0
    view, pixel = view[below], np.float32(np.pi / view.shape[0])
    xy, distance = ground_points(view)
    points = np.concatenate([xy, 0 * xy[..., :1]], -1)
    footprint = pixel * distance**2 / EYE * 0.5                  # of a pixel on the ground, metres

    def wave(frequency, octaves, part):                          # cycles per metre
        return fractal_noise(points * np.float32(frequency), octaves, seed + part, footprint * frequency)

    patches, tufts, blades = wave(0.12, 4, 0), wave(1.7, 3, 10), wave(14.0, 3, 15)
    meadow = mix((0.14, 0.38, 0.30), (0.25, 0.57, 0.52), smoothstep(-0.5, 0.6, patches))
    meadow = meadow * (1 + 0.18 * tufts + 0.30 * blades)[..., None]
    flowers = smoothstep(0.60, 0.80, wave(34.0, 1, 20)) * smoothstep(0, 0.6, wave(0.3, 2, 30))
    meadow = mix(meadow, (0.75, 0.93, 0.97), 0.8 * flowers)
    wobble = 0.35 * wave(0.35, 3, 40)
    path = 1 - smoothstep(0.55, 0.95, np.abs(xy[..., 0] + 4.2 + wobble) + 0.12 * wave(2.0, 3, 45))
    sand = np.array((0.50, 0.65, 0.74), np.float32) * (1 + 0.16 * wave(1.5, 5, 50))[..., None]
    land = mix(meadow, sand, 0.9 * path)

    shore = xy[..., 1] - 9 - 2.5 * wave(0.10, 4, 60)
    beach = smoothstep(-1.8, -0.3, shore)
    land = mix(land, (0.56, 0.70, 0.77), 0.75 * beach)
    ripples = fractal_noise(points * np.array((0.5, 1.5, 1), np.float32), 5, seed + 80, footprint * 1.5)
    mirrored = view * np.array((1, 1, -1), np.float32)
    steep = np.clip(-view[..., 2] * 4, 0, 1)
    water = mix(mix((0.80, 0.82, 0.80), (0.50, 0.42, 0.26), 0.35 + 0.65 * np.sqrt(steep)), (0.66, 0.50, 0.33),
                np.clip(0.5 + 0.5 * ripples, 0, 1) * 0.45)
    glitter = np.clip(mirrored @ sun, 0, 1) ** 24 * smoothstep(-0.25, 0.6, ripples)
    water = mix(water, (0.82, 0.95, 1.0), 0.8 * glitter)
    land = mix(land, water, smoothstep(-0.1, 0.15, shore))
    colour[below] = mix(land, (0.72, 0.80, 0.78), 0.45 * (1 - np.exp(-distance / 150)))
    depth[below] = np.minimum(depth[below], distance)


# -------------------------------------------------------------------------------------------------------------- shapes
# A shape is drawn in a plane that faces the camera: u to the right, v up, the thing 1 high and standing on v = 0. It is
# a list of parts (signed distance, negative inside; colour), painted in this order.


def disc(u, v, centre, radius):
    return np.hypot(u - centre[0], v - centre[1]) - radius


def limb(u, v, start, end, radius):
    """A line from start to end with round ends."""
    (x, y), (dx, dy) = start, np.subtract(end, start)
    along = np.clip(((u - x) * dx + (v - y) * dy) / (dx * dx + dy * dy + 1e-12), 0, 1)
    return np.hypot(u - x - along * dx, v - y - along * dy) - radius


def convex(u, v, corners):
    """A convex polygon, its corners given counter-clockwise."""
    edges = zip(corners, corners[1:] + corners[:1])
    return np.max([((u - x) * (y2 - y) - (v - y) * (x2 - x)) / np.hypot(x2 - x, y2 - y)
                   for (x, y), (x2, y2) in edges], axis=0)


def balloon(u, v, time, colours):
    """Hot-air balloon with striped envelope; shaded as a ball lit from the upper left."""
    height = np.clip((v - 0.62) / 0.38, -1.6, 1)
    radius = 0.38 * np.sqrt(np.clip(1 - height**2, 0, 1))
    neck = 0.07 + 0.31 * smoothstep(0.16, 0.66, v)
    envelope = np.maximum(np.abs(u) - np.where(v > 0.62, radius, np.minimum(neck, 0.38)), np.maximum(0.2 - v, v - 1))
    gore = np.arcsin(np.clip(u / np.maximum(np.where(v > 0.62, radius, neck), 1e-3), -1, 1)) / np.pi * 8
    striped = mix(colours[0], colours[1], np.clip(0.5 + 4 * np.sin(gore * np.pi), 0, 1))
    striped = mix(striped, colours[2], ((v > 0.50) & (v < 0.60)).astype(np.float32))
    light = np.clip(1.05 - 0.55 * np.hypot(u + 0.12, v - 0.74) / 0.5 + 0.1 * (v - 0.5), 0.35, 1.1)
    dark = (0.13, 0.18, 0.24)
    return [(limb(u, v, (-0.05, 0.09), (-0.06, 0.22), 0.006), dark),
            (limb(u, v, (0.05, 0.09), (0.06, 0.22), 0.006), dark),
            (convex(u, v, [(-0.06, 0), (0.06, 0), (0.065, 0.1), (-0.065, 0.1)]), (0.18, 0.32, 0.47)),
            (envelope, np.clip(striped * light[..., None], 0, 1))]


def ball(u, v, time, colours):
    """A striped ball that turns as it goes."""
    angle = np.arctan2(v - 0.5, u) + 2 * time
    light = np.clip(1.1 - 0.7 * np.hypot(u + 0.15, v - 0.65), 0.3, 1.1)
    striped = mix(colours[0], colours[1], np.clip(0.5 + 4 * np.sin(3 * angle), 0, 1))
    return [(disc(u, v, (0, 0.5), 0.5), np.clip(striped * light[..., None], 0, 1))]


def bird(u, v, time, colours):
    """Two wings that beat three times a second."""
    lift = 0.45 * np.sin(6 * np.pi * time) + 0.12
    parts = [(limb(u, v, (-0.12, 0.5), (0.2, 0.5), 0.055), colours[0])]
    for side in (-1, 1):
        elbow, tip = (side * 0.35, 0.5 + 0.6 * lift), (side * 0.85, 0.5 + 0.6 * lift - 0.28 * abs(lift) + 0.2 * lift)
        parts += [(limb(u, v, (0, 0.5), elbow, 0.05), colours[0]), (limb(u, v, elbow, tip, 0.035), colours[0])]
    return parts


def walker(u, v, time, colours, cadence=0.95, stride=0.5):
    """Somebody walking to the right; colours of jacket, trousers and hair. `cadence`: double steps a second; `stride`:
    how far the thighs swing, radians."""
    jacket, trousers, hair = colours
    skin, shoe = (0.50, 0.64, 0.86), (0.12, 0.13, 0.16)
    hip, shoulder, neck = (0, 0.50), (0.015, 0.77), (0.015, 0.80)

    def side(phase, shade):
        """Arm and leg of one side; those of the far side are darker and half a double step later."""
        swing = 2 * np.pi * cadence * time + phase
        thigh, shin = stride * np.sin(swing), stride * (np.sin(swing) - 1.1 * max(0, np.cos(swing))) - 0.08
        knee = (hip[0] + 0.24 * np.sin(thigh), hip[1] - 0.24 * np.cos(thigh))
        foot = (knee[0] + 0.23 * np.sin(shin), knee[1] - 0.23 * np.cos(shin))
        arm = -0.8 * stride * np.sin(swing)
        elbow = (shoulder[0] + 0.17 * np.sin(arm), shoulder[1] - 0.17 * np.cos(arm))
        hand = (elbow[0] + 0.15 * np.sin(arm + 0.5), elbow[1] - 0.15 * np.cos(arm + 0.5))
        sleeve, leg = np.multiply(jacket, shade), np.multiply(trousers, shade)
        return ([(disc(u, v, hand, 0.024), skin), (limb(u, v, shoulder, elbow, 0.034), sleeve),
                 (limb(u, v, elbow, hand, 0.027), sleeve)],
                [(limb(u, v, foot, (foot[0] + 0.055, foot[1] - 0.008), 0.022), shoe),
                 (limb(u, v, hip, knee, 0.052), leg), (limb(u, v, knee, foot, 0.036), leg)])

    (near_arm, near_leg), (far_arm, far_leg) = side(0, 1.0), side(np.pi, 0.75)
    light = np.clip(1 - 2.2 * u, 0.65, 1.15)[..., None]
    body = [(limb(u, v, (0, 0.53), (0.012, 0.745), 0.078), np.clip(jacket * light, 0, 1)),
            (limb(u, v, neck, (0.03, 0.86), 0.026), skin), (disc(u, v, (0.032, 0.915), 0.062), skin),
            (np.maximum(disc(u, v, (0.022, 0.928), 0.066), u - 0.03 - 1.2 * (v - 0.91)), hair)]
    return far_arm + far_leg + near_leg + body + near_arm


def runner(u, v, time, colours):
    """Somebody running to the right."""
    return walker(u, v, time, colours, cadence=1.45, stride=0.8)


def sailboat(u, v, time, colours):
    """A hull, a mast and two sails, heeling gently."""
    u = u + 0.03 * np.sin(1.5 * time) * v
    shade = np.clip(0.95 + 0.35 * u, 0.8, 1.05)[..., None]
    return [(limb(u, v, (0.0, 0.05), (0.0, 1.0), 0.008), (0.2, 0.25, 0.3)),
            (convex(u, v, [(-0.40, 0.14), (-0.025, 0.14), (-0.02, 0.98)]), np.multiply(colours[0], shade)),
            (convex(u, v, [(0.025, 0.12), (0.36, 0.12), (0.02, 0.88)]), np.multiply(colours[1], shade)),
            (convex(u, v, [(-0.36, 0.0), (0.32, 0.0), (0.46, 0.12), (-0.42, 0.12)]), colours[2])]


def tree(u, v, time, colours):
    """A broad crown of noise on a trunk; lit from the left."""
    points = np.stack([u, v, np.full_like(u, colours[0][0] * 50)], -1)
    clumps = fractal_noise(points * 7, 4, 5)
    crown = np.min([disc(u, v, centre, radius) for centre, radius in
                    (((0, 0.68), 0.28), ((-0.22, 0.56), 0.22), ((0.22, 0.55), 0.23), ((0.05, 0.45), 0.2))], axis=0)
    light = np.clip(0.85 + 0.55 * (v - 0.55) - 0.6 * u + 0.42 * clumps, 0.35, 1.5)[..., None]
    return [(convex(u, v, [(-0.045, 0), (0.045, 0), (0.025, 0.5), (-0.025, 0.5)]), (0.16, 0.22, 0.29)),
            (crown - 0.07 * clumps, np.clip(colours[0] * light, 0, 1))]


def house(u, v, time, colours):
    """Front of a house with a gable roof, a door and windows."""
    parts = [(convex(u, v, [(-0.75, 0), (0.75, 0), (0.75, 0.55), (-0.75, 0.55)]), colours[0]),
             (convex(u, v, [(0.3, 0.8), (0.42, 0.8), (0.42, 1.0), (0.3, 1.0)]), (0.30, 0.35, 0.45)),
             (convex(u, v, [(-0.85, 0.52), (0.85, 0.52), (0.6, 0.95), (-0.6, 0.95)]), colours[1])]
    for x, low, high in ((-0.5, 0.2, 0.42), (0.5, 0.2, 0.42), (-0.12, 0.0, 0.38)):
        opening = [(x - 0.1, low), (x + 0.1, low), (x + 0.1, high), (x - 0.1, high)]
        parts.append((convex(u, v, opening), (0.35, 0.30, 0.26)))
    return parts


# -------------------------------------------------------------------------------------------------------------- things


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
        """World position of the foot at `time` seconds: (3,), metres."""
        return np.add(self.position, np.multiply(self.velocity, time))

    def middle(self, time):
        """World position of its middle at `time` seconds: (3,), metres."""
        return np.add(self.foot(time), (0, 0, self.size / 2))


def shape_plane(middle, size, leftward, height, width):
    """Where a shape may show in an image of that size, upright, its middle in the direction of the unit vector `middle`
    and `size` high, in units of its distance: the pixels (an index), their u and v, whether they are in front of the
    shape's plane, all (h, w), and the width of a pixel in units of u."""
    rows, columns = cap_pixels(middle, np.arctan(1.1 * size), height, width)
    right, up, in_front = tangent_plane(middle, rows, columns, height, width)
    u, v = right / size * (-1 if leftward else 1), up / size + 0.5
    return np.ix_(rows, columns), u, v, in_front, np.pi / height / size


def paint(picture, parts, softness, visible):
    """The picture (h, w, 3) with the parts of a shape painted over it where `visible` (h, w), and how much of it they
    cover (h, w), 0 to 1. `softness`: how wide their edges are, in units of u."""
    covered = np.zeros(visible.shape, np.float32)
    for signed_distance, colour in parts:
        cover = np.clip(0.5 - signed_distance / softness, 0, 1) * visible
        picture = mix(picture, colour, cover)
        covered = np.maximum(covered, cover)
    return picture, covered


def draw(colour, depth, thing, time):
    """Draws a thing (in place) where nothing nearer stands."""
    middle = thing.middle(time)
    distance = np.linalg.norm(middle)
    leftward = np.cross(middle, thing.velocity)[2] < 0
    box, u, v, in_front, pixel = shape_plane(middle / distance, thing.size / distance, leftward, *depth.shape)
    visible = in_front & (depth[box] > distance - 0.5)        # feet sink into the ground a little
    parts = thing.shape(u, v, time + thing.phase, thing.colours)
    colour[box], covered = paint(colour[box], parts, pixel, visible)
    depth[box] = np.where(covered > 0.5, np.minimum(depth[box], distance), depth[box])


def draw_shadow(colour, depth, thing, time, sun):
    """Darkens the ground (in place) where a thing that stands on it keeps off the sun: a soft, long ellipse."""
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
    on_the_ground = depth[box] > 0.99 * reach                  # and not on what stands before it
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
    """A landscape (drawn once) with things in it; `render(time)` is a frame."""

    def __init__(self, height, width, sun, things, seed):
        """Draws all that keeps still. `sun`: direction (3,); `things`: those at rest are drawn once."""
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
