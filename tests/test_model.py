import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from errors import InputError
from model import SST_Sal, load_model, save_model

NAMES = {"SST_Sal": (6, 36, "saliency_of"), "SST_Sal_wo_OF": (3, 9, "saliency_wo_of")}


def random_model(geometry="exact", latitude=True, input_dim=3):
    torch.manual_seed(0)
    model = SST_Sal(input_dim, 4, geometry, latitude).double()
    for cell in (model.encoder["lstm"], model.decoder["lstm"]):
        torch.nn.init.normal_(cell.conv.bias)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_published_weights_give_the_published_maps(shared, name):
    input_dim, hidden_dim, expected = NAMES[name]
    golden = np.load(shared / "golden" / "model.npz")
    model = load_model(shared / "released" / f"{name}.pth", "cpu")
    assert (model.input_dim, model.hidden_dim) == (input_dim, hidden_dim)
    assert (model.geometry, model.latitude) == ("released", False)
    clip = torch.from_numpy(golden["clip_bgr_flow_uint8"])[..., :input_dim].permute(0, 3, 1, 2)[None].float() / 255
    with torch.no_grad():
        maps = model(clip)[0, :, 0]  # (T, H, W)
    torch.testing.assert_close(maps[:, ::2, ::2], maps[:, 1::2, 1::2], atol=0, rtol=0)  # each pixel twice as large
    difference = (maps[:, ::2, ::2] - torch.from_numpy(golden[expected])).abs()
    assert (difference > 2e-4).float().mean() <= 1e-4


@pytest.mark.parametrize("latitude", [False, True])
@pytest.mark.parametrize("geometry", ["exact", "released_wrap"])
def test_rolling_the_video_rolls_the_maps(geometry, latitude):
    model, clip = random_model(geometry, latitude), torch.rand(1, 4, 3, 10, 16, dtype=torch.float64)
    torch.testing.assert_close(model(clip.roll(6, -1)), model(clip).roll(6, -1), atol=1e-5, rtol=0)


def test_released_is_cut_at_the_seam_and_released_wrap_is_not():
    frame = torch.rand(1, 1, 3, 12, 32, dtype=torch.float64)
    released, wrapped = random_model("released", False), random_model("released_wrap", False)
    horizon = (released(frame) - wrapped(frame)).abs()[0, 0, 0, 6]  # (W,)
    assert horizon[0] > 1e-4 > 1e-9 > horizon[16]


@pytest.mark.parametrize("size", [(10, 16), (7, 12), (5, 8)])
def test_step_equals_forward_and_a_batch_its_items(size):
    model, clip = random_model(), torch.rand(2, 4, 3, *size, dtype=torch.float64)
    maps, state = model(clip), None
    assert maps.shape == (2, 4, 1, *size)
    for t in range(4):
        saliency, state = model.step(clip[:, t], state)
        torch.testing.assert_close(saliency, maps[:, t])
    torch.testing.assert_close(torch.cat([model(item[None]) for item in clip]), maps)


def test_inference_mode_changes_nothing():
    model, clip = random_model(), torch.rand(1, 2, 3, 64, 128, dtype=torch.float64)
    with torch.inference_mode():
        maps = model(clip)
    torch.testing.assert_close(maps, model(clip).detach())


def test_latitude_lets_exact_tell_the_poles_from_the_horizon():
    grey = torch.full((1, 3, 3, 12, 16), 0.5, dtype=torch.float64)
    blind, seeing = (random_model(latitude=latitude)(grey).std(dim=(-2, -1)).max() for latitude in (False, True))
    assert blind < 1e-9 < 1e-3 < seeing


def test_wrong_frames_are_refused():
    with pytest.raises(ValueError, match="takes 3 channels, got 6"):
        random_model()(torch.rand(1, 2, 6, 8, 8, dtype=torch.float64))
    with pytest.raises(ValueError, match="multiple of 4"):
        random_model()(torch.rand(1, 2, 3, 8, 10, dtype=torch.float64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_cpu_and_gpu_agree():
    model, clip = random_model(), torch.rand(2, 4, 3, 10, 16, dtype=torch.float64)
    torch.testing.assert_close(model.cuda()(clip.cuda()).cpu(), model.cpu()(clip))


# --------------------------------------------------------------------------------------------------------- checkpoints


def test_a_saved_model_loads_again_and_holds_plain_types_only(tmp_path):
    model, path = random_model().float(), tmp_path / "model.pth"
    save_model(model, path, {"lr": 0.8, "resolution": (240, 320)})
    loaded = load_model(path, "cpu")
    assert not loaded.training
    assert (loaded.input_dim, loaded.hidden_dim, loaded.geometry, loaded.latitude) == (3, 4, "exact", True)
    clip = torch.rand(1, 2, 3, 6, 8)
    assert torch.equal(loaded(clip), model(clip))
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["config"] == {"lr": 0.8, "resolution": (240, 320)}
    assert checkpoint["format"] == 1
    assert load_model(path, "cpu", "released_wrap").geometry == "released_wrap"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pth"]


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("save", [
    lambda attack, path: path.write_bytes(pickle.dumps(attack)), torch.save,
    lambda attack, path: torch.save(attack, path, _use_new_zipfile_serialization=False),
    lambda attack, path: torch.save({"state_dict": attack, "format": 1}, path)])
def test_a_crafted_pickle_is_refused_by_name_and_not_run(tmp_path, save):
    save(Attack(tmp_path / "ran"), tmp_path / "model.pth")
    with pytest.raises(InputError, match=rf"model\.pth.*tries to load {os.system.__module__}\.system"):
        load_model(tmp_path / "model.pth", "cpu")
    assert not (tmp_path / "ran").exists()


def test_published_files_with_a_foreign_name_are_refused(tmp_path, shared):
    """One name changed to another of the same length: everything else in the file is as the authors wrote it."""
    data = (shared / "released" / "SST_Sal.pth").read_bytes()
    (tmp_path / "model.pth").write_bytes(data.replace(b"cmodels\nSST_Sal\n", b"cbuiltin\nprinted"))
    with pytest.raises(InputError):
        load_model(tmp_path / "model.pth", "cpu")


@pytest.mark.parametrize("length", [0, 1, 100, 20000, 226000])
def test_a_truncated_file_is_one_line(tmp_path, shared, length):
    (tmp_path / "model.pth").write_bytes((shared / "released" / "SST_Sal.pth").read_bytes()[:length])
    with pytest.raises(InputError, match="not an SST-Sal model, or was cut short") as caught:
        load_model(tmp_path / "model.pth", "cpu")
    assert "\n" not in str(caught.value)


def test_files_that_hold_something_else(tmp_path):
    path = tmp_path / "model.pth"
    save_model(random_model().float(), path, {})
    checkpoint = torch.load(path, weights_only=True)
    weights, bias = checkpoint["state_dict"], "decoder.lstm.conv.bias"
    without_bias = {name: weights[name] for name in weights if name != bias}
    for content, message in [
            ({"weights": 1}, "is not an SST-Sal checkpoint"),
            (torch.zeros(3), "is not an SST-Sal checkpoint"),
            ({**checkpoint, "format": 2}, "has checkpoint format 2"),
            ({**checkpoint, "state_dict": {**weights, bias: torch.zeros(5)}}, "size mismatch"),
            ({**checkpoint, "state_dict": without_bias}, f"'{bias}' is missing"),
            ({**checkpoint, "geometry": "flat"}, "geometry must be one of"),
            ({**checkpoint, "hidden_dim": "four"}, "does not hold an SST-Sal model"),
            (SimpleNamespace(state_dict=1), "tries to load types.SimpleNamespace")]:
        torch.save(content, path)
        with pytest.raises(InputError, match=message) as caught:
            load_model(path, "cpu")
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    path.write_text("hello")
    with pytest.raises(InputError, match="not an SST-Sal model"):
        load_model(path, "cpu")
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "none.pth", "cpu")
