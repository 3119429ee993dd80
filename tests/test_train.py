"""Whole runs on small clips: a bright disc wanders over noise, and the map is where it is."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DEFAULTS, ROOT
from processes import TORCHRUN, Script, end_job, start_job
from tqdm import tqdm

import config
import train
from dataset import PADDING, EpochBatches
from devices import STEPS_BEHIND, Readouts
from errors import InputError
from files import write_image
from loss import SphericalKLDiv
from model import SST_Sal, load_model, save_model
from provenance import claimed
from training import interruption
from training.checkpoint import load_state, model_args
from training.run_folder import RunFolder

CPU = torch.device("cpu")
GOLDEN = ROOT.parent / "shared" / "golden" / "train_steps.npz"
SMALL = ("--sequence_length=3", "--overlap=0", "--skip_frames=1", "--resolution=(12, 16)", "--hidden_dim=3", "--lr=0.4",
         "--videos_train_file=train.txt", "--frames_dir=frames", "--gt_dir=maps", "--num_workers=0", "--epochs=3",
         "--picture_interval=0", "--device=cpu", "--of_available=False")


def make_clips(folder, videos, frames):
    rng = np.random.default_rng(1)
    rows, cols = np.mgrid[:24, :32]
    for number in range(videos):
        video = f"{number:03d}"
        for kind in ("frames", "maps", "optical_flow"):
            (folder / kind / video).mkdir(parents=True)
        noise = rng.integers(90, size=(24, 32, 3))
        for frame in range(frames):
            distance = ((cols - 5 * number - 2 * frame + 16) % 32 - 16) ** 2 + (rows - 8 - 2 * number) ** 2
            disc = 150 * (distance < 16)[..., None]
            name = f"{4 * frame:04d}.png"
            write_image(folder / "frames" / video / f"{video}_{name}", (noise + disc).astype(np.uint8))
            flow = (255 - disc).repeat(3, axis=-1).astype(np.uint8)
            write_image(folder / "optical_flow" / video / f"{video}_{name}", flow)
            write_image(folder / "maps" / video / name, (255 * np.exp(-distance / 20)).astype(np.uint8))
    (folder / "train.txt").write_text(", ".join(f"{number:03d}" for number in range(videos)) + "\n\n")


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """The current folder: 4 clips of 11 frames, so 9 training windows (an odd number) and 3 for validation."""
    make_clips(tmp_path, 4, 11)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model gains nothing from more, and loses much where other work runs
    yield tmp_path
    torch.set_num_threads(threads)
    reset()


def reset():
    for name, value in DEFAULTS.items():
        setattr(config, name, value)


def run_train(*arguments, small=SMALL):
    reset()
    return train.main([*small, *arguments])


def newest(folder="runs"):
    return max(Path(folder).iterdir(), key=lambda path: path.stat().st_ctime_ns)


def losses_of(run):
    """(training, validation) loss of each epoch of a run."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    return [(line["train_loss"], line["validation_loss"]) for line in lines]


def interrupt_after(monkeypatch, checks):
    """Interrupts the next run after it has looked at its `stop` event that many times."""

    class Stop:
        left = checks

        def is_set(self):
            self.left -= 1
            return self.left < 0

    @contextmanager
    def no_signal():
        yield Stop()

    monkeypatch.setattr(train, "interruption", no_signal)


# -------------------------------------------------------------------------------------------------------- single steps


def step(model, loss_fn, clips, targets, indices, lr):
    """A training step, as `train_one_epoch` does it on a CPU. Returns the clips' losses and the progress."""
    progress, readouts = {"clips": 0, "loss": 0.0}, Readouts(CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    counts = train.counts_of(indices, CPU)
    losses, *gradient = train.make_losses_and_gradient(model, loss_fn)(model, clips, targets, counts)
    norm = train.clip_gradient(model, gradient)
    readouts.add(train.numbers_of_step(losses, norm, threading.Event()), (indices, len(clips)))
    assert not train.account_for(readouts.read(), progress, tqdm(disable=True), lambda index: f"window {index}")
    optimizer.step()
    return losses, progress


def test_published_training_steps():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN} is not there: the authors' training steps are not compared")
    reset()
    golden = np.load(GOLDEN)
    model = SST_Sal(6, 4, "released")
    model.load_state_dict({name[7:]: torch.from_numpy(golden[name]) for name in golden if name.startswith("before/")})
    clip, target = (torch.from_numpy(golden[name]) for name in ("clip", "target"))
    for expected in golden["losses"]:
        losses, progress = step(model, SphericalKLDiv("published"), clip, target[:, :, 0], [0], 0.8)
        assert losses.sum().item() == pytest.approx(expected, abs=1e-5)
        assert progress["loss"] == losses.mean().item() and progress["clips"] == 1
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, torch.from_numpy(golden[f"after/{name}"]), atol=1e-4, rtol=0)


def small_batch():
    torch.manual_seed(0)
    return SST_Sal(3, 2, "exact", True), torch.rand(2, 3, 3, 6, 8), torch.rand(2, 3, 6, 8)


def test_padding_clips_weigh_nothing():
    (model, clips, targets), loss_fn = small_batch(), SphericalKLDiv("proper")
    compute = train.make_losses_and_gradient(model, loss_fn)
    losses, *gradient = compute(model, clips, targets, train.counts_of([5, PADDING], CPU))
    assert losses.shape == (2, 3) and (losses[0] > 0).all() and (losses[1] == 0).all()
    _, *expected = compute(model, clips[:1], targets[:1], train.counts_of([5], CPU))
    torch.testing.assert_close(gradient, expected)


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_loss_that_is_not_finite_names_the_clip_and_leaves_the_weights():
    model, clips, targets = small_batch()
    before = weights_of(model)
    clips[1, 2] = math.nan
    with pytest.raises(InputError, match="the loss is not finite at window 8"):
        step(model, SphericalKLDiv("proper"), clips, targets, [5, 8], 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_gradient_that_is_not_finite_leaves_the_weights():
    model, clips, targets = small_batch()
    before = weights_of(model)

    def steep(pred, target):  # finite, but its slope is not
        return SphericalKLDiv("proper")(pred, target) + (pred - pred.detach()).abs().amax(dim=(2, 3)).sqrt()

    with pytest.raises(InputError, match="gradient is not finite at window 3"):
        step(model, steep, clips, targets, [3, 4], 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_clip_grad_bounds_the_step(monkeypatch):
    monkeypatch.setattr(config, "clip_grad", 1e-3)
    model, clips, targets = small_batch()
    before = torch.cat([value.detach().clone().flatten() for value in model.parameters()])
    step(model, SphericalKLDiv("proper"), clips, targets, [0, 1], 1.0)
    after = torch.cat([value.detach().flatten() for value in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_cosine_schedule_goes_down_within_an_epoch(clips, monkeypatch):
    rates, learning_rate = [], train.learning_rate
    monkeypatch.setattr(train, "learning_rate", lambda *args: rates.append(learning_rate(*args)) or rates[-1])
    assert run_train("--epochs=1", "--lr=0.01", "--lr_schedule=cosine") == 0
    rates.pop()  # for the log
    wave = [0.01 * (1 + np.cos(np.pi * step / len(rates))) / 2 for step in range(len(rates))]
    assert len(rates) > 5 and rates == pytest.approx(wave)


@pytest.mark.parametrize("index, when", [(3, "in the middle"), (8, "at the end")])
def test_a_loss_read_a_step_later_names_its_clip_too(clips, monkeypatch, index, when):
    """As on a GPU."""
    monkeypatch.setitem(STEPS_BEHIND, "cpu", 1)
    compute, seen = train.frame_losses, []

    def spoilt(model, loss_fn, clips, targets, counts):
        seen.append(len(seen))
        return compute(model, loss_fn, clips, targets, counts) + (math.nan if len(seen) == index + 1 else 0)

    monkeypatch.setattr(train, "frame_losses", spoilt)
    order = list(EpochBatches(9, 1, 0, 0, 1))  # "videos 001, 002 and 003": three windows each
    video, window = divmod(order[index][0], 3)
    with pytest.raises(InputError, match=f"not finite at video 00{video + 1}, frames {4 + 12 * window} to"):
        run_train("--epochs=1", "--seed=0")
    assert len(seen) == min(index + 2, 9)


# ---------------------------------------------------------------------------------------------------------- whole runs


def test_whole_run_from_the_command_line(clips, run_script):
    more = ("--of_available=True", "--num_workers=2", "--random_mirror=True", "--picture_interval=2")
    done = run_script("train.py", *SMALL, *more)
    assert done.returncode == 0, done.stderr
    assert "training: 9 windows of 3 frames from 3 videos" in done.stdout
    assert "epoch 3/3: loss train" in done.stdout and "clips/s" in done.stdout
    assert "caching images" in done.stderr and "epoch 1/3" in done.stderr
    run = newest()
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert {"config.json", "log.jsonl", "curves.png", "last.pt", "best.pt", "pictures/epoch_0002.png"} <= names
    assert not [name for name in names if "partial" in name] and any("tfevents" in name for name in names)
    assert json.loads((run / "config.json").read_text())["hidden_dim"] == 3
    losses = losses_of(run)
    best = min(range(3), key=lambda epoch: losses[epoch][1])
    for path in (Path("models/SST-Sal.pth"), run / "best.pt"):
        model = load_model(path, "cpu")
        assert model_args(model) == {"input_dim": 6, "hidden_dim": 3, "geometry": "exact", "latitude": True}
    assert f"the model of epoch {best + 1} is {Path('models/SST-Sal.pth')}" in done.stdout
    assert torch.load(run / "last.pt", weights_only=True)["progress"]["epoch"] == 3


def test_training_learns(clips):
    assert run_train("--epochs=6", "--optimizer=adam", "--lr=0.03", "--lr_schedule=cosine", "--hidden_dim=6") == 0
    losses = losses_of(newest())
    assert losses[-1][0] < 0.3 * losses[0][0] and losses[-1][1] < 0.5 * losses[0][1]


@pytest.mark.parametrize("optimizer, checks, behind", [("sgd", 5, 1), ("sgd", 10, 0), ("adamw", 16, 0), ("muon", 7, 0)])
def test_resumed_run_equals_the_uninterrupted_one(clips, monkeypatch, checks, optimizer, behind):
    # an epoch looks at `stop` in each of 9 steps and 4 times in validation: stopped in steps of two epochs, and between
    more = (f"--optimizer={optimizer}", "--lr=0.05", "--random_mirror=True", "--lr_schedule=cosine", "--epochs=2")
    assert run_train(*more, "--model_name=straight") == 0
    straight = newest()
    with monkeypatch.context() as patch:
        interrupt_after(patch, checks)
        patch.setitem(STEPS_BEHIND, "cpu", behind)  # as on a GPU, if 1
        assert run_train(*more, "--model_name=stopped") == train.INTERRUPTED
    stopped = newest()
    assert not Path("models/stopped.pth").exists()
    assert run_train(f"--resume={stopped / 'last.pt'}", small=()) == 0  # its settings are its own
    assert len(list(Path("runs").iterdir())) == 2
    assert losses_of(stopped) == losses_of(straight)
    states = [load_model(f"models/{name}.pth", "cpu").state_dict() for name in ("straight", "stopped")]
    states += [torch.load(run / "last.pt", weights_only=True)["model"] for run in (straight, stopped)]
    for one, other in (states[:2], states[2:]):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
def test_ctrl_c_saves_and_says_how_to_resume(clips):
    process = Script("train.py", *SMALL, "--epochs=2000", "--num_workers=1")
    while not process.stdout.readline().startswith("epoch 1/"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    run = newest()
    assert process.returncode == 130 and "Traceback" not in stderr
    assert f"python train.py --resume={run / 'last.pt'}" in stderr
    reached = torch.load(run / "last.pt", weights_only=True)["progress"]["epoch"]
    assert run_train(f"--resume={run / 'last.pt'}", f"--epochs={reached + 1}", small=()) == 0
    resumed = losses_of(run)
    assert len(resumed) == reached + 1
    assert run_train(f"--epochs={reached + 1}", "--model_name=straight") == 0
    assert losses_of(newest()) == resumed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
def test_torchrun_passes_ctrl_c_on_to_processes_that_have_it_already(monkeypatch):
    for world_size in (2, 1):
        monkeypatch.setattr(interruption, "world_size", lambda world_size=world_size: world_size)
        with train.interruption() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.is_set()
            with nullcontext() if world_size == 2 else pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(interruption, "world_size", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert "torchrun --nproc_per_node=2 train.py --resume=" in train.to_continue(Path("run"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")
@pytest.mark.parametrize("torchrun", [False, True])
def test_sigterm_to_every_process_of_a_job_saves_the_epoch(clips, torchrun):
    """Slurm and Kubernetes send it to loader workers too, which die of it unless they ignore it."""
    command = ("train.py", *SMALL, "--epochs=2000", "--num_workers=1")
    process = subprocess.Popen(
        [*TORCHRUN, ROOT / command[0], *command[1:]], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True) if torchrun else Script(*command)
    while not process.stdout.readline().startswith("epoch 1/"):
        assert process.poll() is None
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=100)
    assert stderr.count("and saved; to continue") == 1, stderr
    assert torchrun or (process.returncode == 130 and "Traceback" not in stderr)
    assert "DataLoader worker" not in stderr
    assert load_state(newest() / "last.pt")["progress"]["epoch"] >= 1


def test_a_run_is_resumed_by_one_process_at_a_time(clips):
    assert run_train("--epochs=1") == 0
    with claimed(newest(), "another", "run"), pytest.raises(InputError, match="is in use by process"):
        run_train(f"--resume={newest() / 'last.pt'}", "--epochs=2", small=())


def test_two_processes_equal_one_with_twice_the_batch(clips):
    more = ("--lr=0.2", "--random_mirror=True", "--epochs=2")  # more: a max-pool's tie may fall to the other side
    printed = end_job(start_job(2, "train.py", *SMALL, *more, "--model_name=two"))
    two = newest()
    assert printed.count("epoch 2/2") == 1 and len(list(Path("runs").iterdir())) == 1
    assert run_train(*more, "--model_name=one", "--batch_size=2") == 0
    np.testing.assert_allclose(losses_of(two), losses_of(newest()), atol=1e-5, rtol=1e-5)
    one, two = (load_model(f"models/{name}.pth", "cpu").state_dict() for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4)


def test_best_model_is_chosen_by_validation_or_training_loss(clips):
    assert run_train("--validation_split=0", "--epochs=2") == 0
    lines = [json.loads(line) for line in (newest() / "log.jsonl").read_text().splitlines()]
    assert all("validation_loss" not in line for line in lines)
    assert Path("models/SST-Sal.pth").exists()


def test_checkpoints_in_their_own_folder(clips):
    assert run_train("--ckp_dir=checkpoints", "--epochs=1") == 0
    run = newest()
    assert (Path("checkpoints") / run.name / "last.pt").exists() and not (run / "last.pt").exists()
    assert run_train(f"--resume=checkpoints/{run.name}/last.pt", "--epochs=2", small=()) == 0
    assert len(losses_of(run)) == 2


def test_start_from_the_weights_of_a_model(clips):
    save_model(SST_Sal(3, 3, "released_wrap", True), "start.pth", {})
    assert run_train("--init_from=start.pth", "--lr=1e-9", "--epochs=1") == 0
    start, end = load_model("start.pth", "cpu"), load_model("models/SST-Sal.pth", "cpu")
    assert end.geometry == "released_wrap"
    for name, value in start.state_dict().items():
        torch.testing.assert_close(end.state_dict()[name], value, atol=1e-6, rtol=0)
    with pytest.raises(InputError, match=r"start\.pth does not fit the settings: it has hidden_dim 3 instead of 2"):
        run_train("--init_from=start.pth", "--hidden_dim=2")


def test_start_from_a_narrower_model(clips):
    save_model(SST_Sal(3, 3, "exact", True), "start.pth", {})
    assert run_train("--init_from=start.pth", "--hidden_dim=5", "--lr=1e-9", "--epochs=1") == 0
    start, end = load_model("start.pth", "cpu"), load_model("models/SST-Sal.pth", "cpu")
    assert end.hidden_dim == 5
    frames = torch.rand(1, 3, 3, 12, 24)
    torch.testing.assert_close(end(frames), start(frames), atol=1e-5, rtol=0)


def test_bf16_is_for_gpus_and_stays_near_float32(clips):
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match='precision "bf16" needs an NVIDIA GPU'):
            run_train("--precision=bf16")
        return
    for precision in ("float32", "tf32", "bf16"):
        assert run_train("--device=cuda", "--epochs=1", f"--precision={precision}", f"--model_name={precision}") == 0
    short, exact = (losses_of(run)[0][1] for run in sorted(Path("runs").iterdir()))
    assert short == pytest.approx(exact, rel=0.05) and short != exact


# ----------------------------------------------------------------------------------------------------------- bad input


def test_full_disk_keeps_the_checkpoint_before(clips, monkeypatch, capsys):
    assert run_train("--epochs=1") == 0
    last = newest() / "last.pt"
    before = last.read_bytes()
    write = Path.write_bytes

    def full(path, data):
        write(path, bytes(data)[:100])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            run_train(f"--resume={last}", "--epochs=2", small=())
    assert f"the epochs before are saved; to continue:\npython train.py --resume={last}" in capsys.readouterr().err
    assert last.read_bytes() == before and not list(last.parent.glob(".*partial*"))
    assert run_train(f"--resume={last}", "--epochs=2", small=()) == 0


def test_another_shape_or_optimizer_on_resume(clips):
    assert run_train("--epochs=1") == 0
    last = newest() / "last.pt"
    with pytest.raises(InputError, match=r"last\.pt does not fit the settings: it has hidden_dim 3 instead of 4"):
        run_train(f"--resume={last}", "--hidden_dim=4", small=())
    with pytest.raises(InputError, match="it has input_dim 3 instead of 6"):
        run_train(f"--resume={last}", "--of_available=True", small=())
    with pytest.raises(InputError, match="optimizer sgd instead of adam"):
        run_train(f"--resume={last}", "--optimizer=adam", "--lr=0.1", small=())


@pytest.mark.parametrize("part, spoil, text", [
    ("model", lambda weights: {**weights, "encoder.lstm.conv.bias": torch.zeros(4)}, "does not fit the model: .*bias"),
    ("optimizer", lambda state: {**state, "param_groups": []}, "does not fit the model"),
    ("config", lambda saved: {**saved, "lr": "fast"}, "was changed: lr must be above 0, got 'fast'"),
    ("config", lambda saved: list(saved), "not a checkpoint to resume from"),
    ("history", None, "not a checkpoint to resume from")])
def test_checkpoint_that_was_changed(clips, part, spoil, text):
    assert run_train("--epochs=1") == 0
    last = newest() / "last.pt"
    state = torch.load(last, weights_only=True)
    value = state.pop(part)
    if spoil:
        state[part] = spoil(value)
    torch.save(state, last)
    with pytest.raises(InputError, match=rf"last\.pt.*{text}"):
        run_train(f"--resume={last}", "--epochs=2", small=())


def test_files_that_cannot_be_resumed_from(clips):
    save_model(SST_Sal(3, 3, "exact"), "model.pth", {})
    Path("broken.pt").write_bytes(b"PK\x03\x04 no more")
    Path("folder").mkdir()
    for name, text in (("absent.pt", "no checkpoint file"), ("folder", "no checkpoint file"),
                       ("broken.pt", "not a checkpoint"), ("model.pth", "init_from")):
        with pytest.raises(InputError, match=text):
            run_train(f"--resume={name}")


def test_no_windows(clips):
    with pytest.raises(InputError, match=r"no windows for training.*skip_frames"):
        run_train("--skip_frames=9")
    Path("train.txt").write_text("000\n")
    with pytest.raises(InputError, match=r"no windows for training: with validation_split 0\.2"):
        run_train()


def test_settings_are_checked_together_before_any_file_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = {"validation_split": 1.0, "skip_frames": -1, "hidden_dim": 0, "loss": "kl", "optimizer": "lion", "lr": 0.0,
             "lr_schedule": "step", "weight_decay": -0.1, "clip_grad": -1.0, "precision": "half", "batch_size": 0,
             "epochs": 0, "seed": -1, "picture_interval": -1}
    with pytest.raises(InputError) as raised:
        run_train(*(f"--{name}={value}" for name, value in wrong.items()), small=())
    reset()
    lines = str(raised.value).splitlines()
    assert [line.split()[0] for line in lines] == list(wrong)


def test_events_of_a_resumed_run_replace_those_after_it(tmp_path):
    line = {"epoch": 1, "train_loss": 1.0}
    for _ in range(2):
        RunFolder(tmp_path, {}, 1).write_history([line])
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [1]


def test_flow_that_is_missing_is_made_or_asked_for(clips):
    shutil.rmtree(clips / "optical_flow")
    flow = ("--of_available=True", "--epochs=1", "--flow_method=dis")
    with pytest.raises(InputError, match=r"_0000\.png is missing.*python optical_flow\.py"):
        run_train(*flow, "--compute_flow=False")
    assert run_train(*flow) == 0
    assert len(list((clips / "optical_flow" / "003").iterdir())) == 11
