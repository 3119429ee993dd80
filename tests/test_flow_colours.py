import numpy as np
import torch
from flow_frames import levels_apart
from hypothesis import given
from hypothesis import strategies as st
from torchvision.utils import flow_to_image

from flow.colours import flow_to_colour


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1e-3, 1, 300]))
def test_colours_are_those_of_torchvision(seed, height, width, scale):
    flow = scale * np.random.default_rng(seed).normal(size=(height, width, 2)).astype(np.float32)
    rgb = flow_to_image(torch.from_numpy(flow).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert levels_apart(flow_to_colour(flow), rgb[..., ::-1]) <= 1


def test_colours_of_all_directions_and_lengths_are_those_of_torchvision():
    angle = np.linspace(-np.pi, np.pi, 2001)[:, None]
    length = np.append(np.linspace(0, 0.02, 50), np.linspace(0.02, 1, 200))
    flow = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=2).astype(np.float32)
    slight = np.array([1e-6, 1e-3, 0, -1e-6, -1e-3], np.float32)  # up or down: on either side of the colours' jump
    flow = np.concatenate([flow, *(np.stack([flow[..., 0], np.full_like(flow[..., 1], v)], axis=2) for v in slight)])
    rgb = flow_to_image(torch.from_numpy(flow).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert levels_apart(flow_to_colour(flow), rgb[..., ::-1]) <= 1


def test_colours_of_known_motions():
    motions = np.array([[[2, 0], [-2, 0], [1, 0], [0, 0]]], np.float32)
    right, left, half, none = flow_to_colour(motions)[0].tolist()
    assert right == [0, 0, 255]  # BGR: red in a viewer
    assert left[0] == 255 and left[2] == 0
    assert half in ([127, 127, 255], [128, 128, 255])
    assert none == [255, 255, 255]


def test_no_motion_is_white_and_every_frame_is_its_own_measure():
    flow = np.random.default_rng(0).normal(size=(5, 8, 2)).astype(np.float32)
    assert (flow_to_colour(np.zeros((5, 8, 2), np.float32)) == 255).all()
    assert levels_apart(flow_to_colour(flow), flow_to_colour(7 * flow)) <= 1
