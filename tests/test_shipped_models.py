"""The models that come along, and the sample that they are shown on."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from inference import predict
from maps.levels import grey_levels
from model import load_model
from video.decode import sampled
from windows import model_inputs

SHIPPED = [("SST_Sal.pth", 6), ("SST_Sal_wo_OF.pth", 3)]
GOLDEN_FLOW = {"flow_method": "dis", "flow_resolution": 512}    # what the golden maps were made with


@pytest.mark.parametrize(("name", "kind"), [
    ("SST_Sal.pth", (6, "released_wrap", False)), ("SST_Sal_wo_OF.pth", (3, "exact", True))])
def test_they_are_what_the_card_says(name, kind):
    path = ROOT / "models" / name
    model = load_model(path, "cpu")
    assert (model.input_dim, model.geometry, model.latitude) == kind
    assert path.stat().st_size < 1e6
    card = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    assert f"{sum(weight.numel() for weight in model.parameters()):,}".replace(",", " ") in card


@pytest.fixture(scope="module")
def frames():
    """The first frames of the sample clip, BGR uint8: a whole window, and the one that its last flow leads to."""
    return list(islice(sampled(ROOT / "data" / "videos" / "sample.mp4"), 21))


@pytest.fixture(scope="module")
def sample(frames):
    """Three frames of the sample clip as a model takes them, (1, 3, 3, 240, 320)."""
    clip = torch.from_numpy(np.stack(list(model_inputs(frames[:3], (240, 320)))))
    return clip.permute(0, 3, 1, 2)[None].float() / 255


@pytest.mark.parametrize(("name", "input_dim"), SHIPPED)
def test_rolling_the_sample_rolls_its_maps(sample, name, input_dim):
    model, clip = load_model(ROOT / "models" / name, "cpu"), sample
    if input_dim == 6:
        clip = torch.cat([clip, clip.flip(1)], dim=2)  # any second image serves as flow here
    with torch.no_grad():
        maps, rolled = model(clip), model(clip.roll(134, -1)).roll(-134, -1)
    assert (maps - rolled).abs().max() <= 0.01 * (maps.max() - maps.min())


@pytest.mark.parametrize(("name", "input_dim"), SHIPPED)
def test_maps_of_the_sample_vary_and_leave_the_poles_dark(sample, name, input_dim):
    model, clip = load_model(ROOT / "models" / name, "cpu"), sample
    if input_dim == 6:
        clip = torch.cat([clip, torch.ones_like(clip)], dim=2)  # white: no motion
    with torch.no_grad():
        saliency = model(clip)[0, -1, 0]
    saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    assert max(saliency[:20].max(), saliency[-20:].max()) < 0.3
    assert saliency[110:130].std() > 0.02


def small_levels(frames, model, **settings):
    """The maps of frames as grey levels, before the model's last step doubles every pixel: int (T, 120, 160)."""
    return np.stack([grey_levels(saliency)[::2, ::2] for saliency in predict(frames, model, **settings)]).astype(int)


@pytest.mark.parametrize(("name", "key"), [("SST_Sal.pth", "with_flow"), ("SST_Sal_wo_OF.pth", "without_flow")])
def test_maps_are_those_that_the_weights_gave_when_they_were_scored(frames, name, key):
    """tests/golden/shipped_sample.npz: maps 0, 5 and 10 of the first 12 frames of the sample clip."""
    golden = np.load(ROOT / "tests" / "golden" / "shipped_sample.npz")[key].astype(int)
    maps = small_levels(frames[:12], ROOT / "models" / name, **GOLDEN_FLOW)
    difference = np.abs(maps[[0, 5, 10]] - golden)
    assert difference.max() <= 2 and difference.mean() < 0.1  # flow rounds a little differently on other processors


@pytest.mark.parametrize(("name", "key"), [("SST_Sal.pth", "of"), ("SST_Sal_wo_OF.pth", "wo")])
def test_the_authors_weights_give_the_maps_of_the_authors_code(request, frames, name, key):
    """tests/golden/published_sample.npz: what the authors' own code and weights give for the sample clip."""
    folder = request.config.getoption("--published") or ROOT.parent / "shared" / "released"
    if not Path(folder, name).is_file():
        pytest.skip("the authors' weights are not here; with them: pytest --published=FOLDER_OF_SST_Sal.pth")
    golden = np.load(ROOT / "tests" / "golden" / "published_sample.npz")
    maps = small_levels(frames, Path(folder, name), **GOLDEN_FLOW)
    compared = [int(name.split("_")[2]) // 3 for name in golden if name.startswith(key)]
    assert compared and max(compared) < 20
    for position in compared:
        difference = np.abs(maps[position] - golden[f"{key}_000_{3 * position:04d}"].astype(int))
        assert difference.max() <= 1, f"frame {position}"
