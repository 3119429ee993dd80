"""How the sphere lies in a video's pictures: what the file declares, what its pictures look like, and the conversion of
every projection to equirectangular frames of the left eye, with FFmpeg's filter v360.

Bounds are the shares of the sphere's width and height that are missing on the left, top, right and bottom of a view.
A pose is (yaw, pitch, roll), degrees: how the sphere is turned about a viewer who stands upright, in FFmpeg's terms.
"""

import sys
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from tqdm import tqdm

from video.colour import side_data
from video.resize import limit_rows, resized
from video.stereo import apparent_layout, left_eye

PROJECTIONS = ("equirectangular", "half_equirectangular", "cubemap", "eac", "dual_fisheye")
FILTERS = {"equirectangular": "e", "half_equirectangular": "e", "cubemap": "c3x2", "eac": "eac",
           "dual_fisheye": "dfisheye"}  # what v360 calls them
FACES, LENSES = ("cubemap", "eac"), ("dual_fisheye",)
UPRIGHT = (0.0, 0.0, 0.0)
MOST_PADDING = 100      # pixels, of v360
LARGEST_WHOLE = 3840    # rows of a frame of the whole sphere of which little is seen
FINE = 2560             # rows; for larger frames v360 takes the nearest pixels: to interpolate takes it 24 bytes each
WHOLE, HALF = (0.0, 0.0, 0.0, 0.0), (0.25, 0.0, 0.25, 0.0)
DECLARED = {0: "equirectangular", 1: "cubemap", 2: "equirectangular", 3: "half_equirectangular", 4: "rectilinear",
            5: "fisheye", 6: "parametric immersive"}  # by FFmpeg's number
STEREO = {0: "mono", 1: "left_right", 2: "top_bottom"}
XML_STEREO = {"mono": "mono", "left-right": "left_right", "top-bottom": "top_bottom"}
WATCHED = 9             # sampled frames that are looked at before a warning: a second of them
LARGEST_GAP = 0.4       # at a seam; measured: below 0.26 in 50 equirectangular stills and clips, above 0.5 in others
DARK = 16               # levels: the corners around a fisheye's circle
SMALL = 128             # rows of the frames that are looked at
POLE = 0.35             # largest deviation along a pole's row, as a share of the frame's, that still looks like a pole
SEAMS = {"cubemap": (1 / 8, 3 / 8, 5 / 8, 7 / 8), "eac": (1 / 8, 3 / 8, 5 / 8, 7 / 8), "dual_fisheye": (1 / 4, 3 / 4)}


class Layout(NamedTuple):
    """How views of the sphere lie in a picture. "" stands for what is not known."""

    projection: str = ""
    stereo: str = ""            # as the setting stereo_layout
    swapped: bool = False       # whether the right eye comes first
    bounds: tuple = WHOLE
    pose: tuple = UPRIGHT
    padding: int = 0            # pixels around each face of a cube


def declared_layout(picture, unread=("", {})):
    """The `Layout` that a file declares in its spherical metadata, by its first `av.VideoFrame`, and by what FFmpeg
    does not read: see `containers.declarations`. Its projection may be none of `PROJECTIONS`."""
    (projection, xml), stereo, swapped, bounds, pose, padding = unread, "", False, WHOLE, UPRIGHT, 0
    if (sphere := side_data(picture, "SPHERICAL")) is not None:
        projection = DECLARED.get(int(sphere[0]), "unknown")
        pose = tuple(float(angle) / 2 ** 16 for angle in sphere[1:4])
        padding = min(int(sphere[8].view(np.uint32)), MOST_PADDING) if projection == "cubemap" else 0
        bounds = tuple(float(bound) / 2 ** 32 for bound in sphere[4:8].view(np.uint32))
        if projection == "half_equirectangular" or np.allclose(bounds, HALF, atol=0.01):
            projection, bounds = "half_equirectangular", HALF
        elif projection != "equirectangular" or max(bounds[0] + bounds[2], bounds[1] + bounds[3]) > 0.99:
            bounds = WHOLE
    if xml.get("Spherical") == "true":
        projection = projection or xml.get("ProjectionType", "equirectangular")
        stereo = XML_STEREO.get(xml.get("StereoMode"), "")
        bounds = cropped(xml) if bounds == WHOLE and projection == "equirectangular" else bounds
    if (eyes := side_data(picture, "STEREO3D")) is not None and (projection or eyes[0]):
        stereo, swapped = STEREO.get(int(eyes[0]), ""), bool(eyes[1] & 1)
    return Layout(projection, stereo, swapped, bounds, pose, padding)


def cropped(xml):
    """The bounds that spherical metadata V1 gives, {name: value}; `WHOLE` where it gives none, or impossible ones."""
    try:
        width, height, full_width, full_height, left, top = (int(xml[name]) for name in (
            "CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels", "FullPanoWidthPixels",
            "FullPanoHeightPixels", "CroppedAreaLeftPixels", "CroppedAreaTopPixels"))
        bounds = (left / full_width, top / full_height, (full_width - width - left) / full_width,
                  (full_height - height - top) / full_height)
    except (KeyError, ValueError, ZeroDivisionError):
        return WHOLE
    return bounds if min(bounds) >= 0 and width > 0 and height > 0 else WHOLE


def effective_layout(declared, stereo_layout, projection):
    """The `Layout` that counts, of what the file declares and the settings. A projection that is set counts over the
    file's; the file's stereo counts over "mono"."""
    stereo = declared.stereo if stereo_layout == "mono" and declared.stereo else stereo_layout
    swapped = declared.swapped and stereo == declared.stereo
    if not projection or projection == declared.projection:
        known = declared.projection in PROJECTIONS
        return declared._replace(projection=declared.projection if known else "equirectangular", stereo=stereo,
                                 swapped=swapped)
    return Layout(projection, stereo, swapped, HALF if projection == "half_equirectangular" else WHOLE)


class V360:
    """FFmpeg's filter v360: called with a frame, BGR uint8 (H, W, 3), it returns one in the equirectangular projection,
    upright, of as many rows as a lens, as a face of the cube, or as the frame has. pose, padding: see `Layout`."""

    def __init__(self, projection, shape, pose=UPRIGHT, padding=0, rows=0):
        self.shape = height, width = shape
        self.rows = rows or (min(height, width // 2) if projection in LENSES else
                             min(width // 3, height // 2) if projection in FACES else height)
        sampled = 2 * self.rows if projection in FACES else self.rows  # a face has more pixels an angle
        interpolation = "linear" if sampled <= FINE else "nearest"
        yaw, pitch, roll = (-angle for angle in pose)  # v360 turns the viewer, and not the sphere
        self.graph = av.filter.Graph()
        stages = [self.graph.add_buffer(width=width, height=height, format="gbrp", time_base=Fraction(1, 1000)),
                  self.graph.add("v360", f"input={FILTERS[projection]}:output=e:w={2 * sampled}:h={sampled}:"
                                         f"interp={interpolation}:fin_pad={padding}:yaw={yaw}:pitch={pitch}:roll={roll}:rorder=rpy"),
                  self.graph.add("buffersink")]
        self.graph.link_nodes(*stages).configure()

    def __call__(self, frame):
        frame = np.ascontiguousarray(frame)
        self.graph.push(av.VideoFrame.from_ndarray(frame, format="bgr24").reformat(format="gbrp"))
        return resized(self.graph.pull().to_ndarray(format="bgr24"), (self.rows, 2 * self.rows))


def whole_sphere(frame, bounds):
    """A frame that shows a part of the sphere, in a frame of the whole sphere, twice as wide as high; the rest is
    black."""
    left, top, right, bottom = bounds
    rows = min(round(frame.shape[0] / (1 - top - bottom)), max(frame.shape[0], LARGEST_WHOLE))
    whole = np.zeros((rows, 2 * rows, 3), np.uint8)
    row, column = min(round(top * rows), rows - 1), min(round(left * 2 * rows), 2 * rows - 1)
    part = whole[row:max(row + 1, round((1 - bottom) * rows)), column:max(column + 1, round((1 - right) * 2 * rows))]
    part[:] = cv2.resize(frame, part.shape[1::-1], interpolation=cv2.INTER_AREA)
    return whole


# ---------------------------------------------------------------------------------------------------------- its looks


def small(frames):
    """Frames (H, W, 3) at 2 SMALL x SMALL pixels: float32 (N, SMALL, 2 SMALL, 3)."""
    return np.stack([cv2.resize(frame, (2 * SMALL, SMALL), interpolation=cv2.INTER_AREA) for frame in frames],
                    dtype=np.float32, casting="unsafe")


def gap(frames, share):
    """How much more the columns on both sides of a line differ than columns beside each other elsewhere: near
    0 where a picture continues, near 1 where it does not. frames: of `small`; share: its place, of the width."""
    width = frames.shape[2]
    steps = np.abs(frames - np.roll(frames, 1, axis=2)).mean(axis=(0, 1, 3))
    apart = np.abs(frames - np.roll(frames, width // 4, axis=2)).mean()
    line = round(share * width)
    beside = np.median([steps[(line + offset) % width] for offset in (-6, -5, -4, -3, 3, 4, 5, 6)])
    return float((steps[line % width] - beside) / (max(apart - beside, 0) + 1))


def has_dark_corners(frames):
    """Whether both halves of the frames, of `small`, look like the circles of fisheye lenses on black."""
    rows, block = SMALL, SMALL // 10
    edge = np.concatenate([frames[:, :block], frames[:, -block:]], axis=1).mean(axis=(0, 3))
    corners = [edge[half, columns].mean() for half in (np.s_[:block], np.s_[block:])
               for columns in (np.s_[:block], np.s_[rows - block:rows + block], np.s_[-block:])]
    middles = [edge[half, middle - block // 2:middle + block // 2].mean() for half in (np.s_[:block], np.s_[block:])
               for middle in (rows // 2, rows + rows // 2)]
    return max(corners) < DARK and max(middles) > 2 * DARK


def are_poles(frames):
    """Whether the first and the last row of the frames, of `small`, are nearly constant."""
    deviations = frames[:, [0, -1]].std(axis=2).mean(axis=(0, 2))
    return bool(deviations.max() < POLE * (frames.std(axis=(1, 2)).mean() + 1))


def apparent_projection(frames):
    """The setting projection that fits frames (H, W, 3), BGR uint8: the one in which the picture continues across its
    seams; "flat" if none does."""
    height, width = frames[0].shape[:2]
    pictures = small(frames)
    continues, cube_shaped = gap(pictures, 0) < LARGEST_GAP, abs(width / height - 1.5) < 0.1
    if has_dark_corners(pictures):
        return "dual_fisheye"
    if continues and not cube_shaped:
        return "equirectangular"
    gaps = {}
    for projection, seams in SEAMS.items():
        convert = V360(projection, (height, width), rows=SMALL)
        horizon = np.stack([np.float32(convert(frame)) for frame in frames])[:, SMALL // 3:-SMALL // 3]
        gaps[projection] = max(gap(horizon, seam) for seam in seams)
    best = min(gaps, key=gaps.get)
    if gaps[best] < LARGEST_GAP:
        return best
    if continues:
        return "equirectangular"
    return "half_equirectangular" if abs(width / height - 1) < 0.1 and are_poles(pictures) else "flat"


def warn(line):
    """Prints a warning on stderr, above a progress bar."""
    tqdm.write(f"warning: {line}", file=sys.stderr)


def degrees(pose):
    """A pose in words."""
    return "yaw {:.4g}, pitch {:.4g}, roll {:.4g} degrees".format(*pose)


class Views:
    """Turns the frames of a video, upright BGR uint8 (H, W, 3), into equirectangular ones of the left eye.

    It looks at the first ones, and warns once of a video that does not look as it is taken, unless its projection is
    set, or is declared and can be converted. name: of the video; declared: a `Layout`; the settings: see config.py.
    """

    def __init__(self, name, declared, stereo_layout="mono", projection=""):
        self.name, self.layout = name, effective_layout(declared, stereo_layout, projection)
        self.watched, self.filter = None if projection or declared.projection in PROJECTIONS else [], None
        self.unknown = declared.projection
        left, top, right, bottom = self.layout.bounds
        if self.layout.bounds != WHOLE:
            tqdm.write(f"note: {name} shows {360 * (1 - left - right):.0f} x {180 * (1 - top - bottom):.0f} degrees of "
                       "the sphere; the rest is black", file=sys.stderr)
        if self.layout.pose != UPRIGHT:
            tqdm.write(f"note: {name} is turned upright: it declares a pose of {degrees(self.layout.pose)}",
                       file=sys.stderr)

    def __call__(self, frame):
        view = left_eye(frame, self.layout.stereo, self.layout.swapped)
        if self.watched is not None:
            self.frame = frame
            self.watched.append(limit_rows(view, 2 * SMALL))
            if len(self.watched) == WATCHED:
                self.judge()
        projection, pose, padding = self.layout.projection, self.layout.pose, self.layout.padding
        if self.layout.bounds != WHOLE:
            view = whole_sphere(view, self.layout.bounds)
        if projection not in (*FACES, *LENSES) and pose == UPRIGHT:
            return view
        if self.filter is None or self.filter.shape != view.shape[:2]:
            self.filter = V360(projection, view.shape[:2], pose, padding)
        return self.filter(view)

    def judge(self):
        """Warns of what the first frames look like, unless that has been done. To be called at the end of a video, too,
        which may be shorter than a second."""
        if doubt := self.verdict():
            warn(f"{self.name} {doubt}")

    def verdict(self):
        """Why the video may be other than it is taken for, in a few words, or ""; no frame is watched any more."""
        watched, self.watched = self.watched, None
        if not watched:
            return ""
        if self.unknown:
            likely = self.doubt(apparent_projection(watched)) or "is taken for equirectangular"
            return f"declares a {self.unknown} projection, which cannot be converted; it {likely}"
        stereo = apparent_layout(self.frame) if self.layout.stereo == "mono" else "mono"
        if stereo != "mono":
            return f"looks like stereo; if it is, use --stereo_layout={stereo}"
        return self.doubt(apparent_projection(watched))

    def doubt(self, projection):
        """Why views that look like this projection may not be equirectangular, in a few words, or ""."""
        height, width = left_eye(self.frame, self.layout.stereo).shape[:2]
        if projection == "flat":
            return ("does not look like 360° video: its left and right edge do not meet; if it has another projection, "
                    "set --projection")
        if projection != "equirectangular":
            return f"does not look equirectangular; if it is not, use --projection={projection}"
        if abs(width / height / 2 - 1) > 0.05:
            return (f"is {width} x {height} pixels, not twice as wide as high, and is taken for a stretched "
                    "equirectangular video; if it is none, set --projection")
        return ""
