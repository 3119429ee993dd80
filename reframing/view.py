"""What a virtual camera sees of an equirectangular frame: the central projection of `sphere.py`'s directions onto a
picture whose horizon is level. Angles in radians, degrees where it is said."""

import math

import cv2
import numpy as np

from sphere import sphere_to_pixel
from video.resize import limit_rows

STEP = 8        # pixels; positions are computed at every eighth one and interpolated: 0.01 pixels off, at a pole 1
FINEST = 1.25   # pixels of a frame on one of the picture, at its middle: finer frames are reduced first


def half_extents(field_of_view, size):
    """Half of a picture's height and width at distance 1 from the eye. field_of_view: its width, degrees; size: its
    (height, width)."""
    right = math.tan(math.radians(field_of_view) / 2)
    return right * size[0] / size[1], right


def turned(right, up, lat):
    """(latitude, longitude from the camera's) of points on the picture of a camera at latitude `lat`. right, up: how
    far they are from its middle, at distance 1 from the eye."""
    ahead = math.cos(lat) - up * math.sin(lat)
    return np.arctan2(math.sin(lat) + up * math.cos(lat), np.hypot(right, ahead)), np.arctan2(right, ahead)


class View:
    """Called with a frame, BGR uint8 (H, W, 3), and a direction, it returns what a camera sees there: BGR uint8
    (*size, 3). size: (height, width), multiples of STEP; field_of_view: of the width, degrees."""

    def __init__(self, size, field_of_view):
        self.size = height, width = size
        y, x = half_extents(field_of_view, size)
        self.rows = math.ceil(FINEST * math.pi * width / 2 / x)  # of a frame, at most
        right, up = ((np.arange(-1, count // STEP + 1) * STEP + STEP / 2) / count * 2 - 1 for count in (width, height))
        self.right, self.up = np.meshgrid(np.float32(x * right), np.float32(-y * up))  # with one more all around

    def positions(self, lon, lat, height, width):
        """Where each pixel is read in a frame of that size: (column, row) float32 (*size, 2), in the frame or half a
        pixel outside."""
        latitudes, longitudes = turned(self.right, self.up, lat)
        longitudes += (lon + math.pi) % (2 * math.pi) - math.pi
        rows, columns = sphere_to_pixel(latitudes, longitudes, height, width)
        larger = tuple(count + 2 * STEP for count in self.size[::-1])
        places = cv2.resize(np.stack([columns, rows], axis=-1), larger)[STEP:-STEP, STEP:-STEP]
        if np.abs(latitudes).max() > math.pi / 2 * (1 - 1 / height):
            places[..., 1] = places[..., 1].clip(0, height - 1)
        if columns.min() < -0.5:
            places[..., 0] += np.float32(width) * (places[..., 0] < -0.5)
        if columns.max() >= width - 0.5:
            places[..., 0] -= np.float32(width) * (places[..., 0] >= width - 0.5)
        return places

    def __call__(self, frame, lon, lat):
        frame = limit_rows(frame, self.rows)
        return cv2.remap(frame, self.positions(lon, lat, *frame.shape[:2]), None, cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_WRAP)
