"""Random symmetries of a panorama that keep north up: a turn about the vertical axis, which rolls the columns, and the
mirror image, which swaps east and west. In a mirror motion goes the other way, so the colours of the flow change."""

from functools import lru_cache

import numpy as np
import torch

# Where red, yellow, green, cyan, blue and magenta lie on the colour wheel of flow images (Baker et al., IJCV 2011), and
# red again, in steps of which the wheel has 55. In between, the hue changes linearly; white is no motion.
ANCHORS = (0, 15, 21, 25, 36, 49, 55)
SPAN = 54  # steps that the directions of motion span: rightward is 0, down (of 54) 13.5, leftward 27, up 40.5


@lru_cache
def _anchors(dtype, device):
    return torch.tensor(ANCHORS, dtype=dtype, device=device)


def _wheel_position(red, green, blue, low, high):
    """The step on the wheel, in [0, 55], of each colour. Grey has no hue; its step means nothing."""
    span = (high - low).clamp(min=1e-6)
    hue = torch.where(red == high, (green - blue) / span % 6,
                      torch.where(green == high, 2 + (blue - red) / span, 4 + (red - green) / span))  # [0, 6)
    anchors = _anchors(hue.dtype, hue.device)
    sextant = hue.floor().clamp(0, 5).long()
    return torch.lerp(anchors[sextant], anchors[sextant + 1], hue - sextant)


def _hue(position):
    """The hue in [0, 6] (red 0, yellow 1, ... magenta 5, red 6) at a step of the wheel: the inverse of
    `_wheel_position`."""
    anchors = _anchors(position.dtype, position.device)
    sextant = torch.bucketize(position, anchors[1:-1], right=True)
    return sextant + (position - anchors[sextant]) / (anchors[sextant + 1] - anchors[sextant])


def mirror_colours(flow):
    """The colours of the motion (-u, v), given the colours of (u, v): (..., 3, H, W) BGR in [0, 1], both.

    A flow colour is a pure hue, which tells the direction, blended with white by speed: its largest and its smallest
    channel tell the speed and stay. If a direction is at step k of the wheel, the mirrored one is at step 81 - k.
    This is exact for flow that was not resized, up to its 8 bits; a blend of two colours has about their mean hue.
    """
    blue, green, red = flow.unbind(-3)
    low, high = flow.amin(-3), flow.amax(-3)
    position = _wheel_position(red, green, blue, low, high)
    hue = _hue((1.5 * SPAN - position) % SPAN)
    strengths = torch.stack([2 - (hue - 4).abs(), 2 - (hue - 2).abs(), (hue - 3).abs() - 1], dim=-3).clamp(0, 1)
    return low.unsqueeze(-3) + (high - low).unsqueeze(-3) * strengths


def mirror(clip):
    """The clip (T, 3 or 6, H, W) with east and west swapped. The flow's colours become those of the mirrored motion."""
    clip = clip.flip(-1)
    frames, flow = clip[:, :3], clip[:, 3:]
    return torch.cat([frames, mirror_colours(flow)], dim=1) if flow.shape[1] else frames


def augment(clips, targets, keys, random_yaw, random_mirror):
    """Turns and mirrors each clip with its target. A turn is by an even number of columns, since a model's map has one
    value for two columns. The draw of a clip depends only on its key, a tuple of ints, so it is the same in every
    batch, process or resumed run.

    clips (B, T, 3 or 6, H, W): BGR frame and BGR flow, floats in [0, 1]; targets (B, T, H, W). Returns both.
    """
    pairs = []
    for clip, target, key in zip(clips, targets, keys):
        generator = np.random.default_rng(key)
        shift, flip = 2 * int(generator.integers(clip.shape[-1] // 2)), bool(generator.integers(2))
        if random_yaw:
            clip, target = clip.roll(shift, dims=-1), target.roll(shift, dims=-1)
        if random_mirror and flip:
            clip, target = mirror(clip), target.flip(-1)
        pairs.append((clip, target))
    clips, targets = zip(*pairs)
    return torch.stack(clips), torch.stack(targets)
