import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sphere import (
    direction_to_pixel,
    directions,
    pixel_to_sphere,
    solid_angle,
    sphere_to_pixel,
    with_margin,
    wrap_pixels,
)

SIZES = st.tuples(st.integers(2, 9), st.integers(2, 8).map(lambda half: 2 * half))


@given(SIZES, st.floats(-0.5, 8.4), st.floats(-0.5, 15.4))
def test_pixels_and_sphere_invert_each_other(size, row, col):
    H, W = size
    assert sphere_to_pixel(*pixel_to_sphere(row, col, H, W), H, W) == pytest.approx((row, col))


@given(SIZES)
def test_directions_stand_for_their_pixels(size):
    H, W = size
    rows, cols = direction_to_pixel(3.0 * directions(H, W), H, W)
    np.testing.assert_allclose(rows, np.broadcast_to(np.arange(H)[:, None], size), atol=1e-4)
    np.testing.assert_allclose(cols, np.broadcast_to(np.arange(W), size), atol=1e-4)


def test_the_seam_is_the_first_column():
    for y in (0.0, -0.0):
        assert direction_to_pixel(np.array([-1.0, y, 0.0]), 6, 8) == (2.5, -0.5)


@given(SIZES, st.data())
def test_a_pixel_beyond_a_pole_is_where_the_meridian_goes_on(size, data):
    """Both are one point of the sphere: a latitude beyond pi/2 is reflected, half a turn away."""
    H, W = size
    row, col = data.draw(st.integers(-H, 2 * H - 1)), data.draw(st.integers(-2 * W, 2 * W))
    inside = wrap_pixels(np.array(row), np.array(col), H, W)
    assert 0 <= inside[0] < H and 0 <= inside[1] < W
    (lat, lon), (lat_inside, lon_inside) = (pixel_to_sphere(*pixel, H, W) for pixel in ((row, col), inside))
    for expected, actual in [(np.sin(lat), np.sin(lat_inside)),
                             (np.cos(lat) * np.cos(lon), np.cos(lat_inside) * np.cos(lon_inside)),
                             (np.cos(lat) * np.sin(lon), np.cos(lat_inside) * np.sin(lon_inside))]:
        assert actual == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_an_image_with_a_margin_reads_as_wrap_pixels_says(shape):
    image = np.random.default_rng(0).random(shape)
    larger = with_margin(image, 3)
    rows, cols = wrap_pixels(*np.mgrid[-3:7, -3:9], 4, 6)
    assert larger.shape[:2] == (10, 12)
    np.testing.assert_array_equal(larger, image[rows, cols])


def test_first_row_is_north_and_columns_run_east():
    view, angle = directions(6, 12), np.radians(15)
    assert view[0, 0, 2] > 0.9 and view[-1, 0, 2] < -0.9
    expected = np.cos(angle) * np.cos(angle), np.cos(angle) * np.sin(angle), np.sin(angle)
    np.testing.assert_allclose(view[2, 6], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (12, 20), (240, 320)])
def test_solid_angles_fill_the_sphere(size):
    area = solid_angle(*size)
    assert area.shape == size
    assert area.sum().item() == pytest.approx(4 * np.pi, rel=1e-13)
    torch.testing.assert_close(area, area.flip(0))


def test_solid_angle_is_the_integral_of_sine_of_colatitude():
    fine = (torch.arange(7 * 10000, dtype=torch.float64) + 0.5) * np.pi / 70000
    rows = (fine.sin() * np.pi / 70000).reshape(7, -1).sum(dim=1) * 2 * np.pi / 4
    torch.testing.assert_close(solid_angle(7, 4)[:, 1], rows, rtol=1e-8, atol=0)
