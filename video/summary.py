"""What is understood of a video file, in one line."""

from itertools import islice
from pathlib import Path

from checks import printable
from errors import InputError
from video.colour import to_bgr
from video.decode import SAMPLES_PER_SECOND, VideoReader, probe
from video.projection import PROJECTIONS, UPRIGHT, WATCHED, WHOLE, Views, degrees, effective_layout
from video.unused import why_unused


def summarise(path, stereo_layout="mono", projection=""):
    """The line: codec, size, rate, duration, frames, projection and stereo and how they are known, sound, and what will
    be done with the video. Raises InputError if it cannot be read, or would not be used."""
    path = Path(path)
    if reason := why_unused(path):
        raise InputError(f"{printable(path)} {reason}")
    info = probe(path)
    layout = effective_layout(info.layout, stereo_layout, projection)
    height, width = info.size
    kind = (layout.projection + ("" if layout.bounds == WHOLE else " on a part of the sphere")
            + f" ({known(projection, info.layout.projection in PROJECTIONS)})"
            + ("" if layout.pose == UPRIGHT else f", turned upright ({degrees(layout.pose)})"))
    eyes = layout.stereo + (", right eye first" if layout.swapped else "")
    which = {0: f"what is shown at every 1/{SAMPLES_PER_SECOND} s", 1: "every frame"}.get(
        info.step, f"every {ordinal(info.step)} frame")
    parts = [
        f"{info.codec} {width} x {height}", f"{info.fps:.6g} frames/s, {'constant' if info.constant else 'variable'}",
        f"{info.end:.2f} s", f"{info.frames} frames", kind,
        f"{eyes} ({known(stereo_layout if stereo_layout != 'mono' else '', info.layout.stereo)})",
        f"sound {info.sound}" if info.sound else "no sound", f"{len(info.samples)} maps: {which}"]
    if info.twins:
        parts.append(f"warning: {info.twins + 1} videos of that size, only the first is read")
    if not (projection or info.layout.projection in PROJECTIONS):
        views = Views("", info.layout, stereo_layout)
        pictures = (picture for _, _, picture in VideoReader(path, info).samples() if picture is not None)
        for picture in islice(pictures, WATCHED - 1):
            views(to_bgr(picture))
        if doubt := views.verdict():
            parts.append(f"warning: {doubt}")
    if info.problem:
        parts.append(f"warning: {info.problem.removeprefix(printable(path)).strip()}")
    return f"{printable(path)}: {'; '.join(parts)}"


def known(setting, declared):
    """How a property of a video is known."""
    return "as set" if setting else "the file says so" if declared else "assumed"


def ordinal(number):
    """2nd, 3rd, ..."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"
