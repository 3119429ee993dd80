"""The virtual camera's picture, against the directions of sphere.py."""

import math

import numpy as np
import pytest

from reframing.view import View, half_extents
from sphere import direction_to_pixel, directions

SIZE = 360, 640


def rays(lat, lon, field_of_view):
    """The directions (h, w, 3) in which a camera's pixels look, of the field of view alone; angles in degrees."""
    lat, lon, half = np.radians([lat, lon, field_of_view / 2])
    ahead = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    right = np.array([-np.sin(lon), np.cos(lon), 0])
    up = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    x = ((np.arange(SIZE[1]) + 0.5) / SIZE[1] * 2 - 1) * np.tan(half)
    y = (1 - (np.arange(SIZE[0]) + 0.5) / SIZE[0] * 2) * np.tan(half) * SIZE[0] / SIZE[1]
    return ahead + x[None, :, None] * right + y[:, None, None] * up


@pytest.mark.parametrize(("lat", "lon", "field_of_view"), [
    (0, 0, 90.0), (20, 179, 40.0), (-25, -179.5, 90.0), (35, 400, 60.0), (10, -181, 120.0)])
def test_positions_are_those_of_the_sphere(lat, lon, field_of_view):
    rows, columns = direction_to_pixel(rays(lat, lon, field_of_view), 512, 1024)
    found = View(SIZE, field_of_view).positions(math.radians(lon), math.radians(lat), 512, 1024)
    assert np.abs((found[..., 0] - columns + 512) % 1024 - 512).max() < 0.06
    assert np.abs(found[..., 1] - rows).max() < 0.06
    assert found[..., 0].min() >= -0.5 and found[..., 0].max() < 1023.5


def picture_of(vectors):
    """Colours that change smoothly with the direction: they tell up from down and left from right."""
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return 127.5 + 100 * unit


@pytest.mark.parametrize(("lat", "lon", "shape"), [
    (0, 0, (128, 256)), (10, 180, (900, 1800)), (-20, 90, (128, 256)), (25, -170, (128, 200)), (60, 30, (128, 256)),
    (-60, 0, (1500, 3000))])
def test_the_picture_shows_each_direction_where_it_is(lat, lon, shape):
    """Level, upright, not mirrored, without a seam, up to the pole: every pixel has the colour of its direction."""
    frame = np.uint8(picture_of(directions(*shape)) + 0.5)
    seen = View(SIZE, 90.0)(frame, math.radians(lon), math.radians(lat))
    assert seen.shape == (*SIZE, 3) and seen.dtype == np.uint8
    assert np.abs(seen - picture_of(rays(lat, lon, 90.0))).max() < 5


def test_half_extents():
    assert half_extents(90.0, (720, 1280)) == pytest.approx((9 / 16, 1))
