"""Several processes that work as one, started with `torchrun --nproc_per_node=N train.py`; without it, the only one."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from errors import InputError


def join(device):
    """Meets the other processes and returns the device that this one computes on. device: the setting, "" for a GPU
    where there is one; each of a machine's processes has a GPU of its own."""
    device = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    return device


def rank():
    """The number of this process, from 0; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world():
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def choose_device(name):
    """The torch device of that name, "" for a GPU where there is one. Raises InputError where there is no such."""
    if not name:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise InputError(f'device must be one that this PyTorch can use, like "cpu" or "cuda", got {name!r}: '
                         f"{str(problem).splitlines()[0]}") from None


def leave():
    """The end of working together."""
    if dist.is_initialized():
        dist.destroy_process_group()


def barrier():
    """Waits until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def total(values, device):
    """The sums over all processes of a list of numbers, float64."""
    if not dist.is_initialized():
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()
