import numpy as np
import pytest

from video.cuts import GLANCE, find_cuts


def shot(count, seed, drift=0):
    """Glances of a camera that turns by `drift` columns a frame."""
    picture = np.random.default_rng(seed).integers(0, 256, (4, 8)).repeat(8, 0).repeat(8, 1)
    return [np.uint8(np.roll(picture, drift * number, axis=1)) for number in range(count)]


def cuts(glances):
    assert all(glance.shape == GLANCE for glance in glances)
    return find_cuts((number / 10, glance) for number, glance in enumerate(glances))


def test_cuts_between_shots():
    assert cuts(shot(20, 0) + shot(15, 1) + shot(9, 2, drift=1)) == pytest.approx([2.0, 3.5])
    assert cuts(shot(3, 0) + shot(3, 1)) == [0.3]


def test_what_is_no_cut():
    moving = shot(30, 0, drift=2)
    flash = [*shot(10, 1), np.full(GLANCE, 255, np.uint8), *shot(10, 1)]
    first, last = (glances[0].astype(float) for glances in (shot(1, 2), shot(1, 3)))
    fade = [np.uint8(first + (last - first) * step / 12) for step in range(13)]
    for glances in (moving, flash, fade, shot(9, 4), shot(1, 5), []):
        assert cuts(glances) == []
