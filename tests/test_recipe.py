"""The recipe of the weights that come along: its arithmetic, which scripts it runs with which settings, and a run at a
hundredth of its size."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import noise_frames

import config
from files import read_image, write_image
from model import SST_Sal, load_model, save_model
from models import distillation, recipe
from settings import override, settings, validate
from video.encode import write_video


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


def test_stages_have_valid_settings_and_start_from_earlier_ones(tmp_path):
    before = {""}
    for stage in recipe.WITHOUT_FLOW:
        assert stage.init_from in before and (stage.targets == "flow" or stage.targets in recipe.MIXED)
        before.add(stage.name)
        copy = SimpleNamespace(**settings(config))
        override(copy, recipe.stage_settings(stage, tmp_path))
        validate(copy)
        assert not copy.of_available and copy.resolution == stage.size


class Scripts:
    """Runs the project's scripts in this process and notes what was called. Stands for inference.py and train.py, which
    take minutes: it makes what they would make, and a run of stage b that was interrupted."""

    def __init__(self, folder, run_script):
        self.folder, self.run_script, self.calls = folder, run_script, []
        self.begun = folder / "runs" / "without_flow_b_20261128-000000" / "last.pt"

    def __call__(self, script, *arguments):
        given = dict(argument[2:].split("=", 1) for argument in map(str, arguments) if argument.startswith("--"))
        self.calls.append((script, given))
        if script == "inference.py":
            image = np.full((4, 8), 7, np.uint8)
            (self.folder / given["results_dir"] / "0000").mkdir(parents=True, exist_ok=True)
            write_image(self.folder / given["results_dir"] / "0000" / "0000_0000.png", image)
        elif script == "train.py":
            torch.manual_seed(len(self.calls))
            name = given.get("model_name", "without_flow_b")
            (self.folder / "models").mkdir(exist_ok=True)
            self.begun.parent.mkdir(parents=True, exist_ok=True)
            self.begun.touch()
            save_model(SST_Sal(3, 2, "exact", latitude=True), self.folder / "models" / f"{name}.pth", {})
        else:
            assert self.run_script(script, *arguments).returncode == 0


def test_the_recipe_runs_each_stage_once_and_resumes(run_script, tmp_path, monkeypatch):
    """With narrower models and smaller frames."""
    for name in ("stills", "videos"):
        (tmp_path / name).mkdir()
    write_image(tmp_path / "stills" / "a.png", cv2.resize(noise_frames(1, 32, 64, 0)[0], (64, 32)))
    write_video(tmp_path / "videos" / "b.mp4", noise_frames(12, 32, 64, 1), 8)
    save_model(SST_Sal(6, 2, "released"), tmp_path / "teacher.pth", {})
    scripts = Scripts(tmp_path / "out", run_script)
    for settings_of, name, value in ((recipe, "call", scripts), (recipe, "ROWS", 32), (recipe, "FULL", (120, 160)),
                                     (distillation, "HIDDEN_DIM", 2)):
        monkeypatch.setattr(settings_of, name, value)
    arguments = [str(tmp_path / name) for name in ("stills", "videos", "teacher.pth", "other.pth", "out")]
    recipe.main([*arguments, "--scale=0.01"])

    trained = [given for script, given in scripts.calls if script == "train.py"]
    assert len(trained) == len(recipe.WITHOUT_FLOW)
    assert trained[1] == {"resume": str(scripts.begun)}
    assert [script for script, _ in scripts.calls[:3]] == ["render.py", "utils.py", "optical_flow.py"]
    assert scripts.calls[0][1]["clips"] == "14"
    assert (tmp_path / "out" / "b.mp4").read_bytes() == (tmp_path / "videos" / "b.mp4").read_bytes()
    assert len((tmp_path / "out" / "all.txt").read_text().split(",")) == 15, "the rendered clips and the video"
    assert len((tmp_path / "out" / "fine.txt").read_text().split(",")) == 5
    assert {len(clip) for clip, _ in recipe.clips_to_distil(tmp_path / "out", 0.01)} == {12, 20}
    assert len(recipe.clips_to_distil(tmp_path / "out", 0.01)) == 3, "two rendered clips and the video"
    assert read_image(tmp_path / "out" / "maps_both_120x160" / "0000" / "0000_0000.png", cv2.IMREAD_GRAYSCALE).all()
    models = [load_model(tmp_path / "out" / name, "cpu") for name in ("SST_Sal.pth", "SST_Sal_wo_OF.pth")]
    assert [(model.input_dim, model.hidden_dim, model.geometry) for model in models] == [
        (6, 2, "released_wrap"), (3, 2, "exact")]

    states = [tmp_path / "out" / f"with_flow_{stage.name}.pt" for stage in distillation.STAGES]
    written = [path.stat().st_mtime_ns for path in states]
    scripts.calls.clear()
    recipe.main([*arguments, "--scale=0.01"])
    assert "train.py" not in {script for script, _ in scripts.calls}
    assert [path.stat().st_mtime_ns for path in states] == written, "what is there is kept"


def test_a_step_that_fails_ends_the_recipe_with_its_exit_code(capfd):
    with pytest.raises(SystemExit) as end:
        recipe.call("utils.py", "nonsense")
    assert end.value.code == 1
    assert "usage: python utils.py" in capfd.readouterr().err
