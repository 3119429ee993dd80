"""Shares of regions against closed forms and a sum over fine pixels, and their table."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maps.regions import RegionsWriter, region_shares
from sphere import solid_angle

COUNTS = st.integers(1, 5)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 99))
def test_shares_are_sums_by_solid_angle(rows, columns, row_pixels, column_pixels, seed):
    height, width = rows * row_pixels, columns * column_pixels
    levels = np.random.default_rng(seed).integers(0, 256, (height, width))
    mass = (levels if levels.any() else np.ones((height, width))) * solid_angle(height, width).numpy()
    expected = mass.reshape(rows, row_pixels, columns, column_pixels).sum(axis=(1, 3)) / mass.sum()
    np.testing.assert_allclose(region_shares(levels, rows, columns), expected, atol=1e-12)


@given(COUNTS, COUNTS, st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_pixels_that_lie_in_several_tiles_count_with_their_parts(rows, columns, height, width, seed):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width))
    finer = levels.repeat(columns, axis=1)  # the same map, in columns that no tile cuts
    shares = region_shares(levels, rows, columns)
    np.testing.assert_allclose(shares, region_shares(finer, rows, columns), atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=0), region_shares(levels, 1, columns)[0], atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=1), region_shares(levels, rows, 1)[:, 0], atol=1e-12)
    assert shares.sum() == pytest.approx(1)


def test_a_map_of_zeros_spreads_evenly_over_the_sphere():
    shares = region_shares(np.zeros((6, 8), np.uint8), 3, 2)  # 60 degrees each: sin 90 - sin 30 = 1/2
    np.testing.assert_allclose(shares, np.array([[1, 1], [2, 2], [1, 1]]) / 8)


def test_the_table(tmp_path):
    levels = np.zeros((4, 8), np.uint8)
    levels[0, 7] = 255
    with RegionsWriter(tmp_path / "000_regions.csv", lambda position: 3 * position, 2, 2) as writer:
        for position in range(2):
            writer.write(None, levels, position / 8)
    with (tmp_path / "000_regions.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["time", "frame", "lat 0:90 lon -180:0", "lat 0:90 lon 0:180", "lat -90:0 lon -180:0",
                     "lat -90:0 lon 0:180"]
    assert [[float(value) for value in row] for row in rows] == [[0, 0, 0, 1, 0, 0], [0.125, 3, 0, 1, 0, 0]]


def test_an_interrupted_table_is_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), RegionsWriter(tmp_path / "a.csv", int, 1, 1) as writer:
        writer.write(None, np.ones((2, 4), np.uint8), 0)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
