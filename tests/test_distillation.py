"""The distillation of the model with flow: its parts, and that a student comes nearer to its teacher."""

import numpy as np
import pytest
import torch

from metrics import cc
from model import SST_Sal, save_state
from models import distillation
from models.distillation import Phase, Stage
from models.recipe import FRAMES, FULL
from sphere import solid_angle

SIZE = 16, 24
SMALL = Stage("a", 0.01, 1.0, (Phase(2, 1, 3, SIZE), Phase(4, 3, 2, SIZE)))


@pytest.fixture
def clips():
    """A short and a long clip of noise, (frames, flow) each."""
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 256, (T, 24, 32, 3), np.uint8) for _ in range(2)) for T in (3, 12)]


@pytest.fixture
def teacher():
    torch.manual_seed(1)
    return SST_Sal(6, 2, distillation.GEOMETRY).eval()


def test_a_step_belongs_to_one_phase():
    assert [SMALL.phase_of(step).frames for step in range(SMALL.steps())] == [1, 1, 3, 3, 3, 3]
    with pytest.raises(IndexError):
        SMALL.phase_of(SMALL.steps())


def test_phases_fit_the_material():
    for phase in (phase for stage in distillation.STAGES for phase in stage.phases):
        assert phase.frames <= FRAMES and phase.size[1] % 4 == 0
        assert all(part <= whole for part, whole in zip(phase.size, FULL))


def test_a_crop_is_a_part_of_a_clip_s_frames_and_flow():
    clips = []
    for number, T in enumerate((3, 12)):
        frames = np.stack(np.broadcast_arrays(*np.ogrid[:T, :24, :32]), axis=-1).astype(np.uint8)
        clips.append((frames, frames + np.uint8(100 + 50 * number)))
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        crop = distillation.random_crop(rng, clips, 3, SIZE)
        assert crop.shape == (3, *SIZE, 6) and crop.dtype == np.uint8
        backwards, mirrored = crop[0, 0, 0, 0] > crop[-1, 0, 0, 0], crop[0, 0, 0, 2] > crop[0, 0, -1, 2]
        crop = crop[:: -1 if backwards else 1, :, :: -1 if mirrored else 1]
        frame, row, column, *flow = crop[0, 0, 0].tolist()
        number = (flow[0] - frame) // 50 - 2
        images = np.concatenate(clips[number], axis=-1)
        assert np.array_equal(crop, images[frame:frame + 3, row:row + 16, column:column + 24])
        found.append((number, frame, row, column, mirrored, backwards))
    assert np.max(found, axis=0).tolist() == [1, 9, 8, 8, 1, 1] and not np.min(found, axis=0).any()
    shares = np.mean(found, axis=0)
    assert abs(shares[0] - 0.8) < 0.07, "a clip four times as long comes four times as often"
    assert abs(shares[4] - 0.5) < 0.08 and abs(shares[5] - 0.25) < 0.08
    lengths = {len(distillation.random_crop(rng, clips, 12, SIZE)) for _ in range(20)}
    assert lengths == {12}, "short clips are passed over"


def test_the_loss_is_that_of_correlation_and_of_values():
    torch.manual_seed(0)
    maps, targets = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    correlation = cc(maps, targets, solid_angle(16, 24)).mean()
    torch.testing.assert_close(distillation.distance(maps, targets, 0), 1 - correlation)
    torch.testing.assert_close(distillation.distance(5 * targets - 2, targets, 0).item(), 0.0, atol=1e-6, rtol=0)
    assert distillation.distance(5 * targets - 2, targets, 1) > 1
    added = distillation.distance(maps, targets, 1) - distillation.distance(maps, targets, 0)
    in_each_place = [(maps - targets)[:, t].square().mean() / (targets[:, t].var(correction=0)
                                                              + distillation.SMALLEST_VARIANCE) for t in range(3)]
    torch.testing.assert_close(added, torch.stack(in_each_place).double().mean(), atol=1e-6, rtol=1e-4)


def _raise(error):
    raise error


def test_a_stage_that_was_interrupted_gives_the_same_weights(clips, teacher, tmp_path, monkeypatch):
    def student():
        torch.manual_seed(0)
        return SST_Sal(6, 2, distillation.GEOMETRY)

    def weights(name):
        return torch.load(tmp_path / name, weights_only=True)["model"]

    distillation.train(student(), teacher, clips, SMALL, tmp_path / "straight.pt")
    monkeypatch.setattr(distillation, "KEPT_EVERY", 3)
    with monkeypatch.context() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.setattr(distillation, "save_state", lambda *args: (save_state(*args), _raise(KeyboardInterrupt)))
        distillation.train(student(), teacher, clips, SMALL, tmp_path / "stopped.pt")
    assert torch.load(tmp_path / "stopped.pt", weights_only=True)["step"] == 3
    distillation.train(student(), teacher, clips, SMALL, tmp_path / "stopped.pt")
    torch.testing.assert_close(weights("straight.pt"), weights("stopped.pt"), rtol=0, atol=0)


def test_students_come_nearer_to_their_teacher(clips, teacher, tmp_path):
    clip = distillation.as_input([np.concatenate(clips[1], -1)])

    def loss():
        with torch.no_grad():
            return distillation.distance(student(clip)[:, :, 0], teacher(clip)[:, :, 0], 1.0)

    torch.manual_seed(0)
    student = SST_Sal(6, 4, distillation.GEOMETRY)
    before = loss()
    distillation.train(student, teacher, clips, SMALL._replace(phases=(Phase(40, 3, 2, SIZE),)), tmp_path / "a.pt")
    assert loss() < 0.6 * before
