"""TODO"""

import cv2
import numpy as np

# -------------------------------------------------------------------------------------------------------- colour images


RADIUS = 256  # pixels of the colour wheel; more would not show in 8 bits


def make_colour_wheel():
    """The colours of all flows of length up to 1, as a picture to read them from: BGR uint8 (2 * RADIUS + 2,
    2 * RADIUS + 1), rest in the middle, full saturation on the circle. Colours jump where the direction is due right,
    so that row stands there twice: as the end of all flows upwards, and as the beginning of those downwards."""
    red_to_red = [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]
    corners = 255 * np.array(red_to_red)
    hues = [corner + np.sign(following - corner) * np.floor(255 * np.arange(count) / count)[:, None]
            for corner, following, count in zip(corners, corners[1:], (15, 6, 4, 11, 13, 6))]
    hues = np.concatenate(hues)  # (55, 3), from due right, by down, left and up, to almost due right
    u, v = np.arange(-RADIUS, RADIUS + 1), np.arange(RADIUS + 1)[:, None]
    turned = np.arctan2(v, -u)  # (RADIUS + 1, 2 * RADIUS + 1): half the wheel, downwards; 0 is due left, pi due right
    turned = np.concatenate([np.flipud(turned), -turned])
    hue = (turned / np.pi + 1) / 2 * (len(hues) - 1)
    pure = np.stack([np.interp(hue, np.arange(len(hues)), channel) for channel in hues.T], axis=2)
    length = np.hypot(u, np.concatenate([np.flipud(v), v]))[..., None] / RADIUS
    return np.clip(255 - length * (255 - pure), 0, 255).astype(np.uint8)


COLOUR_WHEEL = make_colour_wheel()


def flow_to_colour(flow):
    """Colour image of a flow (H, W, 2), float32, relative to its largest motion: BGR uint8 (H, W, 3).

    What `torchvision.utils.flow_to_image` gives (in RGB), within one grey level, several times faster; and without
    PyTorch's threads, which wait for each other where every core has a pair of frames to work on already.
    """
    u, v = cv2.split(flow)
    scale = RADIUS / (cv2.magnitude(u, v).max() + np.finfo(np.float32).eps)
    column, row = RADIUS + scale * u, RADIUS + scale * v + (v >= 0)
    return cv2.remap(COLOUR_WHEEL, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
