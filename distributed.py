"""Data-parallel work of several processes that `torchrun --nproc_per_node=N SCRIPT` starts. Without torchrun there is
one process, and every function here does the obvious."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from errors import InputError


def choose_device(name):
    """The torch device of that name; "" means a GPU if there is one, else the CPU. Raises InputError if PyTorch cannot
    use the device."""
    if not name:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise InputError(f'device must be one that this PyTorch can use, like "cpu" or "cuda", got {name!r}: '
                         f"{str(problem).splitlines()[0]}") from None


def join_process_group(device_name):
    """Joins torchrun's process group, if there is one, and returns the device that this process computes on: see
    `choose_device`; on CUDA each process of a machine gets a GPU of its own."""
    device = choose_device(device_name)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    return device


def leave_process_group():
    """Leaves the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank():
    """The number of this process, from 0. Process 0 is the one that writes shared files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier():
    """Waits until every process has come to this call."""
    if dist.is_initialized():
        dist.barrier()


def sum_of_tensors(values):
    """The sum over all processes of a tensor of each, in float64. The host does not wait for a GPU."""
    if not dist.is_initialized():
        return values
    sums = values.double()
    dist.all_reduce(sums)
    return sums


def sum_over_processes(values, device):
    """The sum over all processes of each number in the list `values`: a list of floats. device: of this process."""
    if not dist.is_initialized():
        return list(values)
    return sum_of_tensors(torch.tensor(values, dtype=torch.float64, device=device)).tolist()
