import numpy as np
import pytest

from viewer.overlay import even_size, overlay


def test_the_overlay_glows_where_the_map_is_bright_and_only_there():
    saliency = np.zeros((24, 32), np.uint8)
    saliency[4:8, 20:28] = 255
    grey = np.full((48, 64, 3), 100, np.uint8)
    image = overlay(grey, saliency, (48, 64)).astype(int)
    assert image[12, 48].max() > 200
    assert np.ptp(image[30:], axis=(0, 1)).max() == 0
    assert np.ptp(image[40, 10]) == 0


@pytest.mark.parametrize(("size", "expected"), [
    ((322, 640), (322, 640)), ((1024, 2048), (720, 1440)), ((1, 1), (2, 2))])
def test_overlay_sizes_are_even(size, expected):
    assert even_size(*size, 720) == expected
