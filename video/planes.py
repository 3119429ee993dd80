"""Pictures on their way to an encoder: planes of luma, 16 to 235, and of chroma (yuv420p), half the bytes of BGR.

A picture knows by which matrix it was made from red, green and blue: BT.709's, that of BT.601, or, where its video does
not say so (UNSPECIFIED), again that of BT.601, which FFmpeg takes for it.
"""

import av
import numpy as np
from av.video.reformatter import Interpolation

BT709, UNSPECIFIED, BT470BG, SMPTE170M = 1, 2, 5, 6     # FFmpeg's numbers; the last two have the matrix of BT.601
FULL_RANGE = 2          # FFmpeg's number for levels from 0 to 255
BLACK = 16, 128, 128    # in each plane
# Without the latter two, FFmpeg truncates: blues are visibly darker.
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def even_size(height, width, max_height):
    """(height, width) of a frame that is reduced to at most max_height rows: both even."""
    scale = min(1.0, max_height / height)
    return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def size_of(frame):
    """(height, width) of a frame as `to_planes` takes it."""
    return frame.shape[:2] if isinstance(frame, np.ndarray) else (frame.height, frame.width)


def are_planes(picture):
    """Whether a decoded `av.VideoFrame` is a picture as this module has them."""
    return (picture.format.name == "yuv420p" and picture.color_range != FULL_RANGE
            and picture.colorspace in (BT709, UNSPECIFIED, BT470BG, SMPTE170M))


def to_planes(frame, size):
    """A frame, BGR uint8 (H, W, 3) or such a picture, as a picture of `size`, (height, width), both even. What was BGR
    is BT.709 then."""
    height, width = size
    if not isinstance(frame, np.ndarray):
        return frame.reformat(width, height, interpolation=SCALING, threads=1)
    picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
    return picture.reformat(width, height, "yuv420p", dst_colorspace="ITU709", interpolation=SCALING, threads=1)


def arrays_of(picture):
    """The planes of a picture, in whose memory they are: uint8 (H, W), and twice (H / 2, W / 2)."""
    return [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :plane.width]
            for plane in picture.planes]


def black(size, picture):
    """A black picture of `size`, (height, width), both even, with the matrix of another picture."""
    made = av.VideoFrame(*size[::-1], "yuv420p")
    made.colorspace = picture.colorspace
    for plane, level in zip(arrays_of(made), BLACK):
        plane[:] = level
    return made


def conversion(picture):
    """The matrix from blue, green and red, 0 to 255, to the planes of a picture, less `BLACK`: float64 (3, 3)."""
    red, blue = (0.2126, 0.0722) if picture.colorspace == BT709 else (0.299, 0.114)
    luma = np.array([blue, 1 - red - blue, red])
    chroma = [(np.eye(3)[channel] - luma) / (2 - 2 * share) for channel, share in ((0, blue), (2, red))]
    return np.stack([219 * luma, 224 * chroma[0], 224 * chroma[1]]) / 255
