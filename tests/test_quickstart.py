"""The notebook of the documents, cell by cell, as a user runs it."""

import json
import sys

import matplotlib
import numpy as np
from conftest import ROOT

from inference import predict


def test_every_cell_runs_and_shows_the_maps_of_predict(monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(ROOT / "docs")
    monkeypatch.setattr(sys, "path", list(sys.path))
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
    names = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    matplotlib.pyplot.close("all")
    expected = list(predict(names["frames"], ROOT / "models" / "SST_Sal_wo_OF.pth", resolution=(120, 160)))
    assert names["maps"].shape == (20, 120, 160) and np.array_equal(names["maps"], expected)
    assert abs(names["shares"].sum() - 1) < 1e-9
