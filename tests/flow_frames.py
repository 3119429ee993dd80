"""Frames of which the tests of flow know the motion, as arrays and as folders of images."""

import cv2
import numpy as np
import torch

from flow.folders import make_flow
from flow.methods import FlowSettings

CPU = torch.device("cpu")


def texture(height, width, seed=0):
    """A BGR image that continues across its left and right edge."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(np.tile(noise, (1, 3, 1)), (0, 0), 2)[:, width : 2 * width]
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moving(count, height=40, width=88, step=3):
    return [np.roll(texture(height, width), step * index, axis=1) for index in range(count)]


def write_frames(folder, identity, frames, first=0):
    """frames_dir/ID/ID_N.png, every fourth number."""
    (folder / identity).mkdir(parents=True)
    paths = [folder / identity / f"{identity}_{first + 4 * index:04d}.png" for index in range(len(frames))]
    for path, frame in zip(paths, frames):
        assert cv2.imwrite(str(path), frame)
    return paths


def flow_settings_of(method, weights="", rows=1024, save_raw=False):
    """`FlowSettings` that make what is missing."""
    return FlowSettings(method, weights, rows, save_raw, compute=True, folder="")


def make(tmp_path, ids, method="dis", weights="", rows=1024, save_raw=False):
    """Makes tmp_path/flow of tmp_path/frames on the CPU and returns the problems."""
    settings = flow_settings_of(method, weights, rows, save_raw)
    return make_flow(tmp_path / "frames", tmp_path / "flow", ids, settings, CPU)


def levels_apart(a, b):
    """Largest difference of uint8 images. Modulo 256: torchvision's fullest colours may come out as -1 = 255."""
    return np.abs((a.astype(np.int16) - b + 128) % 256 - 128).max()


def names(folder):
    return sorted(path.name for path in folder.iterdir())
