"""Flow between frames, its colour images, and whole folders of them."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torchvision.utils import flow_to_image

import config
import optical_flow
from errors import InputError
from flow import folders, raft
from flow.colours import flow_to_colour
from flow.dis import dis_flow
from flow.folders import flow_folder, make_flow, require_flow
from flow.methods import FlowSettings, choose_method, flow_images, load_flows
from flow.raft import RaftFlows, load_raft, raft_padding, rename_original
from model import load_model
from settings import validate
from video.decode import sample_frames
from video.resize import limit_rows

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CPU = torch.device("cpu")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, which is not part of the repository")


def texture(height, width, seed=0):
    """A BGR image that continues across its left and right edge."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(np.tile(noise, (1, 3, 1)), (0, 0), 2)[:, width : 2 * width]
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def write_frames(folder, identity, frames, first=0):
    """frames_dir/ID/ID_N.png, every fourth number."""
    (folder / identity).mkdir(parents=True)
    paths = [folder / identity / f"{identity}_{first + 4 * index:04d}.png" for index in range(len(frames))]
    for path, frame in zip(paths, frames):
        assert cv2.imwrite(str(path), frame)
    return paths


def moving(count, height=40, width=88, step=3):
    return [np.roll(texture(height, width), step * index, axis=1) for index in range(count)]


def make(tmp_path, ids, method="dis", weights="", rows=1024, save_raw=False):
    return make_flow(tmp_path / "frames", tmp_path / "flow", ids, flow(method, weights, rows, save_raw), CPU)


def flow(method, weights="", rows=1024, save_raw=False):
    """`FlowSettings` that make what is missing."""
    return FlowSettings(method, weights, rows, save_raw, compute=True, folder="")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------------------- colours


def levels_apart(a, b):
    """Largest difference of uint8 images. Modulo 256: torchvision's fullest colours may come out as -1 = 255."""
    return np.abs((a.astype(np.int16) - b + 128) % 256 - 128).max()


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


# ---------------------------------------------------------------------------------------------------------- the sphere


def unwrapped_flow(first, second):
    """DIS as it is for an ordinary picture."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (first, second)), None)


def roll_errors(panorama, columns, flow_of):
    """Mean distance of the flow from (columns, 0), pixels, between 60 degrees N and S where there is texture:
    everywhere, and within 16 columns of the seam."""
    flow = flow_of(panorama, np.roll(panorama, columns, axis=1))
    grey = cv2.cvtColor(panorama, cv2.COLOR_BGR2GRAY)
    textured = np.sqrt(cv2.blur(cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2, (9, 9))) > 30
    textured[: len(grey) // 6] = textured[-(len(grey) // 6) :] = False
    error = np.hypot(flow[..., 0] - columns, flow[..., 1])
    seam = np.zeros_like(textured)
    seam[:, :16] = seam[:, -16:] = True
    assert textured[seam].sum() > 500
    return error[textured].mean(), error[textured & seam].mean()


@pytest.mark.parametrize("columns", [4, 12, 24])
def test_rolled_texture_moves_by_as_much_across_the_seam_too(columns):
    panorama = texture(160, 320)
    everywhere, seam = roll_errors(panorama, columns, lambda *pair: dis_flow(pair))
    assert everywhere < 0.3 and seam < 0.3
    _, seam_unwrapped = roll_errors(panorama, columns, unwrapped_flow)
    print(columns, everywhere, seam, seam_unwrapped)
    assert seam_unwrapped > 10 * seam
    if columns == 24:  # fewer columns leave few without a match, and DIS guesses those from their neighbours
        assert seam_unwrapped > 1


@needs_shared
@pytest.mark.parametrize("columns", [4, 12, 24])
@pytest.mark.parametrize("name", ["react360_chester_112362", "hdri_workshop", "pannellum_examplepano", "hdri_venice"])
def test_rolled_panorama(name, columns):
    image = cv2.imread(str(SHARED / "panoramas" / f"{name}.jpg"))
    panorama = cv2.resize(image, (640, 320), interpolation=cv2.INTER_AREA)
    everywhere, seam = roll_errors(panorama, columns, lambda *pair: dis_flow(pair))
    assert everywhere < 0.3 and seam < 0.3
    _, seam_unwrapped = roll_errors(panorama, columns, unwrapped_flow)
    print(name, columns, everywhere, seam, seam_unwrapped)
    assert seam_unwrapped > 10 * seam
    if columns == 24:
        assert seam_unwrapped > 1


@pytest.mark.parametrize("height,width", [(12, 24), (13, 25), (40, 79), (90, 16)])
def test_flow_has_the_size_of_the_frames(height, width):
    frames = texture(height, width), texture(height, width, seed=1)
    flow = dis_flow(frames)
    assert flow.shape == (height, width, 2) and flow.dtype == np.float32 and np.isfinite(flow).all()


def test_flow_does_not_depend_on_what_came_before():
    frames = moving(2, 64, 128)
    expected = dis_flow(frames)
    dis_flow(moving(2, 12, 24))
    np.testing.assert_array_equal(dis_flow(frames), expected)


def test_rows_are_limited_and_the_shape_stays():
    assert limit_rows(texture(20, 40), 20).shape == (20, 40, 3)
    assert limit_rows(texture(30, 66), 20).shape == (20, 44, 3)
    assert (limit_rows(np.full((8, 12, 3), 9, np.uint8), 4) == 9).all()


# ----------------------------------------------------------------------------------------------- against published data


@needs_shared
def test_flow_images_are_those_that_golden_maps_were_made_with(tmp_path):
    golden = SHARED / "golden" / "inference"
    frames = sorted((golden / "frames" / "001").iterdir())[-4:]
    write_frames(tmp_path / "frames", "001", [cv2.imread(str(path)) for path in frames])
    assert make(tmp_path, ["001"]) == []
    for path, made in zip(frames, sorted((tmp_path / "flow" / "001").iterdir())):
        expected = cv2.imread(str(golden / "optical_flow" / "001" / path.name))
        assert levels_apart(cv2.imread(str(made)), expected) <= 1


@needs_shared
def test_published_model_sees_the_same_in_our_flow_of_a_clip():
    golden, first, count = SHARED / "golden" / "inference", 264, 8
    clip = sample_frames(SHARED / "clips" / "alcatraz.mp4", 4, "mono")
    frames = [frame for index, frame in clip if index in range(first, first + 4 * count, 4)]
    numbers = range(first, first + 4 * count, 4)
    golden_flow = [cv2.imread(str(golden / "optical_flow" / "000" / f"000_{number:04d}.png")) for number in numbers]
    our_flow = list(flow_images([*frames, frames[-1]], load_flows(flow("dis", ""), CPU), 1024))[:count]
    model = load_model(SHARED / "released" / "SST_Sal.pth", CPU)
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


# ----------------------------------------------------------------------------------------------------------------- RAFT


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
            load_flows(flow("raft_large", path), CPU)
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
            load_flows(flow("raft_small", name), CPU)
    assert not Path("boom").exists()
    with pytest.raises(InputError, match=r"missing\.pth do not exist"):
        load_flows(flow("raft_small", "missing.pth"), CPU)


def test_no_network_and_no_file_names_both_ways_out(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(InputError, match=r"unreachable.*raft_small_C_T_V2.*flow_weights.*flow_method=dis") as caught:
        load_flows(flow("raft_small", ""), CPU)
    assert "\n" not in str(caught.value)


def test_torchvisions_own_weights_come_from_its_cache(tmp_path, monkeypatch, raft_weights):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    cached, url = raft.torchvision_weights("raft_small")
    assert url.startswith("https://download.pytorch.org/") and url.endswith(cached.name)
    cached.parent.mkdir()
    cached.write_bytes(raft_weights.read_bytes())
    raft_flows = load_flows(flow("raft_small", ""), CPU)
    expected = torch.load(raft_weights, weights_only=True)
    torch.testing.assert_close(raft_flows.network.state_dict(), expected)
    cached.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"raft_small_C_T_V2.*is not a file of weights"):
        load_flows(flow("raft_small", ""), CPU)


def test_automatic_method(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    gpu = torch.device("cuda")
    assert choose_method("", CPU) == choose_method("", gpu) == "dis"
    cached, _ = raft.torchvision_weights("raft_large")
    cached.parent.mkdir()
    cached.touch()
    assert choose_method("", gpu) == "raft_large" and choose_method("", CPU) == "dis"
    assert choose_method("dis", gpu) == "dis" and choose_method("raft_small", CPU) == "raft_small"


# -------------------------------------------------------------------------------------------------------- whole folders


def test_flow_has_the_frames_names_and_the_last_repeats(tmp_path):
    frames = moving(4)
    paths = write_frames(tmp_path / "frames", "000", frames, first=9996)  # by number: 10000 is after 9996
    assert make(tmp_path, ["000"]) == []
    flows = tmp_path / "flow" / "000"
    assert names(flows) == sorted(path.name for path in paths)
    images = [cv2.imread(str(flows / path.name)) for path in paths]
    for image, pair in zip(images, pairwise(frames)):
        np.testing.assert_array_equal(image, flow_to_colour(dis_flow(pair)))
    np.testing.assert_array_equal(images[3], images[2])
    assert np.abs(dis_flow((frames[0], frames[1])) - (3, 0)).mean() < 0.3


def test_streamed_flow_images_are_the_written_ones(tmp_path):
    frames = moving(5, height=60, width=120)
    paths = write_frames(tmp_path / "frames", "000", frames)
    make(tmp_path, ["000"], rows=48)
    streamed = list(flow_images(iter(frames), load_flows(flow("dis", ""), CPU), 48))
    written = [cv2.imread(str(tmp_path / "flow" / "000" / path.name)) for path in paths]
    assert streamed[0].shape == (48, 96, 3)
    np.testing.assert_array_equal(streamed, written)


def test_streams_of_one_frame_and_of_none():
    flows = load_flows(flow("dis", ""), CPU)
    (image,) = flow_images([texture(20, 40)], flows, 1024)
    assert image.shape == (20, 40, 3) and (image == 255).all()
    assert list(flow_images([], flows, 1024)) == []


def test_dis_leaves_opencvs_threads_as_they_were():
    before = cv2.getNumThreads()
    list(load_flows(flow("dis", ""), CPU)(pairwise(moving(3))))
    assert cv2.getNumThreads() == before


def test_single_frame_moves_nowhere(tmp_path):
    write_frames(tmp_path / "frames", "000", [texture(20, 40)])
    assert make(tmp_path, ["000"], save_raw=True) == []
    assert (cv2.imread(str(tmp_path / "flow" / "000" / "000_0000.png")) == 255).all()
    assert not np.load(tmp_path / "flow" / "000" / "000_0000.npz")["flow"].any()


def test_raw_flow_is_kept_and_added_to_images_that_exist(tmp_path):
    frames = moving(3)
    write_frames(tmp_path / "frames", "000", frames)
    make(tmp_path, ["000"])
    make(tmp_path, ["000"], save_raw=True)
    raw = np.load(tmp_path / "flow" / "000" / "000_0004.npz")["flow"]
    assert raw.dtype == np.float16
    np.testing.assert_array_equal(raw, dis_flow((frames[1], frames[2])).astype(np.float16))
    assert len(names(tmp_path / "flow" / "000")) == 6


def test_only_what_is_missing_is_made(tmp_path, monkeypatch):
    paths = write_frames(tmp_path / "frames", "000", moving(6))
    write_frames(tmp_path / "frames", "001", moving(2))
    make(tmp_path, ["000"])
    flows = tmp_path / "flow" / "000"
    expected = {path.name: (flows / path.name).read_bytes() for path in paths}
    for removed in ([1], [5], [4, 5], [0, 3]):
        for path in paths:
            (flows / path.name).write_bytes(b"kept")
        for index in removed:
            (flows / paths[index].name).unlink()
        assert make(tmp_path, ["000"]) == []
        made = {path.name for path in flows.iterdir() if path.read_bytes() != b"kept"}
        assert made == {paths[index].name for index in removed}
        assert all((flows / name).read_bytes() == expected[name] for name in made)
    monkeypatch.setattr(folders, "load_flows", None)  # a finished folder needs no method,
    monkeypatch.setattr(folders, "read_image", None)  # and no frame is read
    assert make(tmp_path, ["000"]) == []
    assert not (tmp_path / "flow" / "001").exists()


@pytest.mark.parametrize("bad,lost", [(2, [1, 2]), (0, [0]), (5, [4, 5])])
def test_unreadable_frame_is_named_and_the_rest_done(tmp_path, bad, lost):
    frames = moving(6)
    paths = write_frames(tmp_path / "frames", "000", frames)
    write_frames(tmp_path / "frames", "001", frames[:2])
    whole = paths[bad].read_bytes()
    paths[bad].write_bytes(whole[: len(whole) // 2])
    (problem,) = make(tmp_path, ["000", "001"])
    assert str(paths[bad]) in problem and "cut short" in problem
    assert names(tmp_path / "flow" / "000") == [path.name for index, path in enumerate(paths) if index not in lost]
    assert len(names(tmp_path / "flow" / "001")) == 2
    paths[bad].write_bytes(whole)
    assert make(tmp_path, ["000", "001"]) == []
    assert len(names(tmp_path / "flow" / "000")) == 6


def test_frames_of_two_sizes(tmp_path):
    frames = moving(3, 40, 80) + moving(2, 20, 40) + moving(2, 40, 80)
    paths = write_frames(tmp_path / "frames", "000", frames)
    (problem,) = make(tmp_path, ["000"])
    assert f"{paths[3]} is 40 x 20 pixels, {paths[0]} 80 x 40" in problem and "one size" in problem
    assert names(tmp_path / "flow" / "000") == [paths[index].name for index in (0, 1, 5, 6)]


def test_frames_too_small(tmp_path):
    write_frames(tmp_path / "frames", "000", [texture(11, 40)] * 2)
    assert ["11 rows" in problem for problem in make(tmp_path, ["000"])] == [True, True]


def test_folders_without_frames_are_named_and_the_rest_done(tmp_path):
    write_frames(tmp_path / "frames", "000", moving(2))
    (tmp_path / "frames" / "001").mkdir()
    for _ in range(2):
        problems = make(tmp_path, ["001", "000", "002"])
        assert [Path(problem.split()[0]).name for problem in problems] == ["001", "002"]
    assert len(names(tmp_path / "flow" / "000")) == 2
    with pytest.raises(InputError, match=r"001 holds no frames"):
        require_flow(tmp_path / "frames", tmp_path / "flow", ["000", "001"], "")


def test_interrupted_writing_leaves_no_half_files(tmp_path, monkeypatch):
    write_frames(tmp_path / "frames", "000", moving(4))

    def full_disk(path, image):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(folders, "write_image", full_disk)
        make(tmp_path, ["000"], save_raw=True)
    assert all(name.endswith(".npz") for name in names(tmp_path / "flow" / "000"))
    assert make(tmp_path, ["000"]) == []
    assert sum(name.endswith(".png") for name in names(tmp_path / "flow" / "000")) == 4


def test_required_flow_names_the_first_missing_file_and_the_command(tmp_path):
    paths = write_frames(tmp_path / "frames", "000", moving(3))
    with pytest.raises(InputError, match=r"flow.000.000_0000\.png is missing.*: python optical_flow\.py"):
        require_flow(tmp_path / "frames", tmp_path / "flow", ["000"], "python optical_flow.py")
    make(tmp_path, ["000"])
    require_flow(tmp_path / "frames", tmp_path / "flow", ["000"], "python optical_flow.py")
    (tmp_path / "flow" / "000" / paths[2].name).unlink()
    with pytest.raises(InputError, match=r"000_0008\.png"):
        require_flow(tmp_path / "frames", tmp_path / "flow", ["000"], "python optical_flow.py")


def test_where_flow_goes():
    assert flow_folder("", "clips/frames") == Path("clips/optical_flow")
    assert flow_folder("elsewhere", "clips/frames") == Path("elsewhere")


# ----------------------------------------------------------------------------------------------------- settings, script


@pytest.mark.parametrize("settings,match", [
    ({"flow_method": "raft"}, "flow_method must be"),
    ({"flow_weights": "raft-things.pth"}, "flow_weights are for RAFT"),
    ({"flow_weights": "raft-things.pth", "flow_method": "dis"}, "flow_weights are for RAFT"),
    ({"flow_resolution": 8}, "flow_resolution must be at least 16"),
])
def test_settings(settings, match):
    with pytest.raises(InputError, match=match):
        validate(SimpleNamespace(**vars(config) | settings))
    validate(SimpleNamespace(**vars(config) | {"flow_method": "raft_large", "flow_weights": "raft-things.pth"}))


def script(tmp_path, *arguments):
    return subprocess.run([sys.executable, str(ROOT / "optical_flow.py"), *arguments], cwd=tmp_path, text=True,
                          capture_output=True, timeout=120)


def test_script_does_a_videos_folder_and_exits_with_1_for_a_bad_frame(tmp_path):
    frames = moving(4)
    paths = write_frames(tmp_path / "videos" / "frames", "000", frames)
    write_frames(tmp_path / "videos" / "frames", "beach", frames[:1])
    whole = paths[3].read_bytes()
    paths[3].write_bytes(b"")
    done = script(tmp_path, "--videos_folder=videos", "--flow_method=dis")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {Path('videos') / 'frames' / '000' / paths[3].name} is empty (0 bytes); delete it and make it again"]
    assert len(names(tmp_path / "videos" / "optical_flow" / "000")) == 2
    assert len(names(tmp_path / "videos" / "optical_flow" / "beach")) == 1
    paths[3].write_bytes(whole)
    done = script(tmp_path, "--videos_folder=videos", "--optical_flow_dir=videos/optical_flow", "--flow_method=dis")
    assert done.returncode == 0, done.stderr
    assert len(names(tmp_path / "videos" / "optical_flow" / "000")) == 4


def test_script_with_nothing_to_do_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "videos_folder", str(tmp_path))
    with pytest.raises(InputError, match="holds neither videos nor frames"):
        optical_flow.main([])
