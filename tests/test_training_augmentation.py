"""Turned and mirrored clips, and the colours of mirrored flow."""

import pytest
import torch
from torchvision.utils import flow_to_image

from training.augmentation import augment, mirror, mirror_colours


def colours(flow):
    """Flow images as the model reads them: (N, 2, H, W) pixels -> (N, 3, H, W) BGR in [0, 1]."""
    return flow_to_image(flow).flip(1).float() / 255


def random_flow(seed):
    return 3 * torch.randn(2, 2, 30, 44, generator=torch.Generator().manual_seed(seed))


def test_mirrored_colours_are_those_of_the_mirrored_motion():
    flow = random_flow(0)
    expected = colours(flow * torch.tensor([-1.0, 1.0])[:, None, None])
    difference = (mirror_colours(colours(flow)) - expected).abs() * 255
    assert difference.mean() < 0.5  # grey levels; a level lost to 8 bits grows by up to 15/4, the ratio of arc lengths
    assert difference.quantile(0.99) < 4
    assert (colours(flow) - expected).abs().mean() * 255 > 20  # so that the test can fail


@pytest.mark.parametrize("u, v", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-2, 1), (1, -3)])
def test_mirrored_colour_of_each_direction(u, v):
    flow = torch.tensor([[u, v], [-u, v]], dtype=torch.float32)[:, :, None, None]
    flow = flow_to_image(flow).flip(1).float() / 255
    torch.testing.assert_close(mirror_colours(flow[:1]), flow[1:], atol=0.12, rtol=0)


def test_mirroring_twice_and_no_motion():
    flow = colours(random_flow(1))
    difference = (mirror_colours(mirror_colours(flow)) - flow).abs()
    assert difference.quantile(0.999) < 1e-4  # all but motion due right, where the wheel's 55th step joins its ends
    assert difference.max() < 0.2
    white = torch.full((3, 4, 6), 0.8)
    torch.testing.assert_close(mirror_colours(white), white)


def test_mirror_flips_frames_and_keeps_the_speed_of_flow():
    frames, flow = torch.rand(2, 3, 30, 44), colours(random_flow(2))
    mirrored = mirror(torch.cat([frames, flow], dim=1))
    torch.testing.assert_close(mirrored[:, :3], frames.flip(-1))
    torch.testing.assert_close(mirrored[:, 3:].amin(1), flow.flip(-1).amin(1))
    torch.testing.assert_close(mirror(frames), frames.flip(-1))


def batch(B=3, T=2, C=3, H=6, W=10):
    return torch.rand(B, T, C, H, W), torch.rand(B, T, H, W)


def test_yaw_rolls_clip_and_target_alike():
    clips, _ = batch()
    keys = [(0, 5, index) for index in range(3)]
    turned, targets = augment(clips, clips[:, :, 0], keys, random_yaw=True, random_mirror=False)
    torch.testing.assert_close(turned[:, :, 0], targets)
    shifts = []
    for clip, before in zip(turned, clips):
        shifts += [shift for shift in range(10) if torch.equal(clip, before.roll(shift, -1))]
    assert len(shifts) == 3 and len(set(shifts)) > 1 and not any(shift % 2 for shift in shifts)


def test_draws_depend_on_the_key_alone():
    clips, targets = batch()
    keys = [(0, 5, index) for index in range(3)]
    together = augment(clips, targets, keys, True, True)
    alone = augment(clips[1:2], targets[1:2], keys[1:2], True, True)
    torch.testing.assert_close(alone[0][0], together[0][1])
    torch.testing.assert_close(alone[1][0], together[1][1])


def test_mirror_hits_about_half_of_the_clips():
    ramp = torch.arange(10.0).expand(64, 1, 3, 2, 10)
    mirrored, targets = augment(ramp, ramp[:, :, 0], [(0, 0, index) for index in range(64)], False, True)
    share = (mirrored[:, 0, 0, 0, 0] == 9).float().mean()
    assert 0.3 < share < 0.7
    torch.testing.assert_close(mirrored[:, :, 0], targets)


def test_no_augmentation_is_the_identity():
    clips, targets = batch()
    same = augment(clips, targets, [(0, 0, 0)] * 3, False, False)
    assert torch.equal(same[0], clips) and torch.equal(same[1], targets)
