"""Where the picture changes between two frames: elsewhere nothing moves, though DIS finds motion in the noise."""

import cv2
import numpy as np

ROWS = 192              # that change is looked for on, at most; sizes below are pixels of so many rows
SMOOTHING = 1.0         # standard deviation of the Gaussian that averages noise out
NEAR = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))     # how far around a change flow is kept: 3 degrees
NOISE = 0.25, 1.0       # least and largest noise, after smoothing, grey levels: encoders round to whole ones, and more
#                         noise cannot be told from motion
QUARTILE = 0.3186       # a quarter of normally distributed values are nearer to 0 than so many standard deviations
CAMERA = 0.3, 0.6       # a camera moves where so much of what has texture changes: from none of the gate opened to all


def smoothed(image, size):
    """The image, reduced to `size`, (width, height), and smoothed: float32."""
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
    return cv2.GaussianBlur(image, (0, 0), SMOOTHING)


def exposure_change(grey, change):
    """How much of the change of each pixel another exposure explains: a straight line over its grey level, through the
    medians of the darker and of the brighter half, which what moves does not bend. All (H, W), grey levels."""
    samples, changes = grey[::4, ::4], change[::4, ::4]
    bright = samples > np.median(samples)
    if not bright.any():
        return np.median(changes)
    dark_level, bright_level = samples[~bright].mean(), samples[bright].mean()
    dark_change, bright_change = np.median(changes[~bright]), np.median(changes[bright])
    return dark_change + (grey - dark_level) * ((bright_change - dark_change) / (bright_level - dark_level))


def change_gate(first, second):
    """The factor in [0, 1] by which to multiply the flow of each pixel of a pair of grey frames (H, W), uint8, that are
    wrapped around: (H, W), float32. It is 1 where the picture changes, and 0 where it rests:

        change  = |smoothed (second - first) - what another exposure explains|
        noise   = the lower quartile of the change / 0.3186, its standard deviation where most of the picture rests
        gate    = (change / (4 noise) - 1, from 0 to 1), the largest within 3 degrees

    So it opens from 4 to 8 times the noise. Where a camera moves, flow is kept everywhere, in a blue sky too: the gate
    opens as far as 30 to 60 % of what has texture (a slope of more than 4 noises a pixel) changes.
    """
    height, width = first.shape
    rows = min(height, ROWS)
    size = round(width * rows / height), rows
    grey, change = smoothed(first, size), smoothed(cv2.subtract(second, first, dtype=cv2.CV_32F), size)
    change = np.abs(change - exposure_change(grey, change))
    least = 4 * float(np.clip(np.percentile(change[::4, ::4], 25) / QUARTILE, *NOISE))
    gate = cv2.dilate(np.uint8(255 * np.clip(change / least - 1, 0, 1)), NEAR)
    slope = cv2.magnitude(*(cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))))
    share = cv2.mean(gate, np.uint8(slope > least))[0] / 255  # 0 where nothing has texture
    camera = np.clip((share - CAMERA[0]) / (CAMERA[1] - CAMERA[0]), 0, 1)
    gate = cv2.resize(np.maximum(gate, np.uint8(255 * camera)), (width, height), interpolation=cv2.INTER_LINEAR)
    return gate / np.float32(255)
