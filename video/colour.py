"""From a decoded picture of FFmpeg to a frame: BGR uint8 (H, W, 3), upright, of standard dynamic range.

The conversion of 8-bit video is FFmpeg's default, which gives the frames that the published weights were trained on.
High dynamic range becomes BT.709. An HLG signal is the root of the light, as that of BT.709 nearly is, with a knee for
highlights (ITU-R BT.2100): it keeps its levels, and only its primaries are converted. PQ becomes HLG first.
"""

from functools import cache

import cv2
import numpy as np

PQ, HLG = 16, 18            # FFmpeg's numbers for the transfer functions
BT709, BT2020 = 1, 9        # FFmpeg's numbers for primaries and matrices
PEAK = 1000                 # nits of the brightest highlight of HLG
TO_BT709 = np.float32([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # RGB


def to_bgr(picture):
    """The frame of an `av.VideoFrame`, BGR uint8 (H, W, 3)."""
    if picture.color_trc not in (PQ, HLG):
        return upright(picture.to_ndarray(format="bgr24"), picture)
    matrix = None if picture.colorspace in (BT709, BT2020) else BT2020
    light = linear_light(picture.color_trc)[picture.reformat(format="rgb48le", src_colorspace=matrix).to_ndarray()]
    if picture.color_primaries != BT709:
        light = cv2.transform(light, TO_BT709)
    levels = np.sqrt(np.clip(light, 0, 1)) * 255 + 0.5
    return upright(np.ascontiguousarray(levels.astype(np.uint8)[..., ::-1]), picture)


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
    return next((np.frombuffer(bytes(data), np.int32) for data in picture.side_data if data.type.name == kind), None)


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
