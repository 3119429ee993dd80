"""Ctrl-C in a training run: it stops between two steps, and the user is told how to go on."""

import os
import signal
import sys
import threading
from contextlib import contextmanager

from distributed import world_size
from errors import InputError


@contextmanager
def interruption():
    """Yields an event that the first Ctrl-C sets, or SIGTERM, which schedulers send before they stop a job. A second
    signal interrupts at once, except under torchrun, which passes Ctrl-C on to processes that have had it already."""
    event, before = threading.Event(), {}

    def set_event(number, frame):
        event.set()
        if world_size() == 1:
            signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, set_event)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interruption(worker):
    """Makes a loader's process ignore Ctrl-C, which a terminal sends to every process, and SIGTERM, which a scheduler
    does: the training process decides alone what they mean. worker: the number of the process, which DataLoader
    passes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def to_continue(checkpoints):
    """Two lines with the command that resumes from the folder `checkpoints`."""
    launcher = "python" if world_size() == 1 else f"torchrun --nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}"
    return f"to continue:\n{launcher} train.py --resume={checkpoints / 'last.pt'}"


@contextmanager
def resumable(checkpoints):
    """Says how to resume when the block ends with an error that a user can put right, if there is a last.pt in the
    folder `checkpoints`, or None in processes that write none."""
    try:
        yield
    except (InputError, OSError):
        if checkpoints and (checkpoints / "last.pt").is_file():
            print(f"\nstopped; the epochs before are saved; {to_continue(checkpoints)}", file=sys.stderr)
        raise
