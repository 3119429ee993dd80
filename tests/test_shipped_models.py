"""The models that come along, and the sample that they are shown on."""

import pytest
import torch
from conftest import ROOT

from files import list_images
from model import load_model
from video.extraction import extract_frames
from windows_on_disk import FrameWindows, Video, split_windows

SHIPPED = [("SST_Sal.pth", 6), ("SST_Sal_wo_OF.pth", 3)]


@pytest.mark.parametrize(("name", "input_dim"), SHIPPED)
def test_they_are_what_the_card_says(name, input_dim):
    path = ROOT / "models" / name
    model = load_model(path, "cpu")
    assert (model.input_dim, model.geometry, model.latitude) == (input_dim, "exact", True)
    assert path.stat().st_size < 1e6
    card = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    assert f"{sum(weight.numel() for weight in model.parameters()):,}".replace(",", " ") in card


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Three frames of the sample clip as a model takes them, (1, 3, 3, 240, 320)."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "sample.mp4").write_bytes((ROOT / "data" / "videos" / "sample.mp4").read_bytes())
    assert extract_frames(folder, "mono") == []
    video = Video("000", list_images(folder / "frames" / "000")[:3])
    clip, _ = FrameWindows(split_windows(video, 3, 0), None, (240, 320))[0]
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
