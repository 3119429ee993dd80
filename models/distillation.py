"""A student that becomes the function of its teacher: crops, whose maps the teacher is asked for, and windows that grow
from one frame to twenty. models/recipe.py trains the model with flow so; models/LOG.md has what led to it."""

from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from devices import unit_interval
from metrics import cc
from model import SST_Sal, save_state
from sphere import solid_angle
from training.optimizer import Muon, learning_rate

HIDDEN_DIM, GEOMETRY = 36, "released_wrap"  # the teacher's, so that a student can become the same function
WEIGHT_DECAY = 0.1          # without it kernels grow far beyond the teacher's
LARGEST_GRADIENT = 10.0     # norm
SMALLEST_VARIANCE = 1e-3    # of targets, to which errors are related
SEED = 0                    # of the first weights and of the crops
KEPT_EVERY = 50             # steps after which the state of a stage is written


class Phase(NamedTuple):
    """Steps of a stage."""

    steps: int
    frames: int     # of a crop
    crops: int      # of a step
    size: tuple     # (height, width) of a crop


class Stage(NamedTuple):
    """A part of the training, in which the learning rate falls from lr to 0 as half a cosine wave."""

    name: str
    lr: float
    values: float   # weight of the maps' own values in the loss, beside their correlation
    phases: tuple

    def steps(self):
        return sum(phase.steps for phase in self.phases)

    def phase_of(self, step):
        """The phase to which a step belongs."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError(step)


# A map depends on a pixel's neighbourhood, on its latitude and on what was there before. The teacher can be asked about
# any image, so what is cut out of a frame serves as a whole one. The first map of a window depends on one frame alone:
# there the kernels for frames are found within minutes, but for the scale of the maps, which the second stage finds.
# What a model remembers is learnt on top of that, in windows that grow. Times are of one core of an Intel Xeon
# (Sapphire Rapids), November 2026.
SMALL, LARGE = (48, 64), (120, 160)
STAGES = (
    Stage("a", 0.006, 0, (Phase(2500, 1, 8, SMALL),)),                                                  # 3 minutes
    Stage("b", 0.006, 1, (Phase(2000, 1, 8, SMALL),)),                                                  # 2 minutes
    Stage("c", 0.006, 1, (Phase(800, 2, 8, SMALL), Phase(900, 4, 6, SMALL), Phase(700, 8, 4, SMALL))),  # 15 minutes
    Stage("d", 0.003, 0.2, (Phase(200, 12, 5, SMALL), Phase(750, 20, 4, SMALL))),                       # 23 minutes
    Stage("e", 0.0022, 0.2, (Phase(1000, 20, 2, LARGE),)))                              # 44 minutes, on two cores


def random_crop(rng, clips, count, size):
    """A part of a random clip, `count` frames and their flow: (count, *size, 6) uint8. clips: of (frames, flow), (T, H,
    W, 3) each. Each frame of the clips that are long enough has about the same chance. Every second crop is mirrored,
    and every fourth runs backwards, its flow as it is: an image like any other, which the teacher sees as well.
    """
    lengths = np.array([len(frames) if len(frames) >= count else 0 for frames, _ in clips])
    images = clips[rng.choice(len(clips), p=lengths / lengths.sum())]
    T, H, W, _ = images[0].shape
    first, row, column = (rng.integers(most + 1) for most in (T - count, H - size[0], W - size[1]))
    part = np.s_[first:first + count, row:row + size[0], column:column + size[1]]
    crop = np.concatenate([each[part] for each in images], axis=-1)
    if rng.random() < 0.5:
        crop = crop[:, :, ::-1]
    return crop[::-1] if rng.random() < 0.25 else crop


def as_input(crops):
    """Crops, (T, H, W, C) uint8 each, as a model takes them: (B, T, C, H, W)."""
    return unit_interval(torch.from_numpy(np.stack(crops)).permute(0, 1, 4, 2, 3))


def distance(maps, targets, values):
    """The loss of maps (B, T, H, W): 1 - CC of each frame, and `values` times the squared error, relative to the
    variance that the targets of this step have at that place of the window; the mean over frames."""
    loss = 1 - cc(maps, targets, solid_angle(*maps.shape[-2:])).mean()
    if values:
        variance = (targets - targets.mean(dim=(0, 2, 3), keepdim=True)).square().mean(dim=(0, 2, 3), keepdim=True)
        loss = loss + values * ((maps - targets).square() / (variance + SMALLEST_VARIANCE)).mean()
    return loss


def train(student, teacher, clips, stage, state_path):
    """Trains the student for one stage. The state is in a file, from which a stage that was interrupted goes on."""
    optimizer, first = Muon(student.parameters(), stage.lr, WEIGHT_DECAY), 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        student.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    with tqdm(total=stage.steps(), initial=first, desc=state_path.stem, unit="step") as bar:
        for step in range(first, stage.steps()):
            phase, rng = stage.phase_of(step), np.random.default_rng((SEED, step))
            optimizer.param_groups[0]["lr"] = learning_rate("cosine", stage.lr, stage.steps(), step)
            clip = as_input([random_crop(rng, clips, phase.frames, phase.size) for _ in range(phase.crops)])
            with torch.no_grad():
                targets = teacher(clip)[:, :, 0]
            loss = distance(student(clip)[:, :, 0], targets, stage.values)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            bar.update()
            if (step + 1) % KEPT_EVERY == 0 or step + 1 == stage.steps():
                save_state(state_path, {"model": student.state_dict(), "optimizer": optimizer.state_dict(),
                                        "step": step + 1})


def distilled(teacher, clips, folder, scale):
    """A student of a teacher, through all stages. clips: see `random_crop`; folder: where the states of the stages
    lie; scale: the share of the steps that is taken, one in each phase at least."""
    torch.manual_seed(SEED)
    student = SST_Sal(teacher.input_dim, HIDDEN_DIM, GEOMETRY)
    for stage in STAGES:
        phases = tuple(phase._replace(steps=max(1, round(scale * phase.steps))) for phase in stage.phases)
        train(student, teacher, clips, stage._replace(phases=phases), folder / f"with_flow_{stage.name}.pt")
    return student
