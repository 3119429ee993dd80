"""The pictures of the documents."""

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from processes import Script

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


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """pictures(name): the picture that docs/figures.py makes now, and the one in docs/: float32 (H, W, 3)."""
    folder = tmp_path_factory.mktemp("figures")
    for name in ("data", "models"):
        (folder / name).symlink_to(ROOT / name)
    process = Script("docs/figures.py", cwd=folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return lambda name: [cv2.imread(str(root / "docs" / name)).astype(np.float32) for root in (folder, ROOT)]


# Rows and columns of the parts without text: another version of matplotlib may have another font.
PARTS = {"sample.jpg": {"frame": np.s_[:360], "map": np.s_[360:720], "overlay": np.s_[720:]},
         "pipeline.png": {"frame": np.s_[30:134, 20:232], "flow": np.s_[190:294, 20:232],
                          "map": np.s_[130:232, 1088:1300]}}


@pytest.mark.parametrize(("name", "part"), [(name, part) for name in PARTS for part in PARTS[name]])
def test_pictures_of_the_documents_are_the_ones_that_are_made(pictures, name, part):
    made, committed = pictures(name)
    assert made.shape == committed.shape
    difference = np.abs(made - committed)[PARTS[name][part]]
    assert difference.mean() < 1, f"docs/{name} is out of date: its {part} differs by {difference.mean():.1f} levels"
    assert np.abs(made - committed).mean() < 4


def test_the_documents_show_the_pictures():
    documents = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    for name in PARTS:
        assert any(f"{name})" in text for text in documents), f"no document shows docs/{name}"
