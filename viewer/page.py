"""The page results_dir/ID.html: a 360° video with its saliency on the sphere. It is one file, which opens from the disk
by double click, without a server or a network. The page of live.py is the same, but asks live.py for its pictures.

Each picture of the page's video holds a frame and, below it, the frame's map, so that a browser always shows the two
that belong together. The shader in templates/viewer.html that draws the sphere takes them apart again.
"""

import base64
import html
import json
import math
import os
import re
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import av
import cv2
import numpy as np

from files import HOST, replacing, write_text
from maps.extent import extent
from maps.regions import region_shares
from sphere import with_margin
from video.encode import video_writer
from video.planes import arrays_of, black, size_of, to_planes
from video.resize import resized
from viewer.overlay import BRIGHTNESS, GLOW, OPACITY, overlay

TEMPLATES = Path(__file__).with_name("templates")
FRAME_ROWS, FRAME_COLUMNS = 960, 1920   # at most, of a frame in a page
MAP_ROWS, MAP_COLUMNS = 256, 512        # at most, of a map
MARGIN = 8                  # pixels around the map, and rows below the frame, that ringing of the codec may spoil
EMBED_LIMIT = 50 * 2**20    # bytes; a larger video does not go into the page, but into files beside it
PIECE = 12 * 2**20          # bytes of video in one piece of text; a multiple of 3, so that base64 needs no padding
POSTER_SIZE = (240, 480)    # (height, width)
GREYS = np.uint8(np.round(np.linspace(16, 235, 256)))   # the luma of each grey level
TILES = (4, 8)              # (rows, columns) of the grid of regions, where nobody asks for another
MOST_SHARES = 2**22         # of all frames together, two bytes each: a page with more goes without its regions


class Layout(NamedTuple):
    """The size of a page's video and where frame and map are in it, pixels. MARGIN pixels surround the map."""

    width: int
    height: int
    frame_rows: int     # the frame is as wide as the video
    map_left: int
    map_top: int
    map_width: int
    map_height: int


def even(number):
    return number + number % 2


def arrange(frame_shape, map_shape):
    """The `Layout` for frames of shape (H, W, ...) and maps of shape (h, w)."""
    rows, width = even(min(frame_shape[0], FRAME_ROWS)), even(max(64, min(frame_shape[1], FRAME_COLUMNS)))
    map_height, map_width = ((size + 1) // 2 for size in map_shape)  # the model's last step doubles every pixel
    map_height, map_width = min(map_height, MAP_ROWS), min(map_width, MAP_COLUMNS, width - 2 * MARGIN)
    top = rows + 2 * MARGIN
    return Layout(width, even(top + map_height + MARGIN), rows, MARGIN, top, map_width, map_height)


def compose(frame, saliency, layout):
    """One picture of a page's video, in planes: the frame, as `to_planes` takes it, and its map, uint8, on black."""
    frame = to_planes(frame, (layout.frame_rows, layout.width))
    picture = black((layout.height, layout.width), frame)
    luma, *chroma = arrays_of(picture)
    for plane, part, margin in zip((luma, *chroma), arrays_of(frame), (MARGIN, MARGIN // 2, MARGIN // 2)):
        plane[:len(part)] = part
        plane[len(part):len(part) + margin] = part[-1]
    margin = min(MARGIN, layout.map_height)
    saliency = with_margin(resized(saliency, (layout.map_height, layout.map_width)), margin)
    top, left = layout.map_top - margin, layout.map_left - margin
    luma[top:top + saliency.shape[0], left:left + saliency.shape[1]] = GREYS[saliency]
    return picture


def colour_table():
    """The colours of each grey level of a map, RGBA uint8 (2, 256, 4): first the glow of `overlay` with its opacity,
    then the opaque colours of a map that is shown alone."""
    glow = np.concatenate([GLOW[:, ::-1], np.round(255 * OPACITY)[:, None]], axis=1)
    alone = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    return np.stack([glow, np.concatenate([alone, np.full((256, 1), 255)], axis=1)]).astype(np.uint8)


def base64_text(data):
    return base64.b64encode(data).decode("ascii")


def share_codes(shares):
    """Shares in [0, 1] as bytes: 16-bit numbers, little-endian, 65535 for a share of 1."""
    return np.rint(65535 * np.asarray(shares)).astype("<u2").tobytes()


def as_json(value):
    """The value as JSON that is safe inside a <script> element: nothing in it can end the element."""
    return json.dumps(value).replace("<", "\\u003c")


def read_template(name):
    """The text of a file in templates/."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def fill(template, texts):
    """The template with each @@name@@ replaced by texts[name]."""
    return re.sub(r"@@(\w+)@@", lambda match: texts[match[1]], template)


def page_around_video(title, layout, about, connect):
    """[text before the video, text after it] of a page. about: values for the page's script, beside title, `Layout` and
    colours; connect: from where the page may fetch, as a Content-Security-Policy says it."""
    about = {"title": title, **about, **layout._asdict(), "colours": base64_text(colour_table().tobytes()),
             "brightness": BRIGHTNESS}
    texts = {"title": html.escape(title), "about": as_json(about), "connect": connect}
    return [fill(part, texts) for part in read_template("viewer.html").split("@@video@@")]


def live_page(title, layout):
    """The text of a page that fetches its pictures, which `compose` makes, from the server that sent the page."""
    return "".join(page_around_video(title, layout, {"live": True}, connect="'self'"))


def has_sound(path):
    """Whether a video file has an audio stream."""
    with av.open(str(path)) as container:
        return bool(container.streams.audio)


def linked_files(path):
    """The paths of the files beside a page that hold its video; [] if the video is in the page."""
    name = re.compile(rf"{re.escape(Path(path).stem)}_video_\d+\.js")
    return sorted(file for file in Path(path).parent.iterdir() if name.fullmatch(file.name))


class PageWriter:
    """A context that writes a page frame by frame. The page appears when the context is left without an error and at
    least one frame was written. tiles: (rows, columns) of the grid of regions, whose shares the page shows. linked: the
    files beside the page that hold its video, if that was too large for it.

        with PageWriter("results/000.html", "a.mp4", source) as page:   # where the frames come from: see `video_writer`
            page.write(frame, saliency, time)   # as `to_planes` takes it, and uint8 (h, w), of any size; seconds
    """

    def __init__(self, path, title, source, sound=False, tiles=None):
        self.path, self.title, self.source, self.sound, self.times = Path(path), title, source, sound, []
        self.tiles, self.shares, self.extents = tiles or TILES, bytearray(), bytearray()
        self.video = self.path.with_name(f".{self.path.name}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.partial")
        self.linked, self.stack = [], ExitStack()

    def __enter__(self):
        return self

    def write(self, frame, saliency, time):
        """Adds a frame with its map, shown from `time` on."""
        if not self.times:
            self.layout = arrange(size_of(frame), saliency.shape)
            size = self.layout.height, self.layout.width
            writer = video_writer(self.video, size, self.source, "page", self.sound)
            self.encode = self.stack.enter_context(writer)
        picture = to_planes(frame, (self.layout.frame_rows, self.layout.width))
        self.encode(compose(picture, saliency, self.layout), time)
        self.times.append(round(float(time), 5))
        self.extents += share_codes(extent(saliency))
        if len(self.times) * math.prod(self.tiles) <= MOST_SHARES:
            self.shares += share_codes(region_shares(saliency, *self.tiles))
        if (count := len(self.times)) & (count - 1) == 0:  # 1, 2, 4, ...: the last is in the second half
            poster = overlay(picture.to_ndarray(format="bgr24"), saliency, POSTER_SIZE)
            self.poster = base64_text(cv2.imencode(".jpg", poster, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])

    def __exit__(self, failure, *details):
        try:
            self.stack.__exit__(failure, *details)
            if self.times and not failure:
                self._assemble()
        finally:
            self.video.unlink(missing_ok=True)

    def _assemble(self):
        """Writes the page, with the video in it piece by piece, or in files beside it."""
        for outdated in linked_files(self.path):
            outdated.unlink()
        about = {"frames": len(self.times), "times": self.times, "seconds": round(self.source.end, 5),
                 "sound": has_sound(self.video), "poster": self.poster, "extents": base64_text(self.extents)}
        if len(self.times) * math.prod(self.tiles) <= MOST_SHARES:
            about |= {"tiles": self.tiles, "shares": base64_text(self.shares)}
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
