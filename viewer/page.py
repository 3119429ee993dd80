"""Pages to look at: results_dir/ID.html, a 360° video with its saliency on the sphere, and results_dir/index.html, a
list of them. A page is one file: it opens from the disk by double click, without a server or a network. The page of
live.py is the same one, and asks live.py for its pictures.

Frame and map travel as two parts of one video, the frame above and the map below, so that they cannot come apart:
whatever frame a browser shows, the map of that frame is in the same picture. The page (templates/viewer.html) takes
them apart again, in the shader that draws the sphere.
"""

import base64
import glob
import html
import json
import os
import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import av
import cv2
import numpy as np

from files import replacing, write_text
from video.encode import X264
from video.resize import resized
from viewer.overlay import BRIGHTNESS, GLOW, OPACITY, overlay

TEMPLATES = Path(__file__).with_name("templates")
FRAME_ROWS, FRAME_COLUMNS = 960, 1920   # of a frame in a page, at most
MAP_ROWS, MAP_COLUMNS = 256, 512        # of a map, at most
MARGIN = 8              # pixels around the map, and rows below the frame, that keep the codec's ringing from the other
EMBED_LIMIT = 50 * 2**20    # bytes of video that go into the page itself
PIECE = 12 * 2**20          # bytes of video in one piece of text; a multiple of 3, so that base64 has no padding inside
POSTER_SIZE = (240, 480)


class Layout(NamedTuple):
    """Where things stand in a page's video, in pixels. The map has a margin of MARGIN pixels all around."""

    width: int
    height: int
    frame_rows: int     # the frame takes the whole width
    map_left: int
    map_top: int
    map_width: int
    map_height: int


def even(number):
    return number + number % 2


def arrange(frame_shape, map_shape):
    """The `Layout` for frames (h, w, ...) and maps (h, w)."""
    rows, width = even(min(frame_shape[0], FRAME_ROWS)), even(max(64, min(frame_shape[1], FRAME_COLUMNS)))
    map_height, map_width = ((size + 1) // 2 for size in map_shape)  # the model's last step doubles every pixel
    map_height, map_width = min(map_height, MAP_ROWS), min(map_width, MAP_COLUMNS, width - 2 * MARGIN)
    top = rows + 2 * MARGIN
    return Layout(width, even(top + map_height + MARGIN), rows, MARGIN, top, map_width, map_height)


def with_margin(saliency, margin):
    """A map (h, w) continued by `margin` pixels on each side as the sphere goes on: columns wrap, and beyond a pole
    come the same rows again, half a turn away."""
    half = saliency.shape[1] // 2
    north, south = saliency[:margin][::-1], saliency[-margin:][::-1]
    tall = np.concatenate([np.roll(north, half, axis=1), saliency, np.roll(south, half, axis=1)])
    return np.pad(tall, ((0, 0), (margin, margin)), mode="wrap")


def compose(frame, saliency, layout):
    """A picture of a page's video: the frame (BGR) above, its map (uint8) below, both on black; BGR uint8."""
    picture = np.zeros((layout.height, layout.width, 3), np.uint8)
    picture[:layout.frame_rows] = resized(frame, (layout.frame_rows, layout.width))
    picture[layout.frame_rows:layout.frame_rows + MARGIN] = picture[layout.frame_rows - 1]
    margin = min(MARGIN, layout.map_height)
    saliency = with_margin(resized(saliency, (layout.map_height, layout.map_width)), margin)
    top, left = layout.map_top - margin, layout.map_left - margin
    picture[top:top + saliency.shape[0], left:left + saliency.shape[1]] = saliency[..., None]
    return picture


def colour_table():
    """Two rows of 256 colours by grey level, RGBA uint8: the glow of `video.overlay` with its opacity, and the colours
    of a map alone."""
    glow = np.concatenate([GLOW[:, ::-1], np.round(255 * OPACITY)[:, None]], axis=1)
    alone = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    return np.stack([glow, np.concatenate([alone, np.full((256, 1), 255)], axis=1)]).astype(np.uint8)


def base64_text(data):
    return base64.b64encode(data).decode("ascii")


class PageWriter:
    """Writes a page frame by frame; a context: the page stands there, whole, when it has been left without an error and
    at least one frame was written. `linked`: the files beside the page that hold a video too large to go into it.

        with PageWriter("results/000.html", "a.mp4", fps=8) as page:
            page.write(frame, saliency)         # BGR uint8 (H, W, 3) and uint8 (h, w), of any size, in order of time
    """

    def __init__(self, path, title, fps):
        self.path, self.title, self.fps = Path(path), title, Fraction(fps).limit_denominator(1001)
        self.video = self.path.with_name(f".{self.path.name}.{os.getpid()}.mp4.partial")
        self.frames, self.linked = 0, []

    def __enter__(self):
        return self

    def write(self, frame, saliency):
        if self.frames == 0:
            self.layout = arrange(frame.shape, saliency.shape)
            self._open()
        picture = av.VideoFrame.from_ndarray(compose(frame, saliency, self.layout), format="bgr24")
        # By way of planes: FFmpeg's direct way from BGR truncates, which makes blues visibly darker.
        picture = picture.reformat(format="gbrp").reformat(format="yuv420p", dst_colorspace="ITU709")
        self.container.mux(self.stream.encode(picture))
        self.frames += 1
        if self.frames & (self.frames - 1) == 0:  # 1, 2, 4, ...: the last one lies in the video's second half
            _, poster = cv2.imencode(".jpg", overlay(frame, saliency, POSTER_SIZE), [cv2.IMWRITE_JPEG_QUALITY, 80])
            self.poster = base64_text(poster)

    def _open(self):
        self.container = av.open(str(self.video), "w", format="mp4", options={"movflags": "faststart"})
        self.stream = self.container.add_stream("libx264", rate=self.fps)
        self.stream.width, self.stream.height, self.stream.pix_fmt = self.layout.width, self.layout.height, "yuv420p"
        # A key frame every second and none that waits for a later one: the slider finds every frame quickly. The preset
        # takes two thirds of the time of "veryfast" and makes two thirds more bytes.
        self.stream.options = {**X264, "crf": "23", "preset": "superfast", "g": str(max(1, round(self.fps))), "bf": "0"}
        context = self.stream.codec_context  # said, not left to be guessed by the size: BT.709, 16 to 235
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1

    def __exit__(self, failure, *_):
        try:
            if self.frames and not failure:
                self.container.mux(self.stream.encode())
                self.container.close()
                self._assemble()
            elif self.frames:
                with suppress(OSError):  # of a full disk, say: the failure tells of it already
                    self.container.close()
        finally:
            self.video.unlink(missing_ok=True)

    def _assemble(self):
        """Writes the page around the video, which goes into it piece by piece, or into files beside it."""
        for stale in linked_files(self.path):
            stale.unlink()
        about = {"frames": self.frames, "fps": float(self.fps), "poster": self.poster}
        head, tail = page_around_video(self.title, self.layout, about, connect="'none'")
        embed = self.video.stat().st_size <= EMBED_LIMIT
        with (replacing(self.path) as partial, partial.open("w", encoding="utf-8") as page,
              self.video.open("rb") as video):
            page.write(head)
            for number, data in enumerate(iter(lambda: video.read(PIECE), b"")):
                call = f'piece("{base64_text(data)}");'
                if embed:
                    page.write(f"<script>{call}</script>\n")
                    continue
                file = self.path.with_name(f"{self.path.stem}_video_{number}.js")
                write_text(file, call)
                self.linked.append(file)
                page.write(f'<script src="{quote(file.name)}" onerror="missing(this)"></script>\n')
            page.write(tail)


def page_around_video(title, layout, about, connect):
    """The text of a page before and after its video. about: what it is told beyond title, `Layout` and colours;
    connect: the sources that it may fetch from, as in a Content-Security-Policy."""
    about = {"title": title, **about, **layout._asdict(), "colours": base64_text(colour_table().tobytes()),
             "brightness": BRIGHTNESS}
    texts = {"title": html.escape(title), "about": as_json(about), "connect": connect}
    return [fill(part, texts) for part in read_template("viewer.html").split("@@video@@")]


def live_page(title, layout):
    """A page that fetches its pictures, `compose`d and encoded, from where it came from: see live.py."""
    return "".join(page_around_video(title, layout, {"live": True}, connect="'self'"))


def linked_files(path):
    """The files beside a page that hold its video, where that was too large to go into it."""
    return sorted(Path(path).parent.glob(f"{glob.escape(Path(path).stem)}_video_*.js"))


def as_json(value):
    """JSON that may stand inside a <script>: nothing in it can end the element."""
    return json.dumps(value).replace("<", "\\u003c")


def read_template(name):
    return (TEMPLATES / name).read_text(encoding="utf-8")


def fill(template, texts):
    """The template with each @@name@@ replaced by the text of that name."""
    return re.sub(r"@@(\w+)@@", lambda match: texts[match[1]], template)
