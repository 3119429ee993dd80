"""Pictures of a sphere: directions of pixels, cameras, boxes of pixels about a direction, the plane tangent there.

Row 0 is north; pixel (r, c) has its centre at lat = pi/2 - (r + 1/2) pi/H, lon = (c + 1/2) 2pi/W - pi. A direction is
(cos lat cos lon, cos lat sin lon, sin lat): z up, longitude grows to the right as seen from inside. Angles in radians.
"""

import cv2
import numpy as np

from sphere import direction_to_pixel, directions, with_margin


def rotation(axis, angle):
    """Rotation by `angle` radians about `axis` (3,), counter-clockwise seen from its tip: (3, 3) (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def camera_path(rng, times, start, axis, speed, shake):
    """Rotations (T, 3, 3) of a camera at `times` seconds: turned by `start`, drifting about `axis` at `speed` radians
    per second, shaking smoothly about all axes by `shake` radians at most."""
    phase, rate = 2 * np.pi * rng.uniform(0, 1, (3, 4)), 2 * np.pi * rng.uniform(0.3, 2.5, (3, 4))
    angles = shake * np.sin(times[:, None, None] * rate + phase).mean(-1)                          # (T, 3)
    shakes = [rotation((1, 0, 0), x) @ rotation((0, 1, 0), y) @ rotation((0, 0, 1), z) for x, y, z in angles]
    return np.array([wobble @ rotation(axis, speed * time) @ start for wobble, time in zip(shakes, times)])


def near_equator(rng, lon, spread):
    """Unit vectors (N, 3) at longitudes (N,), at latitudes with a standard deviation of `spread` radians."""
    lat = spread * rng.standard_normal(len(lon))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def dolly(vectors, towards, beta):
    """Directions (..., 3) after the camera has moved inside a distant sphere along `towards` (3,): what stands ahead
    spreads and drifts backwards. The conformal map with the formula of aberration, -1 < beta < 1; -beta undoes it."""
    ahead = vectors @ np.asarray(towards, vectors.dtype)
    along = (ahead - beta - np.sqrt(1 - beta**2) * ahead)[..., None] * np.asarray(towards, vectors.dtype)
    return (np.sqrt(1 - beta**2) * vectors + along) / (1 - beta * ahead)[..., None]


def look_up(image, vectors):
    """The image (H, W) or (H, W, C), bilinear, in directions (h, w, 3)."""
    height, width = image.shape[:2]
    rows, columns = direction_to_pixel(vectors, height, width)
    padded = with_margin(image, 1)  # bilinear reading goes on across the seam and the poles
    return cv2.remap(padded, (columns + 1).astype(np.float32), (rows + 1).astype(np.float32), cv2.INTER_LINEAR)


def turn(image, matrix):
    """The image after its sphere has been turned by `matrix`: what stood at d stands at matrix @ d. A turn by k columns
    about z is np.roll(image, k, axis=1)."""
    return look_up(image, directions(*image.shape[:2]) @ matrix.astype(np.float32))


def cap_pixels(centre, radius, height, width):
    """Rows (h,) and columns (w,) of the box of pixels that holds the cap of `radius` radians about the unit vector
    `centre`. Columns wrap at the seam; where the cap holds a pole they are all columns."""
    lat, lon = np.arcsin(np.clip(centre[2], -1, 1)), np.arctan2(centre[1], centre[0])
    top, bottom = ((np.pi / 2 - lat + side * radius) * height / np.pi - 0.5 for side in (-1, 1))
    rows = np.arange(max(0, int(np.floor(top))), min(height, int(np.ceil(bottom)) + 1))
    if abs(lat) + radius >= np.pi / 2:
        return rows, np.arange(width)
    half = np.arcsin(np.sin(radius) / np.cos(lat)) * width / (2 * np.pi) + 1
    middle = (lon + np.pi) * width / (2 * np.pi) - 0.5
    first, count = int(np.floor(middle - half)), min(width, int(np.ceil(2 * half)) + 2)
    return rows, np.arange(first, first + count) % width


def tangent_plane(centre, rows, columns, height, width):
    """Where pixels stand on the plane tangent at the unit vector `centre` (gnomonic projection): right and up, in units
    of the sphere's radius, and whether they are less than 80 degrees away (beyond, the first two mean nothing). All
    (h, w), for rows (h,) and columns (w,) of an image of that size."""
    lat = np.pi / 2 - (rows + 0.5)[:, None] * np.pi / height
    lon = (columns + 0.5) * 2 * np.pi / width - np.pi - np.arctan2(centre[1], centre[0])
    sin, cos = centre[2], np.hypot(centre[0], centre[1])
    facing = sin * np.sin(lat) + cos * np.cos(lat) * np.cos(lon)
    in_front = facing > np.cos(np.radians(80))
    facing = np.where(in_front, facing, 1)
    right = np.cos(lat) * np.sin(lon) / facing
    up = (cos * np.sin(lat) - sin * np.cos(lat) * np.cos(lon)) / facing
    return right.astype(np.float32), up.astype(np.float32), in_front
