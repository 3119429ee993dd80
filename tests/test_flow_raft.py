"""RAFT: its weights under two sets of names, its padding and its batches."""

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from flow_frames import CPU, flow_settings_of, make, moving, names, texture, write_frames
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from flow import raft
from flow.colours import flow_to_colour
from flow.methods import load_flows
from flow.raft import RaftFlows, load_raft, raft_padding, rename_original


def original_encoder(prefix, small, norm, output):
    """Names and shapes of an encoder's parameters as RAFT's authors have them."""
    widths = (32, 32, 64, 96) if small else (64, 64, 96, 128)

    def conv(name, out, inputs, size):
        return {f"{name}.weight": (out, inputs, size, size), f"{name}.bias": (out,)}

    def batch_norm(name, width):
        kinds = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,)) | {"num_batches_tracked": ()}
        return {f"{name}.{kind}": shape for kind, shape in kinds.items()} if norm == "batch" else {}

    shapes = conv(f"{prefix}.conv1", widths[0], 3, 7) | batch_norm(f"{prefix}.norm1", widths[0])
    for layer in (1, 2, 3):
        for block in (0, 1):
            name, out = f"{prefix}.layer{layer}.{block}", widths[layer]
            inputs = out if block else widths[layer - 1]
            if small:
                quarter = out // 4
                shapes |= conv(f"{name}.conv1", quarter, inputs, 1) | conv(f"{name}.conv2", quarter, quarter, 3)
                shapes |= conv(f"{name}.conv3", out, quarter, 1)
            else:
                shapes |= conv(f"{name}.conv1", out, inputs, 3) | conv(f"{name}.conv2", out, out, 3)
                shapes |= batch_norm(f"{name}.norm1", out) | batch_norm(f"{name}.norm2", out)
            if layer > 1 and block == 0:
                shapes |= conv(f"{name}.downsample.0", out, inputs, 1)
                shapes |= batch_norm(f"{name}.downsample.1", out) | batch_norm(f"{name}.norm3", out)
    return shapes | conv(f"{prefix}.conv2", output, widths[3], 1)


def original_shapes(small):
    """Names and shapes in the state dict of raft-small.pth, or raft-things.pth and its like."""
    hidden, context, motion = (96, 64, 82) if small else (128, 128, 128)
    correlation = 4 * (2 * (3 if small else 4) + 1) ** 2
    layers = {
        "encoder.convc1": (96, correlation, 1, 1), "encoder.convf1": (64, 2, 7, 7), "encoder.convf2": (32, 64, 3, 3),
        "encoder.conv": (80, 128, 3, 3), "flow_head.conv1": (128, 96, 3, 3), "flow_head.conv2": (2, 128, 3, 3),
    } if small else {
        "encoder.convc1": (256, correlation, 1, 1), "encoder.convc2": (192, 256, 3, 3),
        "encoder.convf1": (128, 2, 7, 7), "encoder.convf2": (64, 128, 3, 3), "encoder.conv": (126, 256, 3, 3),
        "flow_head.conv1": (256, 128, 3, 3), "flow_head.conv2": (2, 256, 3, 3),
        "mask.0": (256, 128, 3, 3), "mask.2": (576, 256, 1, 1),
    }
    for gate in "zrq":
        for suffix, kernel in {"": (3, 3)}.items() if small else {"1": (1, 5), "2": (5, 1)}.items():
            layers[f"gru.conv{gate}{suffix}"] = (hidden, hidden + context + motion, *kernel)
    shapes = original_encoder("fnet", small, "none" if small else "instance", 128 if small else 256)
    shapes |= original_encoder("cnet", small, "none" if small else "batch", hidden + context)
    for name, shape in layers.items():
        shapes |= {f"update_block.{name}.weight": shape, f"update_block.{name}.bias": shape[:1]}
    return shapes


def original_state(small):
    """A randomly filled state dict as the authors saved theirs, from several GPUs' wrapper."""
    generator = torch.Generator().manual_seed(0)
    state = {f"module.{name}": torch.rand(shape, generator=generator) if shape else torch.tensor(7)
             for name, shape in original_shapes(small).items()}
    for name in state:
        if ".norm3." in name:
            state[name] = state[name.replace("norm3", "downsample.1")]  # one layer under two names
    return state


@pytest.mark.parametrize("method", ["raft_large", "raft_small"])
def test_original_weights_line_up_one_to_one(method, tmp_path):
    original = original_state(method == "raft_small")
    torch.save(original, tmp_path / "raft.pth")
    loaded = load_raft(method, tmp_path / "raft.pth", CPU).network.state_dict()
    distinct = {name: value for name, value in original.items() if ".norm3." not in name}
    renamed = rename_original(original)
    assert len(renamed) == len(distinct) == len(loaded) and renamed.keys() == loaded.keys()
    for (name, value), ours in zip(distinct.items(), renamed):
        torch.testing.assert_close(loaded[ours], value, msg=f"{name} -> {ours}")


@pytest.mark.parametrize("original,expected", [
    ("fnet.conv1.weight", "feature_encoder.convnormrelu.0.weight"),
    ("fnet.conv2.bias", "feature_encoder.conv.bias"),
    ("cnet.norm1.running_var", "context_encoder.convnormrelu.1.running_var"),
    ("cnet.layer1.0.conv2.weight", "context_encoder.layer1.0.convnormrelu2.0.weight"),
    ("cnet.layer3.1.norm1.bias", "context_encoder.layer3.1.convnormrelu1.1.bias"),
    ("fnet.layer2.0.conv3.weight", "feature_encoder.layer2.0.convnormrelu3.0.weight"),
    ("cnet.layer2.0.downsample.1.weight", "context_encoder.layer2.0.downsample.1.weight"),
    ("update_block.encoder.convc2.weight", "update_block.motion_encoder.convcorr2.0.weight"),
    ("update_block.encoder.convf1.weight", "update_block.motion_encoder.convflow1.0.weight"),
    ("update_block.encoder.conv.bias", "update_block.motion_encoder.conv.0.bias"),
    ("update_block.gru.convq2.weight", "update_block.recurrent_block.convgru2.convq.weight"),
    ("update_block.gru.convr.weight", "update_block.recurrent_block.convgru1.convr.weight"),
    ("update_block.flow_head.conv1.weight", "update_block.flow_head.conv1.weight"),
    ("update_block.mask.2.weight", "mask_predictor.conv.weight"),
])
def test_names_mean_the_same_layer(original, expected):
    assert list(rename_original({f"module.{original}": 0})) == [expected]
    assert list(rename_original({expected: 0})) == [expected]


@given(st.integers(12, 700), st.integers(12, 1400))
def test_raft_padding(height, width):
    (top, bottom), (left, right) = raft_padding(height, width)
    rows, cols = height + top + bottom, width + left + right
    assert rows % 8 == 0 and cols % 8 == 0 and min(rows, cols) >= 128
    assert min(left, right) >= width // 8 and min(top, bottom) >= 0
    assert rows < max(height + 8, 129) and cols < max(width + 2 * (width // 8) + 8, 129)


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "raft_small.pth"
    torch.save(torchvision.models.optical_flow.raft_small(weights=None).state_dict(), path)
    return path


def test_raft_from_folder_to_folder_in_batches(tmp_path, raft_weights, monkeypatch):
    frames = moving(4, height=21, width=50)
    write_frames(tmp_path / "frames", "000", frames)
    monkeypatch.setattr(raft, "RAFT_BATCH", 2)  # two batches, the second one not full
    monkeypatch.setattr(raft, "RAFT_UPDATES", 3)
    assert make(tmp_path, ["000"], "raft_small", raft_weights, save_raw=True) == []
    raft_flows = load_raft("raft_small", raft_weights, CPU)
    for index, (first, second) in enumerate(pairwise(frames)):
        flow = raft_flows.flow([(first, second)])[0]
        assert flow.shape == (21, 50, 2) and np.abs(flow).max() > 0
        with np.load(tmp_path / "flow" / "000" / f"000_{4 * index:04d}.npz") as raw:
            np.testing.assert_allclose(raw["flow"], flow, rtol=2e-3, atol=1e-3)
        image = cv2.imread(str(tmp_path / "flow" / "000" / f"000_{4 * index:04d}.png"))
        assert np.abs(image.astype(int) - flow_to_colour(flow)).mean() < 1
    assert len(names(tmp_path / "flow" / "000")) == 8


def test_raft_gets_rgb_in_plus_minus_1_wrapped_at_the_seam(monkeypatch):
    class Recorder(torch.nn.Module):
        def forward(self, first, second, num_flow_updates):
            self.seen = first, second
            return [torch.zeros(len(first), 2, *first.shape[-2:]), first[:, :2]]

    network, frame = Recorder(), texture(130, 128)
    flow = RaftFlows(network, CPU).flow([(frame, 255 - frame)])
    first, second = network.seen
    assert first.shape == (1, 3, 136, 160) and torch.allclose(first, -second, atol=1e-6)
    np.testing.assert_allclose(flow[0], frame[..., [2, 1]] / 127.5 - 1, atol=1e-6)  # the last update, cropped
    torch.testing.assert_close(first[..., :16], first[..., 128:144])
    torch.testing.assert_close(first[..., 144:], first[..., 16:32])


def test_batches_get_smaller_as_frames_get_larger():
    raft_flows = RaftFlows(torch.nn.Identity(), CPU)
    sizes = [raft_flows.batch_size(height, 2 * height) for height in (16, 320, 512, 1024)]
    assert sizes == [16, 16, 5, 1]


def test_raft_without_enough_memory_says_what_to_do():
    def network(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    raft_flows = RaftFlows(torch.nn.Identity(), CPU)
    raft_flows.network = network
    with pytest.raises(InputError, match=r"memory.*flow_resolution.*flow_method=dis"):
        raft_flows.flow([(texture(20, 40), texture(20, 40))])


def test_weights_of_another_network(tmp_path, raft_weights):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save(original_state(small=True), tmp_path / "raft-small.pth")
    for path in (raft_weights, tmp_path / "other.pth", tmp_path / "raft-small.pth"):
        with pytest.raises(InputError, match=rf"{path.name} holds the weights of another network") as caught:
            load_flows(flow_settings_of("raft_large", path), CPU)
        assert "\n" not in str(caught.value)


class Boom:
    def __reduce__(self):
        return os.mkdir, ("boom",)


def test_files_that_are_no_weights(tmp_path, monkeypatch, raft_weights):
    monkeypatch.chdir(tmp_path)
    contents = {"text": b"hello", "empty": b"", "cut": raft_weights.read_bytes()[:5000]}
    for name, content in contents.items():
        Path(name).write_bytes(content)
    torch.save([torch.zeros(2)], "list")
    torch.save(Boom(), "code")
    for name in (*contents, "list", "code"):
        with pytest.raises(InputError, match=rf"{name} is not a file of weights"):
            load_flows(flow_settings_of("raft_small", name), CPU)
    assert not Path("boom").exists()
    with pytest.raises(InputError, match=r"missing\.pth do not exist"):
        load_flows(flow_settings_of("raft_small", "missing.pth"), CPU)


def test_no_network_and_no_file_names_both_ways_out(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(InputError, match=r"unreachable.*raft_small_C_T_V2.*flow_weights.*flow_method=dis") as caught:
        load_flows(flow_settings_of("raft_small"), CPU)
    assert "\n" not in str(caught.value)


def test_torchvisions_own_weights_come_from_its_cache(tmp_path, monkeypatch, raft_weights):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    cached, url = raft.torchvision_weights("raft_small")
    assert url.startswith("https://download.pytorch.org/") and url.endswith(cached.name)
    cached.parent.mkdir()
    cached.write_bytes(raft_weights.read_bytes())
    raft_flows = load_flows(flow_settings_of("raft_small"), CPU)
    expected = torch.load(raft_weights, weights_only=True)
    torch.testing.assert_close(raft_flows.network.state_dict(), expected)
    cached.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"raft_small_C_T_V2.*is not a file of weights"):
        load_flows(flow_settings_of("raft_small"), CPU)
