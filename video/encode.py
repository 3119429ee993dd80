"""TODO"""

from contextlib import contextmanager
from fractions import Fraction
from itertools import chain

import av

from files import replacing

X264 = {"preset": "veryfast"}


@contextmanager
def encoder(container, size, fps, **options):
    """Yields a function that takes the next frame (H, W, 3), BGR uint8, of that even size, and encodes it into an open
    container: H.264 yuv420p, with these options of libx264."""
    height, width = size
    assert height % 2 == 0 and width % 2 == 0, f"yuv420p needs an even size, got {height} x {width}"
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.options = {**X264, **options}
    yield lambda frame: container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
    container.mux(stream.encode())


@contextmanager
def video_writer(path, size, fps):
    """Yields the function of an `encoder` into an mp4 that starts playing while it loads and plays in every browser.
    Atomic."""
    options = {"movflags": "faststart"}
    with (replacing(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container,
          encoder(container, size, fps, crf="21") as encode):
        yield encode


def write_video(path, frames, fps):
    """Encodes frames, of one even size, as `video_writer` does."""
    frames = iter(frames)
    first = next(frames)
    with video_writer(path, first.shape[:2], fps) as write:
        for frame in chain([first], frames):
            write(frame)
