"""Trains SST-Sal on the videos of videos_train_file (paper, section 4).

    python train.py --name=value ...                  torchrun --nproc_per_node=2 train.py ...    (several GPUs)
    python train.py --resume=runs/RUN/last.pt         continues a run, with its own settings

A run's folder, runs_data_dir/RUN, gets its settings, log.jsonl, curves.png, pictures, TensorBoard events, last.pt (to
resume) and best.pt (the model with the lowest validation loss, also saved as models_dir/MODEL_NAME.pth at the end).
"""

from errors import INTERRUPTED, InputError, run, say  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

import distributed
from dataset import PADDING, EpochBatches, TrainingWindows, batches_on, find_videos, split_videos
from devices import Captured, Readouts, upload
from files import clear_partials, read_split
from flow.folders import provide_flow
from flow.methods import flow_settings
from loss import SphericalKLDiv
from model import SST_Sal, load_model, save_model, save_state, widen
from provenance import check_outputs, claimed
from settings import configure, settings, validate
from spherical_conv import compile_kernels
from training import run_folder
from training.augmentation import augment
from training.checkpoint import check_same, load_state, make_state, model_args, new_epoch, restore
from training.interruption import ignore_interruption, interruption, resumable, to_continue
from training.memory import workers_that_fit
from training.optimizer import OPTIMIZERS, learning_rate
from video import image_cache
from video.names import require_folders


class Setup(NamedTuple):
    """What a run works with, the same from its first step to its last."""

    device: torch.device
    model: SST_Sal
    optimizer: torch.optim.Optimizer
    loss_fn: SphericalKLDiv
    losses_and_gradient: Callable       # see `make_losses_and_gradient`
    loader: DataLoader                  # of the training windows
    validation_loader: DataLoader       # None without a validation set


# ------------------------------------------------------------------------------------------------------ parts of a run


def settle_settings(argv):
    """Applies the command line to config. To resume, the command line overrides the settings that the run was started
    with. Returns the state to resume from, or None."""
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


def check_folders():
    """Raises InputError if something would be written where something is read."""
    inputs = {"frames_dir": config.frames_dir, "gt_dir": config.gt_dir, "optical_flow_dir": config.optical_flow_dir}
    check_outputs({"runs_data_dir": config.runs_data_dir, "ckp_dir": config.ckp_dir, "cache_dir": config.cache_dir,
                   "models_dir": config.models_dir}, inputs)
    check_outputs({"the model to write": Path(config.models_dir, f"{config.model_name}.pth")},
                  {"init_from": config.init_from})


def make_model(resumed):
    """The model that config describes: with new weights, with those of init_from, or to be filled with those of the
    state `resumed`."""
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


def load_datasets(device):
    """(training, validation) windows; prints what is left out. The processes share the work of flow and caching."""
    rank, world_size = distributed.rank(), distributed.world_size()
    names = split_videos(read_split(config.videos_train_file), config.validation_split)
    flow_dir = ""
    if config.of_available:
        folders = require_folders([name for part in names for name in part], config.frames_dir, config.frames_ids)
        mine = list(folders.values())[rank::world_size]
        flow_dir, problems = provide_flow(config.frames_dir, mine, flow_settings(config), device)
        if problems:
            raise InputError("\n".join(problems))
        distributed.barrier()
    parts = [find_videos(part, config.frames_dir, config.gt_dir, flow_dir, config.frames_ids, config.gt_first_frame,
                         config.gt_fps) for part in names]
    sources = [source for part in parts for video in part for source in video.sources()]
    threads = max(1, config.num_workers)
    image_cache.build(sources[rank::world_size], config.resolution, config.cache_dir, threads)
    distributed.barrier()
    arrays = iter(image_cache.build(sources, config.resolution, config.cache_dir, threads))
    datasets = []
    for name, listed, part in zip(("training", "validation"), names, parts):
        own = [[next(arrays) for _ in video.sources()] for video in part]
        datasets.append(TrainingWindows(part, own, config.sequence_length, config.skip_frames))
        if rank == 0:
            print(f"{name}: {datasets[-1].summary()}", flush=True)
            if mapless := sorted(set(listed) - {video.name for video in part}):
                print(f"{name}: left out, since {config.gt_dir} has no maps of them: {', '.join(mapless)}", flush=True)
        if not len(datasets[-1]) and (part or name == "training"):
            raise InputError(f"no windows for {name}: with validation_split {config.validation_split}, "
                             f"{config.videos_train_file} needs more videos, or videos that have skip_frames "
                             f"({config.skip_frames}) + sequence_length ({config.sequence_length}) frames with maps")
    return datasets


def make_loader(dataset, seed, device):
    """Reads this process's batches of a dataset, shuffled if there is a seed (not None)."""
    batches = EpochBatches(len(dataset), config.batch_size, seed, distributed.rank(), distributed.world_size())
    workers = workers_that_fit(dataset, config.batch_size, config.num_workers)
    return DataLoader(dataset, batch_sampler=batches, num_workers=workers,
                      persistent_workers=workers > 0, worker_init_fn=ignore_interruption,
                      pin_memory=device.type == "cuda")


def make_setup(resumed, device):
    """(setup, progress, history) of a new run, or if the state `resumed` is not None, of one that goes on there."""
    if config.precision != "float32" and device.type != "cuda":
        raise InputError(f'precision "{config.precision}" needs an NVIDIA GPU, and device is {device}; set it to '
                         '"float32"')
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
    torch.manual_seed(config.seed)
    model = make_model(resumed).to(device)
    optimizer = OPTIMIZERS[config.optimizer](model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    progress, history = new_epoch(0), []
    if resumed:
        check_same(config.resume, resumed["config"], {"optimizer": config.optimizer})
        progress, history = restore(config.resume, resumed, model, optimizer)
    training, validation = load_datasets(device)
    loss_fn = SphericalKLDiv(config.loss, check_targets=False).to(device)  # `TrainingWindows` has checked them
    loader = make_loader(training, config.seed, device)
    setup = Setup(device, model, optimizer, loss_fn, make_losses_and_gradient(model, loss_fn), loader,
                  make_loader(validation, None, device) if validation else None)
    return setup, progress, history


def open_folders(first_epoch):
    """(the run's `RunFolder`, the folder of last.pt and best.pt). The run's folder is new, or that of the run to
    resume."""
    if config.resume:
        path = Path(config.runs_data_dir, Path(config.resume).resolve().parent.name)
    else:
        path = run_folder.new_path(config.runs_data_dir, config.model_name)
    checkpoints = Path(config.ckp_dir, path.name) if config.ckp_dir else path
    checkpoints.mkdir(parents=True, exist_ok=True)
    for folder in {path, checkpoints, Path(config.models_dir)}:
        clear_partials(folder)
    return run_folder.RunFolder(path, settings(config), first_epoch), checkpoints


# ------------------------------------------------------------------------------------------------------------ training


def forward(model, clips):
    """Maps (B, T, H, W) of clips (B, T, C, H, W), float32 even if the model computes in bf16."""
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        return model(clips)[:, :, 0].float()


def not_finite(what, clip):
    """The error for a loss or gradient that is not finite."""
    return InputError(f"the {what} is not finite at {clip}; try a lower lr or clip_grad")


def frame_losses(model, loss_fn, clips, targets, counts):
    """Losses (B, T), times counts (B, 1): 0 for clips that are padding, else 1."""
    return loss_fn(forward(model, clips), targets) * counts


def counts_of(indices, device):
    """What `frame_losses` multiplies by, of clips with these indices."""
    return upload(torch.tensor([[float(index != PADDING)] for index in indices]), device)


def make_losses_and_gradient(model, loss_fn):
    """The function of model, clips, targets and counts that returns their `frame_losses` and the gradient of the sum of
    these over all processes, a tensor for each parameter."""
    def of_one_process(model, *batch):
        losses = frame_losses(model, loss_fn, *batch)
        return losses.detach(), *torch.autograd.grad(losses.sum(), list(model.parameters()))

    def of_several(model, *batch):
        model.zero_grad()
        losses = frame_losses(parallel, loss_fn, *batch)
        (distributed.world_size() * losses.sum()).backward()  # DistributedDataParallel takes the mean over processes
        return losses.detach(), *(parameter.grad for parameter in model.parameters())

    if distributed.world_size() == 1:
        return Captured(of_one_process)
    parallel = DistributedDataParallel(model)
    return of_several


def clip_gradient(model, gradient):
    """Sets the gradient of the model's parameters, after clip_grad. Returns its norm before."""
    for parameter, grad in zip(model.parameters(), gradient):
        parameter.grad = grad
    return clip_grad_norm_(model.parameters(), config.clip_grad or math.inf)


def numbers_of(losses):
    """What the host wants to know of losses (B, T), a tensor: the sum of the clips' means, and whether each clip's are
    finite."""
    return torch.cat([losses.mean(dim=1).sum()[None], losses.isfinite().all(dim=1)])


def numbers_of_step(losses, norm, stop):
    """The same of a training step, the sum over all processes, after two more numbers: whether the event `stop` is set
    in any process, and whether the gradient's norm is finite."""
    loss, *finite = numbers_of(losses).split([1, len(losses)])
    sums = distributed.sum_of_tensors(torch.cat([torch.full_like(loss, stop.is_set()), loss]))
    return torch.cat([sums[:1], norm.isfinite()[None], sums[1:], *finite])


def checked_loss(numbers, indices, describe):
    """The loss in `numbers_of` clips. Raises InputError naming the first clip whose losses are not finite:
    describe(index) is its name."""
    loss, *finite = numbers
    if not all(finite):
        raise not_finite("loss", describe(indices[finite.index(False)]))
    return loss


def account_for(steps, progress, bar, describe):
    """Adds training steps, as `Readouts.read` yields them, to progress and bar. Returns whether `stop` was set in one.
    Raises InputError naming a clip whose losses are not finite, or else the first clip of a batch whose gradient is
    not."""
    stopped = False
    for (stop_is_set, gradient_is_finite, *numbers), (indices, count) in steps:
        progress["loss"] += checked_loss(numbers, indices, describe)
        if not gradient_is_finite:
            raise not_finite("gradient", describe(indices[0]))
        progress["clips"] += count
        bar.update(count)
        bar.set_postfix(loss=f"{progress['loss'] / progress['clips']:.4g}")
        stopped |= stop_is_set > 0
    return stopped


def train_one_epoch(setup, progress, stop):
    """Trains on the clips that the epoch in `progress` still has to come, and keeps progress (clips, loss) up to date.
    It ends with the epoch, or between two steps once the event `stop` is set in any process. Returns clips/s, and the
    share of the time spent waiting for the loader.

    What a step has found is read before its weights change on a CPU, and after the next step's gradient on a GPU."""
    loader, readouts, describe = setup.loader, Readouts(setup.device), setup.loader.dataset.describe
    setup.model.train()
    loader.batch_sampler.begin(progress["epoch"], progress["clips"])
    first, begun, waited, began = progress["clips"], progress["clips"], 0.0, time.perf_counter()
    ready = began
    with tqdm(total=len(loader.dataset), initial=first, desc=f"epoch {progress['epoch'] + 1}/{config.epochs}",
              unit="clip", leave=False, disable=distributed.rank() > 0) as bar:
        for clips, targets, indices in batches_on(setup.device, loader):
            waited += time.perf_counter() - ready
            keys = [(config.seed, progress["epoch"], max(index, 0)) for index in indices]
            clips, targets = augment(clips, targets, keys, config.random_yaw, config.random_mirror)
            for group in setup.optimizer.param_groups:
                group["lr"] = learning_rate(config.lr_schedule, config.lr, config.epochs,
                                            progress["epoch"] + begun / len(loader.dataset))
            counts = counts_of(indices, setup.device)
            losses, *gradient = setup.losses_and_gradient(setup.model, clips, targets, counts)
            norm = clip_gradient(setup.model, gradient)
            count = loader.batch_sampler.clips_at_once(begun)
            begun += count
            readouts.add(numbers_of_step(losses, norm, stop), (indices, count))
            stopped = account_for(readouts.read(), progress, bar, describe)
            setup.optimizer.step()
            if stopped:
                break
            ready = time.perf_counter()
        account_for(readouts.read(to_the_end=True), progress, bar, describe)
    seconds = time.perf_counter() - began
    return {"clips_per_s": (progress["clips"] - first) / seconds, "waiting_share": waited / seconds}


@torch.no_grad()
def validation_loss(setup, stop):
    """Mean loss per frame of the validation windows, or None if `stop` was set in any process before the end."""
    setup.model.eval()
    loader, readouts, loss, clips_seen = setup.validation_loader, Readouts(setup.device), 0.0, 0
    for clips, targets, indices in batches_on(setup.device, loader):
        if stop.is_set():
            break
        counts = counts_of(indices, setup.device)
        readouts.add(numbers_of(frame_losses(setup.model, setup.loss_fn, clips, targets, counts)), indices)
        loss += sum(checked_loss(*step, loader.dataset.describe) for step in readouts.read())
        clips_seen += len(indices) - indices.count(PADDING)
    loss += sum(checked_loss(*step, loader.dataset.describe) for step in readouts.read(to_the_end=True))
    loss, clips_seen, stopped = distributed.sum_over_processes([loss, clips_seen, stop.is_set()], setup.device)
    return None if stopped else loss / clips_seen


def run_epoch(setup, progress, stop):
    """Trains and validates for what is left of an epoch. Returns its line of the log, or None if `stop` was set."""
    speed = train_one_epoch(setup, progress, stop)
    if progress["clips"] < len(setup.loader.dataset):
        return None
    losses = {"train_loss": progress["loss"] / progress["clips"]}
    if setup.validation_loader:
        losses["validation_loss"] = validation_loss(setup, stop)
        if losses["validation_loss"] is None:
            return None
    rate = learning_rate(config.lr_schedule, config.lr, config.epochs, progress["epoch"])
    return {"epoch": progress["epoch"] + 1, **losses, "lr": rate, **speed}


# ------------------------------------------------------------------------------------------------------------- writing


@torch.no_grad()
def picture_rows(setup):
    """The rows of `write_pictures`: the middle frames of up to 4 windows, spread over the validation windows, or if
    there are none, the training windows."""
    dataset = (setup.validation_loader or setup.loader).dataset
    setup.model.eval()
    chosen = range(0, len(dataset), -(-len(dataset) // 4))
    for clips, targets, (index,) in batches_on(setup.device, DataLoader(Subset(dataset, chosen), batch_size=1)):
        middle = clips.shape[1] // 2
        images = [clips[0, middle, :3], targets[0, middle], forward(setup.model, clips)[0, middle]]
        yield f"middle of {dataset.describe(index)}", *(image.cpu().numpy() for image in images)


def save_last(setup, progress, history, checkpoints):
    """Writes last.pt."""
    state = make_state(setup.model, setup.optimizer, progress, history, settings(config))
    save_state(checkpoints / "last.pt", state)


def record_epoch(setup, history, folder, checkpoints):
    """Writes everything that a finished epoch leaves on disk, the checkpoints first, and prints its line."""
    line = history[-1]
    if line is run_folder.best(history):
        save_model(setup.model, checkpoints / "best.pt", settings(config))
    save_last(setup, new_epoch(line["epoch"]), history, checkpoints)
    folder.write_history(history)
    if config.picture_interval and line["epoch"] % config.picture_interval == 0:
        folder.write_pictures(line["epoch"], list(picture_rows(setup)))
    print(run_folder.sentence(history, config.epochs), flush=True)


def save_best(history, folder, checkpoints):
    """Saves the run's best model as models_dir/MODEL_NAME.pth and prints where."""
    path = Path(config.models_dir, f"{config.model_name}.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(load_model(checkpoints / "best.pt", "cpu"), path, settings(config))
    epoch = run_folder.best(history)["epoch"]
    print(f"the model of epoch {epoch} is {path}; curves and pictures: {folder.path}")


def main(argv):
    resumed = settle_settings(argv)
    check_folders()
    device = distributed.join_process_group(config.device)
    compile_kernels(device, say, training=True)
    setup, progress, history = make_setup(resumed, device)
    writes = distributed.rank() == 0
    folder, checkpoints = open_folders(progress["epoch"] + 1) if writes else (None, None)

    claim = claimed(checkpoints, os.getpid(), "run to resume") if writes else nullcontext()
    with claim, interruption() as stop, resumable(checkpoints):
        while progress["epoch"] < config.epochs:
            line = run_epoch(setup, progress, stop)
            if line is None:
                if writes:
                    save_last(setup, progress, history, checkpoints)
                    print(f"\ninterrupted in epoch {progress['epoch'] + 1} and saved; {to_continue(checkpoints)}",
                          file=sys.stderr)
                distributed.leave_process_group()
                return INTERRUPTED
            history.append(line)
            progress = new_epoch(line["epoch"])
            if writes:
                record_epoch(setup, history, folder, checkpoints)
        if writes:
            save_best(history, folder, checkpoints)
    distributed.leave_process_group()
    return 0


if __name__ == "__main__":
    run(main)
