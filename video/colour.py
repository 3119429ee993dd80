"""From a decoded picture of FFmpeg to a frame: BGR uint8 (H, W, 3), upright, of standard dynamic range.

The conversion of 8-bit video is FFmpeg's default, which gives the frames that the published weights were trained on.
High dynamic range becomes BT.709. An HLG signal is the root of the light, as that of BT.709 nearly is, with a knee for
highlights (ITU-R BT.2100): it keeps its levels, and only its primaries are converted. PQ becomes HLG first. Colours
that BT.709 does not have are not clipped, which would take the drawing from them, but drawn in (ITU-R BT.2407).
"""

from functools import cache

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer

from video.planes import BT709, are_planes

PQ, HLG = 16, 18            # FFmpeg's numbers for the transfer functions
BT2020 = 9                  # FFmpeg's number for these primaries and this matrix, as `BT709`
STRIP = 8                   # rows that are converted at a time: they fit a core's cache
PEAK = 1000                 # nits of the brightest highlight of HLG
OUTSIDE = 0.01              # share of a picture's pixels whose colours BT.709 need not have: they are clipped
TO_BT709 = np.float32([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # RGB


def to_bgr(picture):
    """The frame of an `av.VideoFrame`, BGR uint8 (H, W, 3)."""
    if picture.color_trc not in (PQ, HLG):
        return upright(picture.to_ndarray(format="bgr24"), picture)
    matrix = None if picture.colorspace in (BT709, BT2020) else BT2020
    signal = picture.reformat(format="rgb48le", src_colorspace=matrix).to_ndarray()
    light, frame = linear_light(picture.color_trc), np.empty(signal.shape, np.uint8)
    to_rgb = np.eye(3) if picture.color_primaries == BT709 else conversion(light[signal[::8, ::8]])
    for row in range(0, len(frame), STRIP):
        strip = light.take(signal[row:row + STRIP], mode="clip")  # twice as fast as an index: nothing is checked
        strip = cv2.transform(strip, to_rgb[::-1])  # BGR
        frame[row:row + STRIP] = np.sqrt(strip.clip(0, 1, out=strip), out=strip) * 255 + 0.5
    return upright(frame, picture)


def shows_planes(picture):
    """Whether the frame of an `av.VideoFrame` shows its planes as they are, and `video.planes` knows these."""
    return are_planes(picture) and picture.color_trc not in (PQ, HLG) and side_data(picture, "DISPLAYMATRIX") is None


def conversion(light):
    """The matrix from the primaries of BT.2020 to those of BT.709 for the light of a picture, RGB float32 (h, w, 3).
    It makes colours as much less saturated as it takes for all but `OUTSIDE` of the pixels to exist in BT.709."""
    light = light.reshape(-1, 3)
    converted = light @ TO_BT709.T
    way = np.where(converted < 0, light / np.maximum(light - converted, 1e-9), 1).min(axis=1)
    strength = np.quantile(way, OUTSIDE, method="lower")
    return np.float32(strength * TO_BT709 + (1 - strength) * np.eye(3))


@cache
def linear_light(transfer):
    """The light of a scene for each signal of 16 bits, as the square of an HLG signal: float32 (65536,)."""
    signal = np.arange(65536) / 65535
    if transfer == PQ:
        root = signal ** (1 / 78.84375)
        nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        scene = np.minimum(nits / PEAK, 1) ** (1 / 1.2)
        knee = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), knee)
    return np.float32(signal ** 2)


def side_data(picture, kind):
    """The numbers of a picture's side data, int32, or None; kind: FFmpeg's name, such as "SPHERICAL"."""
    found = SideDataContainer(picture)  # picture.side_data would hold the picture, and the picture that: for long
    return next((np.frombuffer(bytes(data), np.int32) for data in found if data.type.name == kind), None)


def upright(frame, picture):
    """The frame, turned and mirrored as the display matrix of its picture says, to the nearest right angle."""
    matrix = side_data(picture, "DISPLAYMATRIX")
    if matrix is None:
        return frame
    a, b, _, c, d = matrix[:5].tolist()  # (x, y) is shown at (a x + c y, b x + d y)
    if abs(b) > abs(a):
        frame, right, down = frame.transpose(1, 0, 2), c, b
    else:
        right, down = a, d
    return np.ascontiguousarray(frame[::-1 if down < 0 else 1, ::-1 if right < 0 else 1])
