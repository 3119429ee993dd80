"""Encoding of frames to H.264 with PyAV, whose wheels include the encoder x264 (OpenCV's do not)."""

from contextlib import contextmanager
from fractions import Fraction
from itertools import chain

import av
import cv2

from files import replacing
from video.planes import BT709, SMPTE170M, UNSPECIFIED, to_planes
from video.sound import add_sound

LIMITED_RANGE = 1   # FFmpeg's number for levels from 16 to 235
AVX512 = 13  # OpenCV's number for these instructions
TICK = Fraction(1, 120000)  # seconds; the time of a frame is a whole number of these at all usual rates, 30000/1001 too
FRAME_DURATION = 1 << 8     # FFmpeg's flag: the encoder hands on how long each frame is shown
MP4_SOUND = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")   # what mp4 holds as it is; all else becomes AAC
PAGE_SOUND = ("aac", "mp3")  # what every browser plays


def x264_options(use, fps):
    """The options of libx264 for a video of so many frames a second. use: "film", of a quality that can be encoded once
    more; "overlay", to be watched; or "page", likewise, whose slider has to find every frame quickly: it has a key
    frame every second. The preset of the latter two, with what saves most bytes and hides the edges of blocks, takes
    three quarters of the time of "superfast" and, at this quality, seven eighths of its bytes.

    No frame is decoded after a later one (bf): of videos with such frames, many programs misread how long each of the
    others is shown.
    """
    if use == "film":
        options, added = {"preset": "superfast", "crf": "22", "bf": "0"}, []
    else:
        options, added = {"preset": "ultrafast", "crf": "23", "bf": "0"}, ["cabac=1:deblock=0,0:8x8dct=1:aq-mode=1"]
    if use == "page":
        options["g"] = str(max(1, round(fps)))
    if cv2.checkHardwareSupport(AVX512):  # there x264 reads past its pictures: equal pictures give different bytes
        added.append("asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2")
    return options | {"x264-params": ":".join(added)}


class Encoder:
    """Encodes frames, as `to_planes` takes them, into an open container: H.264, yuv420p, each frame at its own time.
    The video says by which matrix its colours were made, which players would otherwise guess by the size; of frames
    that do not say so, only a "page" says it as well.

    size: the video's (height, width), both even. fps: frames a second on average. use: see `x264_options`. options: of
    libx264, in place of those of the use.
    """

    def __init__(self, container, size, fps, use="film", **options):
        height, width = size
        assert height % 2 == 0 and width % 2 == 0, f"yuv420p needs an even size, got {height} x {width}"
        self.container, self.size, self.use, self.waiting = container, size, use, None
        self.stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        self.stream.options = {**x264_options(use, fps), **options}
        self.stream.codec_context.time_base = TICK
        self.stream.codec_context.flags |= FRAME_DURATION

    def name_colours(self, picture):
        """Writes down how the colours of pictures like this one are coded."""
        if picture.colorspace != UNSPECIFIED or self.use == "page":
            context = self.stream.codec_context
            context.colorspace = SMPTE170M if picture.colorspace == UNSPECIFIED else picture.colorspace
            context.color_primaries = context.color_trc = BT709
            context.color_range = LIMITED_RANGE

    def write(self, frame, time):
        """Adds a frame that is shown from `time` on, seconds, until the next one."""
        picture = to_planes(frame, self.size)
        picture.pts, picture.time_base = round(time / TICK), TICK
        if self.waiting:
            picture.pts = max(picture.pts, self.waiting.pts + 1)
            self.encode_waiting(picture.pts)
        else:
            self.name_colours(picture)
        self.waiting = picture

    def encode_waiting(self, end):
        """Encodes the latest frame, which is shown until `end`, in ticks."""
        self.waiting.duration = max(1, end - self.waiting.pts)
        self.container.mux(self.stream.encode(self.waiting))

    def finish(self, end):
        """Encodes what waits. The last frame is shown until `end`, seconds."""
        self.encode_waiting(round(end / TICK))
        self.container.mux(self.stream.encode())


@contextmanager
def mp4_file(path):
    """Yields an open container, an mp4 file that starts to play while it loads. The file appears when the block has
    ended without an error."""
    options = {"movflags": "faststart"}
    with replacing(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
        yield container


@contextmanager
def video_writer(path, size, source, use="film", sound=False):
    """Yields a function write(frame, time) into an mp4 file, which plays in every browser: see `Encoder`.

    source: of `video.sources`, or what has its rate and, when the block ends, its end; with `sound`, also its sound and
    sound_start. A "page" gets sound that every browser plays; a "film" gets it unchanged, if mp4 takes it.
    """
    with mp4_file(path) as container:
        encoder = Encoder(container, size, source.rate, use)
        codecs = PAGE_SOUND if use == "page" else MP4_SOUND
        track = add_sound(container, source.sound, source.sound_start, codecs) if sound and source.sound else None

        def write(frame, time):
            encoder.write(frame, time)
            if track:
                track.write(time)

        try:
            yield write
            encoder.finish(source.end)
            if track:
                track.write(source.end)
        finally:
            if track:
                track.close()


def write_video(path, frames, fps):
    """Writes an iterable of frames (H, W, 3), BGR uint8, of one even size, as an mp4 file that plays in every browser,
    `fps` frames a second."""
    frames = iter(frames)
    first = next(frames)
    with mp4_file(path) as container:
        encoder = Encoder(container, first.shape[:2], fps)
        for number, frame in enumerate(chain([first], frames)):
            encoder.write(frame, number / fps)
        encoder.finish((number + 1) / fps)
