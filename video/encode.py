"""Encoding of frames to H.264 with PyAV, whose wheels include the encoder x264 (OpenCV's do not)."""

from contextlib import contextmanager
from fractions import Fraction
from itertools import chain

import av
import cv2

from files import replacing

BT709 = 1  # FFmpeg's number for that colour space, its primaries and its transfer curve, and for levels of 16 to 235
AVX512 = 13  # OpenCV's number for these instructions


def x264_options(use, fps):
    """The options of libx264 for a video of so many frames a second. use: "film", to be watched from its beginning, or
    "page", whose slider has to find every frame quickly: it has a key frame every second, and no frame that is decoded
    after a later one. Its preset takes two thirds of the time of "veryfast" and makes two thirds more bytes."""
    options = {"film": {"preset": "veryfast", "crf": "21"},
               "page": {"preset": "superfast", "crf": "23", "g": str(max(1, round(fps))), "bf": "0"}}[use]
    if cv2.checkHardwareSupport(AVX512):  # there x264 reads past its pictures: equal pictures give different bytes
        options["x264-params"] = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
    return options


@contextmanager
def encoder(container, size, fps, use="film", **options):
    """Yields a function that encodes the next frame (H, W, 3), BGR uint8, into an open container: H.264, yuv420p.

    size: the frames' (height, width), both even. use: see `x264_options`; a "page" is in BT.709 and says so, since its
    browser would otherwise guess the colour space by the size. options: of libx264, in place of those of the use.
    """
    height, width = size
    assert height % 2 == 0 and width % 2 == 0, f"yuv420p needs an even size, got {height} x {width}"
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.options = {**x264_options(use, fps), **options}
    if use == "page":
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = BT709

    def encode(frame):
        picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
        if use == "page":  # by way of planes: FFmpeg's direct conversion truncates, which makes blues visibly darker
            picture = picture.reformat(format="gbrp").reformat(format="yuv420p", dst_colorspace="ITU709")
        container.mux(stream.encode(picture))

    yield encode
    container.mux(stream.encode())


@contextmanager
def video_writer(path, size, fps, use="film"):
    """Yields the function of an `encoder` into an mp4 file that starts to play while it loads, in every browser. The
    file appears when the block has ended without an error."""
    options = {"movflags": "faststart"}
    with (replacing(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container,
          encoder(container, size, fps, use) as encode):
        yield encode


def write_video(path, frames, fps):
    """Writes an iterable of frames (H, W, 3), BGR uint8, of one even size, as an mp4 file: see `video_writer`."""
    frames = iter(frames)
    first = next(frames)
    with video_writer(path, first.shape[:2], fps) as encode:
        for frame in chain([first], frames):
            encode(frame)
