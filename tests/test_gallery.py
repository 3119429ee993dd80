"""The pictures of the README."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT

from docs import figures
from model import SST_Sal


@pytest.mark.parametrize(("geometry", "rolls"), [("exact", True), ("released_wrap", True), ("released", False)])
def test_a_rolled_video_has_the_rolled_map_where_columns_wrap(geometry, rolls, monkeypatch):
    monkeypatch.setattr(figures, "SHOWN", 1)
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).integers(256, size=(3, 24, 32, 6), dtype=np.uint8)
    one, other = figures.pair_of_maps(inputs, SST_Sal(6, 4, geometry, latitude=True).eval())
    assert (one.min(), one.max()) == (0, 1)
    assert (np.abs(one - other).max() < 1e-4) == rolls


def test_pictures_of_the_readme_are_made(tmp_path):
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    result = subprocess.run([sys.executable, ROOT / "docs" / "figures.py"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name in ("sample.jpg", "pipeline.png"):
        assert f"docs/{name}" in (ROOT / "README.md").read_text(encoding="utf-8")
        made, committed = (cv2.imread(str(folder / "docs" / name)) for folder in (tmp_path, ROOT))
        assert made.shape == committed.shape and made.std() > 20
