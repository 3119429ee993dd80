"""Pictures in planes: their colours against FFmpeg's own conversion back."""

import av
import numpy as np
import pytest
from conftest import noise_frames

from video.colour import shows_planes
from video.planes import BT709, SMPTE170M, UNSPECIFIED, arrays_of, black, conversion, even_size, size_of, to_planes

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 60, 20), (20, 180, 240)]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", [(32, 64), (24, 46)])
def test_bgr_keeps_its_colours(colour, size):
    picture = to_planes(np.full((32, 64, 3), colour, np.uint8), size)
    assert (picture.format.name, picture.colorspace, size_of(picture)) == ("yuv420p", BT709, size)
    assert np.abs(picture.to_ndarray(format="bgr24") - np.float32(colour)).max() <= 2


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("colorspace", [BT709, SMPTE170M, UNSPECIFIED])
def test_the_matrix_of_a_picture_is_the_one_that_ffmpeg_converts_back_with(colour, colorspace):
    picture = av.VideoFrame(64, 32, "yuv420p")
    picture.colorspace = colorspace
    for plane, level in zip(arrays_of(picture), conversion(picture) @ colour + (16, 128, 128)):
        plane[:] = round(level)
    assert np.abs(picture.to_ndarray(format="bgr24") - np.float32(colour)).max() <= 3


def test_planes_of_that_size_stay_as_they_are_and_others_are_averages():
    picture = to_planes(noise_frames(1, 32, 64, seed=0)[0], (32, 64))
    assert to_planes(picture, (32, 64)) is picture
    luma, *_ = arrays_of(picture)
    halved, *_ = arrays_of(to_planes(picture, (16, 32)))
    assert np.abs(halved - luma.reshape(16, 2, 32, 2).mean(axis=(1, 3))).max() <= 2


def test_a_black_picture_has_the_matrix_of_another():
    other = to_planes(np.zeros((8, 8, 3), np.uint8), (8, 8))
    picture = black((16, 32), other)
    assert picture.colorspace == BT709 and not picture.to_ndarray(format="bgr24").any()


@pytest.mark.parametrize(("size", "expected"), [
    ((322, 640), (322, 640)), ((1024, 2048), (720, 1440)), ((1, 1), (2, 2))])
def test_sizes_are_even(size, expected):
    assert even_size(*size, 720) == expected


@pytest.mark.parametrize(("name", "colorspace", "color_range", "color_trc", "shown"), [
    ("yuv420p", UNSPECIFIED, 0, 2, True), ("yuv420p", BT709, 1, 1, True), ("yuv420p", 9, 1, 1, False),
    ("yuv420p", BT709, 2, 1, False), ("yuv420p", BT709, 1, 16, False), ("yuv444p", BT709, 1, 1, False)])
def test_which_decoded_pictures_are_shown_as_they_are(name, colorspace, color_range, color_trc, shown):
    picture = av.VideoFrame(16, 8, name)
    picture.colorspace, picture.color_range, picture.color_trc = colorspace, color_range, color_trc
    assert shows_planes(picture) == shown
