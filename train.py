"""Trains SST-Sal on the videos of videos_train_file (paper, section 4).

    python train.py --name=value ...                  torchrun --nproc_per_node=2 train.py ...    (several GPUs)
    python train.py --resume=runs/RUN/last.pt         continues a run, with its own settings

A run's folder, runs_data_dir/RUN, gets its settings, log.jsonl, curves.png, pictures, TensorBoard events, last.pt (to
resume) and best.pt (the model with the lowest validation loss, also saved as models_dir/MODEL_NAME.pth at the end).
"""

import math
import os
import pickle
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

import config
import distributed
from dataset import PADDING, EpochBatches, TrainingWindows, batches_on, find_videos, split_videos
from errors import InputError, run
from files import read_split
from flow.folders import provide_flow
from flow.methods import flow_settings
from loss import SphericalKLDiv
from model import SST_Sal, load_model, save_model, save_state, widen
from settings import configure, settings, validate
from training import run_folder
from training.augmentation import augment
from training.optimizer import OPTIMIZERS
from video import image_cache

STATE = ("model", "optimizer", "progress", "history", "model_args", "config")  # what last.pt holds
INTERRUPTED = 130  # exit code, as shells have it for Ctrl-C


# ------------------------------------------------------------------------------------------------------ parts of a run


def load_datasets(device):
    """(training, validation) windows. The processes share the work of flow and caching; what is left out is printed."""
    names = split_videos(read_split(config.videos_train_file), config.validation_split)
    flow_dir = ""
    if config.of_available:
        mine = [name for part in names for name in part][distributed.rank() :: distributed.world()]
        flow_dir, problems = provide_flow(config.frames_dir, mine, flow_settings(config), device)
        if problems:
            raise InputError("\n".join(problems))
        distributed.barrier()
    parts = [find_videos(part, config.frames_dir, config.gt_dir, flow_dir) for part in names]
    sources = [source for part in parts for video in part for source in video.sources()]
    threads = max(1, config.num_workers)
    image_cache.build(sources[distributed.rank() :: distributed.world()], config.resolution, config.cache_dir, threads)
    distributed.barrier()
    arrays = iter(image_cache.build(sources, config.resolution, config.cache_dir, threads))
    datasets = []
    for name, part in zip(("training", "validation"), parts):
        own = [[next(arrays) for _ in video.sources()] for video in part]
        datasets.append(TrainingWindows(part, own, config.sequence_length, config.skip_frames))
        if distributed.rank() == 0:
            print(f"{name}: {datasets[-1].summary()}", flush=True)
        if not len(datasets[-1]) and (part or name == "training"):
            raise InputError(f"no windows for {name}: with validation_split {config.validation_split}, "
                             f"{config.videos_train_file} needs more videos, or videos that have skip_frames "
                             f"({config.skip_frames}) + sequence_length ({config.sequence_length}) frames with maps")
    return datasets


def make_loader(dataset, seed, device):
    """Reads this process's batches of a dataset, shuffled if there is a seed (not None)."""
    batches = EpochBatches(len(dataset), config.batch_size, seed, distributed.rank(), distributed.world())
    return DataLoader(dataset, batch_sampler=batches, num_workers=config.num_workers,
                      persistent_workers=config.num_workers > 0, worker_init_fn=ignore_interruption,
                      pin_memory=device.type == "cuda")


def ignore_interruption(worker):
    """Ctrl-C reaches a terminal's every process; the training process alone decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_model(resumed):
    """The model that config describes, with new weights, or those of init_from, or to be those of a resumed run."""
    wanted = {"input_dim": 6 if config.of_available else 3, "hidden_dim": config.hidden_dim,
              "geometry": config.geometry or "exact", "latitude": config.latitude}
    if resumed:
        model, path = SST_Sal(**resumed["model_args"]), config.resume
    elif config.init_from:
        model, path = load_model(config.init_from, "cpu", config.geometry), config.init_from
        if model.hidden_dim < config.hidden_dim:
            model = widen(model, config.hidden_dim)
    else:
        return SST_Sal(**wanted)
    if not config.geometry:
        del wanted["geometry"]  # the file's own is meant
    check_same(path, model_args(model), wanted)
    return model


def check_same(path, found, wanted):
    """Raises InputError if what a file holds differs from what the settings ask for."""
    differences = [f"{name} {found[name]} instead of {value}" for name, value in wanted.items() if found[name] != value]
    if differences:
        raise InputError(f"{path} does not fit the settings: it has {', '.join(differences)}")


def model_args(model):
    """What must agree for weights to fit, and to mean the same."""
    return {name: getattr(model, name) for name in ("input_dim", "hidden_dim", "geometry", "latitude")}


def learning_rate(epochs):
    """The learning rate after so many epochs, parts of one included: `constant`, or `cosine`, half a wave from lr down
    to 0, a little at each step: a single epoch ends as gently as many."""
    if config.lr_schedule == "constant":
        return config.lr
    return config.lr * (1 + math.cos(math.pi * epochs / config.epochs)) / 2


# --------------------------------------------------------------------------------------------------------- checkpoints


def load_state(path):
    """What `save_state` wrote. Raises InputError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"there is no checkpoint file {path}; a run's last.pt lies in its folder") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise InputError(f"{path} is not a checkpoint, or was cut short") from None
    if not isinstance(state, dict) or not state.keys() >= set(STATE) or not isinstance(state["config"], dict):
        raise InputError(f"{path} is not a checkpoint to resume from; give a run's last.pt (init_from starts a new run "
                         "from a model's weights)")
    return state


def settle_settings(argv):
    """Applies the command line to config; to resume, over the settings that the run was started with. Returns the
    state to resume from, or None."""
    configure(config, argv)
    if not config.resume:
        return None
    state, path = load_state(config.resume), config.resume
    for name, value in settings(config).items():
        setattr(config, name, state["config"].get(name, value))
    try:
        validate(config)
    except InputError as problem:
        raise InputError(f"{path} was changed: {problem}") from None
    config.resume = path
    configure(config, argv)
    return state


# -------------------------------------------------------------------------------------------------------- interruption


@contextmanager
def interruption():
    """Yields an event that the first Ctrl-C sets (or SIGTERM, as schedulers send before they stop a job); the second
    one interrupts at once, but for torchrun, which passes every Ctrl-C on to processes that have it already."""
    event, before = threading.Event(), {}

    def note(number, frame):
        event.set()
        if distributed.world() == 1:
            signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def to_continue(checkpoints):
    """The command that goes on with what is saved."""
    launcher = "python" if distributed.world() == 1 else f"torchrun --nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"
    return f"to continue:\n{launcher} train.py --resume={checkpoints / 'last.pt'}"


@contextmanager
def resumable(checkpoints):
    """Says how to go on after an error that a user can put right, where there is a checkpoint to go on from.
    checkpoints: their folder, or None for processes that write none."""
    try:
        yield
    except (InputError, OSError):
        if checkpoints and (checkpoints / "last.pt").is_file():
            print(f"\nstopped; the epochs before are saved; {to_continue(checkpoints)}", file=sys.stderr)
        raise


# ------------------------------------------------------------------------------------------------------------ training


def predict(model, clips):
    """Maps (B, T, H, W) of clips (B, T, C, H, W), float32 whatever the precision of the model's arithmetic."""
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        return model(clips)[:, :, 0].float()


def frame_losses(model, loss_fn, clips, targets, indices, describe):
    """Losses (B, T), zero for clips that only fill up a batch. Raises InputError with the clip's name if not finite."""
    losses = loss_fn(predict(model, clips), targets)
    finite = losses.isfinite().all(dim=1).tolist()
    if not all(finite):
        raise not_finite("loss", describe(indices[finite.index(False)]))
    counts = [[index != PADDING] for index in indices]
    return losses * torch.tensor(counts, dtype=losses.dtype, device=losses.device)


def optimise(model, optimizer, losses, clip):
    """One step down the gradient of the losses' sum, over the frames of all processes. Raises InputError with the
    clip's name, before the weights change, if the gradient is not finite."""
    optimizer.zero_grad()
    (distributed.world() * losses.sum()).backward()  # DistributedDataParallel takes the mean over processes
    norm = clip_grad_norm_(model.parameters(), config.clip_grad or math.inf)
    if not norm.isfinite():
        raise not_finite("gradient", clip)
    optimizer.step()


def not_finite(what, clip):
    """The error for a loss or gradient that is not finite."""
    return InputError(f"the {what} is not finite at {clip}; try a lower lr or clip_grad")


def train_one_epoch(model, loader, loss_fn, optimizer, device, progress, stop):
    """Trains on what the epoch in `progress` still has to come, keeping progress (clips, loss) up to date, until the
    end or, between two steps, until the event `stop` is set in any process. Returns clips/s, and the share of the time
    that went by waiting for the loader."""
    model.train()
    loader.batch_sampler.begin(progress["epoch"], progress["clips"])
    first, waited, began = progress["clips"], 0.0, time.perf_counter()
    ready = began
    with tqdm(total=len(loader.dataset), initial=first, desc=f"epoch {progress['epoch'] + 1}/{config.epochs}",
              unit="clip", leave=False, disable=distributed.rank() > 0) as bar:
        for clips, targets, indices in batches_on(device, loader):
            waited += time.perf_counter() - ready
            keys = [(config.seed, progress["epoch"], max(index, 0)) for index in indices]
            clips, targets = augment(clips, targets, keys, config.random_yaw, config.random_mirror)
            losses = frame_losses(model, loss_fn, clips, targets, indices, loader.dataset.describe)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress["epoch"] + progress["clips"] / len(loader.dataset))
            optimise(model, optimizer, losses, loader.dataset.describe(indices[0]))
            count, loss, stopped = distributed.total(
                [len(indices) - indices.count(PADDING), losses.mean(dim=1).sum().item(), stop.is_set()], device)
            progress["clips"] += round(count)
            progress["loss"] += loss
            bar.update(round(count))
            bar.set_postfix(loss=f"{progress['loss'] / progress['clips']:.4g}")
            if stopped:
                break
            ready = time.perf_counter()
    seconds = time.perf_counter() - began
    return {"clips_per_s": (progress["clips"] - first) / seconds, "waiting_share": waited / seconds}


@torch.no_grad()
def evaluate(model, loader, loss_fn, device, stop):
    """Mean loss per frame, or None if `stop` was set before the end."""
    model.eval()
    loss, clips_seen = 0.0, 0
    for clips, targets, indices in batches_on(device, loader):
        if stop.is_set():
            break
        losses = frame_losses(model, loss_fn, clips, targets, indices, loader.dataset.describe)
        loss += losses.mean(dim=1).sum().item()
        clips_seen += len(indices) - indices.count(PADDING)
    loss, clips_seen, stopped = distributed.total([loss, clips_seen, stop.is_set()], device)
    return None if stopped else loss / clips_seen


@torch.no_grad()
def picture_rows(model, dataset, device):
    """For `write_pictures`: the middle frames of up to 4 windows spread over a dataset."""
    model.eval()
    chosen = range(0, len(dataset), -(-len(dataset) // 4))
    for clips, targets, (index,) in batches_on(device, DataLoader(Subset(dataset, chosen), batch_size=1)):
        middle = clips.shape[1] // 2
        maps = [clips[0, middle, :3], targets[0, middle], predict(model, clips)[0, middle]]
        yield f"middle of {dataset.describe(index)}", *(each.cpu().numpy() for each in maps)


# ----------------------------------------------------------------------------------------------------------------- run


def new_epoch(number):
    """Progress of an epoch that is about to begin: clips trained on, of all processes, and the sum of their losses."""
    return {"epoch": number, "clips": 0, "loss": 0.0}


def run_epoch(model, parallel, loaders, loss_fn, optimizer, device, progress, stop):
    """Trains and validates for what is left of an epoch. Returns its line of the log, or None if `stop` was set."""
    loader, validation_loader = loaders
    speed = train_one_epoch(parallel, loader, loss_fn, optimizer, device, progress, stop)
    if progress["clips"] < len(loader.dataset):
        return None
    losses = {"train_loss": progress["loss"] / progress["clips"]}
    if validation_loader:
        losses["validation_loss"] = evaluate(model, validation_loader, loss_fn, device, stop)
        if losses["validation_loss"] is None:
            return None
    return {"epoch": progress["epoch"] + 1, **losses, "lr": learning_rate(progress["epoch"]), **speed}


def open_folders(first_epoch):
    """The run's folder, new or, to resume, the one of that run, and the folder for last.pt and best.pt."""
    if config.resume:
        path = Path(config.runs_data_dir, Path(config.resume).resolve().parent.name)
    else:
        path = run_folder.new_path(config.runs_data_dir, config.model_name)
    checkpoints = Path(config.ckp_dir, path.name) if config.ckp_dir else path
    checkpoints.mkdir(parents=True, exist_ok=True)
    return run_folder.RunFolder(path, settings(config), first_epoch), checkpoints


def restore(state, model, optimizer):
    """Puts a resumed run's weights and optimizer back; returns its progress and history. Raises InputError for weights
    of another shape, and for another optimizer, whose state would not fit."""
    check_same(config.resume, state["config"], {"optimizer": config.optimizer})
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as problem:
        raise InputError(f"{config.resume} does not fit the model: {' '.join(str(problem).split())}") from None
    return state["progress"], state["history"]


def state_of(model, optimizer, progress, history):
    """All that a run needs to go on as if it had never stopped: every draw depends on seed, epoch and clip alone."""
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress, "history": history,
            "model_args": model_args(model), "config": settings(config)}


def record(folder, checkpoints, model, optimizer, history, dataset, device):
    """Everything that an epoch which is over leaves on disk, the checkpoints first."""
    line = history[-1]
    if line is run_folder.best(history):
        save_model(model, checkpoints / "best.pt", settings(config))
    save_state(checkpoints / "last.pt", state_of(model, optimizer, new_epoch(line["epoch"]), history))
    folder.write_history(history)
    if config.picture_interval and line["epoch"] % config.picture_interval == 0:
        folder.write_pictures(line["epoch"], list(picture_rows(model, dataset, device)))


def save_best(checkpoints):
    """Saves the run's best model where models go, and returns the path."""
    path = Path(config.models_dir, f"{config.model_name}.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(load_model(checkpoints / "best.pt", "cpu"), path, settings(config))
    return path


def main(argv):
    resumed = settle_settings(argv)
    device = distributed.join(config.device)
    if config.precision != "float32" and device.type != "cuda":
        raise InputError(f'precision "{config.precision}" needs an NVIDIA GPU, and device is {device}; set it to '
                         '"float32"')
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    torch.manual_seed(config.seed)
    model = make_model(resumed).to(device)
    optimizer = OPTIMIZERS[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    progress, history = restore(resumed, model, optimizer) if resumed else (new_epoch(0), [])
    loss_fn = SphericalKLDiv(config.loss).to(device)
    training, validation = load_datasets(device)
    loaders = make_loader(training, config.seed, device), make_loader(validation, None, device) if validation else None
    parallel = DistributedDataParallel(model) if distributed.world() > 1 else model
    writes = distributed.rank() == 0
    folder, checkpoints = open_folders(progress["epoch"] + 1) if writes else (None, None)

    with interruption() as stop, resumable(checkpoints):
        while progress["epoch"] < config.epochs:
            line = run_epoch(model, parallel, loaders, loss_fn, optimizer, device, progress, stop)
            if line is None:
                if writes:
                    save_state(checkpoints / "last.pt", state_of(model, optimizer, progress, history))
                    print(f"\ninterrupted in epoch {progress['epoch'] + 1} and saved; {to_continue(checkpoints)}",
                          file=sys.stderr)
                distributed.leave()
                return INTERRUPTED
            history.append(line)
            progress = new_epoch(line["epoch"])
            if writes:
                record(folder, checkpoints, model, optimizer, history, validation or training, device)
                print(run_folder.sentence(history, config.epochs), flush=True)
        if writes:
            path = save_best(checkpoints)
            epoch = run_folder.best(history)["epoch"]
            print(f"the model of epoch {epoch} is {path}; curves and pictures: {folder.path}")
    distributed.leave()
    return 0


if __name__ == "__main__":
    run(main)
