import numpy as np
from flow_frames import texture

from video.resize import limit_rows, resized


def test_rows_are_limited_and_the_shape_stays():
    assert limit_rows(texture(20, 40), 20).shape == (20, 40, 3)
    assert limit_rows(texture(30, 66), 20).shape == (20, 44, 3)
    assert (limit_rows(np.full((8, 12, 3), 9, np.uint8), 4) == 9).all()


def test_what_is_halved_first_is_nearly_the_same():
    frame = texture(64, 128)
    assert np.abs(limit_rows(frame, 24).astype(int) - resized(frame, (24, 48))).max() <= 24
    assert (limit_rows(frame, 16) == resized(frame, (16, 32))).all()
