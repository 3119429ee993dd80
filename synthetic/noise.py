"""Noise in space, and the blending of colours, from which landscapes and shapes are painted."""

import numpy as np

from synthetic.camera import rotation

BLOCK = 1 << 15      # points of noise computed at a time, so that they stay in the processor's cache


def smoothstep(low, high, x):
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, weight):
    """The colour (or number) between a, at weight 0, and b, at weight 1. weight: (...); colours: (3,) or (..., 3)."""
    weight = np.asarray(weight, np.float32)[..., None]
    return (1 - weight) * np.asarray(a, np.float32) + weight * np.asarray(b, np.float32)


def value_noise(points, seed):
    """Smooth noise in [-1, 1] at points (..., 3): random values on the integer lattice, interpolated by quintics."""
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
    """The sum of several octaves of value noise at points (..., 3), about in [-1, 1]: (...) float32. Octaves finer than
    `footprint`, the width of a pixel in units of the points (number or (...)), fade out, so that nothing aliases."""
    tilt = rotation((1, 2, 3), 0.7).astype(np.float32)          # so that the octaves' lattices are not aligned
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
