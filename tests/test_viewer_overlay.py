import av
import numpy as np
import pytest
from conftest import noise_frames

from video.planes import BT709, SMPTE170M, arrays_of
from viewer.overlay import overlay, overlay_in_planes


def test_the_overlay_glows_where_the_map_is_bright_and_only_there():
    saliency = np.zeros((24, 32), np.uint8)
    saliency[4:8, 20:28] = 255
    grey = np.full((48, 64, 3), 100, np.uint8)
    image = overlay(grey, saliency, (48, 64)).astype(int)
    assert image[12, 48].max() > 200
    assert np.ptp(image[30:], axis=(0, 1)).max() == 0
    assert np.ptp(image[40, 10]) == 0


@pytest.mark.parametrize("colorspace", [BT709, SMPTE170M])
def test_the_overlay_in_planes_is_the_same(colorspace):
    picture = av.VideoFrame(64, 32, "yuv420p")
    picture.colorspace = colorspace
    for plane, level in zip(arrays_of(picture), (120, 100, 150)):
        plane[:] = level
    saliency = np.uint8(np.linspace(0, 255, 16 * 32)).reshape(16, 32)
    expected = overlay(picture.to_ndarray(format="bgr24"), saliency, (32, 64)).astype(int)
    found = overlay_in_planes(picture, saliency, (32, 64)).to_ndarray(format="bgr24")
    assert abs(found - expected).max() <= 16 and abs(found - expected).mean() < 3   # chroma has half the pixels
    assert abs((found - expected).mean(axis=(0, 1))).max() < 1.5


def test_the_overlay_in_planes_takes_bgr_of_any_size():
    frame, = noise_frames(1, 48, 96, seed=0)
    picture = overlay_in_planes(frame, np.zeros((12, 16), np.uint8), (24, 48))
    assert (picture.format.name, picture.height, picture.width) == ("yuv420p", 24, 48)
    assert abs(picture.to_ndarray(format="bgr24").mean() - 0.85 * frame.mean()) < 2
