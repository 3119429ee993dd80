"""The choice of a method, and the colour images of a stream of frames."""

from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
import torch
from flow_frames import CPU, flow_settings_of, make, moving, texture, write_frames

from flow import raft
from flow.methods import choose_method, flow_images, load_flows
from model import load_model
from video.decode import all_frames


def test_automatic_method(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    gpu = torch.device("cuda")
    assert choose_method("", CPU) == choose_method("", gpu) == "dis_gated"
    cached, _ = raft.torchvision_weights("raft_large")
    cached.parent.mkdir()
    cached.touch()
    assert choose_method("", gpu) == "raft_large" and choose_method("", CPU) == "dis_gated"
    assert choose_method("dis", gpu) == "dis" and choose_method("raft_small", CPU) == "raft_small"


@pytest.mark.parametrize("method", ["dis", "dis_gated"])
def test_streamed_flow_images_are_the_written_ones(tmp_path, method):
    frames = moving(5, height=60, width=120)
    frames[2] = frames[1]  # which a gate takes for rest
    paths = write_frames(tmp_path / "frames", "000", frames)
    make(tmp_path, ["000"], method, rows=48)
    flows = load_flows(flow_settings_of(method), CPU)
    streamed = list(flow_images(iter(frames), flows, 48))
    written = [cv2.imread(str(tmp_path / "flow" / "000" / path.name)) for path in paths]
    assert streamed[0].shape == (48, 96, 3)
    np.testing.assert_array_equal(streamed, written)
    assert (streamed[1] == 255).all() or method == "dis"
    np.testing.assert_array_equal(flows.of_pair(frames[:2]), next(flows([frames[:2]])))


def test_streams_of_one_frame_and_of_none():
    flows = load_flows(flow_settings_of("dis"), CPU)
    (image,) = flow_images([texture(20, 40)], flows, 1024)
    assert image.shape == (20, 40, 3) and (image == 255).all()
    assert list(flow_images([], flows, 1024)) == []


def test_dis_leaves_opencvs_threads_as_they_were():
    before = cv2.getNumThreads()
    list(load_flows(flow_settings_of("dis"), CPU)(pairwise(moving(3))))
    assert cv2.getNumThreads() == before


def test_published_model_sees_the_same_in_our_flow_of_a_clip(shared):
    golden, first, count = shared / "golden" / "inference", 264, 8
    frames = list(islice(all_frames(shared / "clips" / "alcatraz.mp4"), first, first + 4 * count, 4))
    numbers = range(first, first + 4 * count, 4)
    golden_flow = [cv2.imread(str(golden / "optical_flow" / "000" / f"000_{number:04d}.png")) for number in numbers]
    our_flow = list(flow_images([*frames, frames[-1]], load_flows(flow_settings_of("dis"), CPU), 1024))[:count]
    model = load_model(shared / "released" / "SST_Sal.pth", CPU)
    maps = []
    for flows in (golden_flow, our_flow):
        images = [np.concatenate([cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) for image in pair], 2)
                  for pair in zip(frames, flows)]
        clip = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)[None] / 255  # (1, T, 6, H, W)
        with torch.no_grad():
            maps.append(model(clip)[0, :, 0].flatten(1).numpy())
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(*maps)]
    print(np.mean(correlations), correlations)
    assert np.mean(correlations) > 0.9


def test_torchvision_is_imported_only_where_raft_is_used():
    """It takes 160 MB of memory."""
    assert not hasattr(raft, "torchvision")
