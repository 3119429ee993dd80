"""Where the taps read, against the formulas one tap at a time and against the published positions."""

import math

import numpy as np
import pytest

from kernels.taps import GEOMETRIES, sampling_grid


def tap_position(i, j, a, b, height, width, stride, geometry):
    """One tap by the formulas as they are written, in scalars: row and column before any wrapping."""
    dlat, dlon = math.pi / height, 2 * math.pi / width
    if geometry == "exact":
        row, col = (i + 0.5) * height / math.ceil(height / stride) - 0.5, (j + 0.5) * stride - 0.5
    else:
        row, col = stride * i, stride * j
    lat, lon = math.pi / 2 - (row + 0.5) * dlat, (col + 0.5) * dlon - math.pi
    if a == b == 0:
        return row, col
    x, y = b * math.tan(dlon), -a * math.tan(dlat) / math.cos(b * dlon)
    rho = math.hypot(x, y)
    nu = math.atan(rho)
    lat_tap = math.asin(max(-1, min(1, math.cos(nu) * math.sin(lat) + y * math.sin(nu) * math.cos(lat) / rho)))
    up, right = rho * math.cos(lat) * math.cos(nu) - y * math.sin(lat) * math.sin(nu), x * math.sin(nu)
    lon_tap = lon + (math.atan2(right, up) if geometry == "exact" else math.atan(right / up))
    return (math.pi / 2 - lat_tap) / dlat - 0.5, (lon_tap + math.pi) / dlon - 0.5


@pytest.mark.parametrize("size", ["12x20_stride1", "12x20_stride2", "24x40_stride1"])
def test_released_grid_is_the_published_one(shared, size):
    golden = np.load(shared / "golden" / "geometry.npz")
    height, width, stride = map(int, size.replace("_stride", "x").split("x"))
    rows, cols = sampling_grid(height, width, stride, "released")
    np.testing.assert_allclose(rows, golden[f"rows_{size}"], atol=1e-6)
    np.testing.assert_allclose(cols, golden[f"cols_{size}"], atol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("height", "width", "stride"), [(5, 8, 1), (6, 10, 2), (7, 12, 2), (1, 4, 1), (4, 4, 2)])
def test_grid_equals_the_formulas_one_tap_at_a_time(height, width, stride, geometry):
    rows, cols = sampling_grid(height, width, stride, geometry)
    half = 0.0 if geometry == "exact" else 0.5
    assert rows.dtype == cols.dtype == np.float64
    assert rows.shape == cols.shape == (math.ceil(height / stride), width // stride, 3, 3)
    for (i, j, a, b), row in np.ndenumerate(rows):
        expected_row, expected_col = tap_position(i, j, a - 1, b - 1, height, width, stride, geometry)
        assert row == pytest.approx(expected_row - half, abs=1e-8)
        if expected_row == pytest.approx(-0.5, abs=1e-8):
            continue  # on the pole, which has every longitude
        turn = (cols[i, j, a, b] + half - expected_col) / width  # a whole number of turns apart
        assert turn == pytest.approx(round(turn), abs=1e-8)
        assert -half <= cols[i, j, a, b] < width - half


@pytest.mark.parametrize(("height", "width", "stride", "geometry", "message"), [
    (6, 9, 1, "exact", "even width of at least 4, got 6 x 9"), (6, 2, 1, "exact", "even width"),
    (0, 8, 1, "exact", "at least 1 row"), (6, 10, 4, "exact", "divide the width 10, got 4"),
    (6, 8, 1, "planar", "geometry must be one of exact, released, released_wrap, got 'planar'")])
def test_sizes_that_cannot_be_sampled(height, width, stride, geometry, message):
    with pytest.raises(ValueError, match=message):
        sampling_grid(height, width, stride, geometry)
