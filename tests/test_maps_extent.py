"""How much of the sphere attention covers, against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maps.extent import extent
from sphere import directions, solid_angle


@pytest.mark.parametrize("height", [60, 240])
@pytest.mark.parametrize("angle", [30, 60, 90, 180])
def test_even_attention_covers_its_own_area(height, angle):
    levels = np.where(directions(height, 2 * height) @ [0.6, 0, 0.8] >= np.cos(np.radians(angle)), 200, 0)
    assert extent(levels.astype(np.uint8)) == pytest.approx((1 - np.cos(np.radians(angle))) / 2, rel=0.03)


def test_it_is_the_exponential_of_the_entropy_of_von_mises_and_fisher():
    kappa, map_of = 20.0, directions(240, 480) @ [0.0, 0.6, 0.8]
    mean = 1 / np.tanh(kappa) - 1 / kappa   # its entropy in closed form, relative to that of even attention
    expected = np.sinh(kappa) / kappa * np.exp(-kappa * mean)
    assert extent(np.exp(kappa * (map_of - 1))) == pytest.approx(expected, rel=1e-3)


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_it_is_the_sum_over_pixels_of_any_map(levels):
    areas = solid_angle(*levels.shape).numpy() / (4 * np.pi)
    mass = areas * levels if levels.any() else areas
    shares = mass / mass.sum()
    seen = shares > 0
    expected = np.exp(-(shares[seen] * np.log(shares[seen] / areas[seen])).sum())
    assert extent(levels) == pytest.approx(expected, rel=1e-9)
    assert 0 < extent(levels) <= 1 + 1e-12
    assert extent(levels / 7) == pytest.approx(extent(levels), rel=1e-9)
