"""Optical flow as colour images: direction is the hue and length the saturation (Baker et al., IJCV 2011), relative to
the largest motion in the frame, as in the training data of the published weights. No motion is white."""

import cv2
import numpy as np

RADIUS = 256  # of the picture of the colour wheel, pixels; a larger one changes nothing in 8 bits


def make_colour_wheel():
    """A picture of the colours of all flows of length up to 1: BGR uint8 (2 * RADIUS + 2, 2 * RADIUS + 1). No motion is
    in the middle, length 1 on the circle. The colour jumps where the direction is exactly right, so the picture has
    that row twice: first as the end of all upward flows, then as the beginning of all downward ones."""
    red_to_red = [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]
    corners = 255 * np.array(red_to_red)
    hues = [corner + np.sign(following - corner) * np.floor(255 * np.arange(count) / count)[:, None]
            for corner, following, count in zip(corners, corners[1:], (15, 6, 4, 11, 13, 6))]
    hues = np.concatenate(hues)  # (55, 3), from right by down, left and up to almost right
    u, v = np.arange(-RADIUS, RADIUS + 1), np.arange(RADIUS + 1)[:, None]
    angle = np.arctan2(v, -u)  # (RADIUS + 1, 2 * RADIUS + 1), of the lower half: 0 is left, pi is right
    angle = np.concatenate([np.flipud(angle), -angle])
    hue = (angle / np.pi + 1) / 2 * (len(hues) - 1)
    pure = np.stack([np.interp(hue, np.arange(len(hues)), channel) for channel in hues.T], axis=2)
    length = np.hypot(u, np.concatenate([np.flipud(v), v]))[..., None] / RADIUS
    return np.clip(255 - length * (255 - pure), 0, 255).astype(np.uint8)


COLOUR_WHEEL = make_colour_wheel()


def flow_to_colour(flow):
    """The colour image of a flow (H, W, 2), float32, relative to its largest motion: BGR uint8 (H, W, 3).

    It is what `torchvision.utils.flow_to_image` returns (in RGB), within one grey level, but several times faster, and
    without PyTorch's threads, which would compete for the cores when each core already has a pair of frames.
    """
    u, v = cv2.split(flow)
    scale = RADIUS / (cv2.magnitude(u, v).max() + np.finfo(np.float32).eps)
    column, row = RADIUS + scale * u, RADIUS + scale * v + (v >= 0)
    return cv2.remap(COLOUR_WHEEL, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
