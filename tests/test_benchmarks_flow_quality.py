"""The measurement of optical flow: its tables, on small clips and a small model."""

from types import SimpleNamespace

import numpy as np
import torch

from benchmarks import flow_quality
from benchmarks.compare import rows_of
from model import SST_Sal
from prediction import predictor_of
from video.encode import write_video


def test_tables_of_clips_and_of_a_video(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_quality, "ROWS", (32,))
    torch.manual_seed(0)
    small = SimpleNamespace(resolution=(12, 24), sequence_length=4, overlap=1)
    predictor = predictor_of(SST_Sal(6, 2, "exact").eval(), small, torch.device("cpu"))
    still, options = np.random.default_rng(0).random((32, 64, 3), np.float32), SimpleNamespace(frames=3, height=32)
    clips = {}
    for turns, name in enumerate(("at rest", "turning")):
        frames, flows = flow_quality.render(np.random.default_rng(1), [still], turns, options)
        clips[name] = [(frames, flow_quality.maps_from(predictor, frames, flows))]
    lines = []
    flow_quality.measure(predictor, clips, lines.append)
    names, rows = rows_of("\n".join(lines).splitlines()[2:])
    assert names == ["flow", "at rest", "turning", "ms at rest", "ms turning"]
    assert [*rows] == ["dis, 32 rows", "dis_gated, 32 rows", "no motion"]
    scores = np.array([[float(cells[column]) for column in (1, 2)] for cells in rows.values()])
    assert (np.abs(scores) <= 1).all() and scores[0, 1] == scores[1, 1] and scores[0, 0] != scores[1, 0]
    frames = flow_quality.encoded(frames)
    assert [frame.shape for frame in frames] == [(32, 64, 3)] * 3
    write_video(tmp_path / "clip.mp4", frames, 8)
    flow_quality.compare(predictor, tmp_path / "clip.mp4", 32, lines.append)
    assert lines[-1].startswith("| clip.mp4 | 3 | ")
