"""The recipe of the weights that come along: its arithmetic, and which scripts it runs with which settings."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import config
from files import read_image, write_image
from model import SST_Sal, load_model, save_model
from models import recipe
from settings import override, settings, validate


def test_mixed_maps_weigh_both_teachers_alike():
    bright, dark = np.uint8([[250, 0], [250, 0]]), np.uint8([[0, 0], [0, 5]])
    assert recipe.mixed_map(bright, dark, 0.5, 1).tolist() == [[128, 0], [128, 255]]  # sums of 1: 0.25, 0.25, 0.5
    assert recipe.mixed_map(bright, dark, 1, 1).tolist() == [[255, 0], [255, 0]]
    assert recipe.mixed_map(np.uint8([[100, 200]]), dark[:1], 1, 2).tolist() == [[64, 255]]
    assert recipe.mixed_map(dark[:1], dark[:1], 0.5, 1).tolist() == [[0, 0]]


def test_the_mean_of_models_is_that_of_their_weights():
    models = [SST_Sal(3, 2, "exact", latitude=True) for _ in range(3)]
    expected = {name: torch.stack([model.state_dict()[name] for model in models]).mean(dim=0)
                for name in models[0].state_dict()}
    torch.testing.assert_close(dict(recipe.mean_model(models).state_dict()), expected)


@pytest.mark.parametrize("kind", ["with_flow", "without_flow"])
def test_stages_have_valid_settings_and_start_from_earlier_ones(kind, tmp_path):
    before = {""}
    for stage in recipe.WITH_FLOW if kind == "with_flow" else recipe.WITHOUT_FLOW:
        assert stage.init_from in before and (stage.targets == "flow" or stage.targets in recipe.MIXED)
        before.add(stage.name)
        copy = SimpleNamespace(**settings(config))
        override(copy, recipe.stage_settings(stage, tmp_path, kind))
        validate(copy)
        assert copy.of_available == (kind == "with_flow") and copy.resolution == stage.size


class Scripts:
    """Stands for `recipe.call`: makes what the scripts would make, and notes what was called."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def __call__(self, script, *arguments):
        given = dict(argument[2:].split("=", 1) for argument in map(str, arguments) if argument.startswith("--"))
        self.calls.append((script, given))
        if script == "render.py":
            for clip in range(int(given["clips"])):
                (self.folder / "frames" / f"{clip:04d}").mkdir(parents=True, exist_ok=True)
        elif script == "inference.py":
            image = np.full((4, 8), 7, np.uint8)
            (self.folder / given["results_dir"] / "0000").mkdir(parents=True, exist_ok=True)
            write_image(self.folder / given["results_dir"] / "0000" / "0000_0000.png", image)
        elif script == "train.py":
            torch.manual_seed(len(self.calls))
            name = given.get("model_name", "with_flow_b")
            (self.folder / "models").mkdir(exist_ok=True)
            save_model(SST_Sal(3, 2, "exact", latitude=True), self.folder / "models" / f"{name}.pth", {})


def test_the_recipe_runs_each_stage_once_and_resumes(tmp_path, monkeypatch):
    for name in ("stills", "videos", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"video")
    scripts = Scripts(tmp_path / "out")
    monkeypatch.setattr(recipe, "call", scripts)
    arguments = [str(tmp_path / name) for name in ("stills", "videos", "teacher.pth", "other.pth", "out")]
    begun = tmp_path / "out" / "runs" / "with_flow_b_20261128-000000" / "last.pt"
    begun.parent.mkdir(parents=True)
    begun.touch()
    recipe.main([*arguments, "--scale=0.01"])

    trained = [given for script, given in scripts.calls if script == "train.py"]
    assert len(trained) == len(recipe.WITH_FLOW) + len(recipe.WITHOUT_FLOW)
    assert trained[1] == {"resume": str(begun)}
    assert [script for script, _ in scripts.calls[:3]] == ["render.py", "utils.py", "optical_flow.py"]
    assert scripts.calls[0][1]["clips"] == "14"
    assert (tmp_path / "out" / "a.mp4").read_bytes() == b"video"
    assert len((tmp_path / "out" / "all.txt").read_text().split(",")) == 14
    assert len((tmp_path / "out" / "fine.txt").read_text().split(",")) == 5
    assert read_image(tmp_path / "out" / "maps_both_120x160" / "0000" / "0000_0000.png", cv2.IMREAD_GRAYSCALE).all()
    for name in ("SST_Sal.pth", "SST_Sal_wo_OF.pth"):
        load_model(tmp_path / "out" / name, "cpu")

    scripts.calls.clear()
    recipe.main(arguments)
    assert "train.py" not in {script for script, _ in scripts.calls}


def test_a_step_that_fails_ends_the_recipe_with_its_exit_code(capfd):
    with pytest.raises(SystemExit) as end:
        recipe.call("utils.py", "nonsense")
    assert end.value.code == 1
    assert "usage: python utils.py" in capfd.readouterr().err
