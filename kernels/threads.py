"""Work on tensors in pieces, on Python threads: each piece is a chain of torch calls that stays in one core's cache,
where torch by itself splits every single call over all cores and waits for the slowest each time. On a machine that is
busy with other work those waits cost many times the work."""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch


def for_each(work, pieces, device):
    """Calls work(piece) for every piece, in any order: on a CPU on as many threads as torch may use
    (`torch.set_num_threads`). The threads record no gradients."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        for piece in pieces:
            work(piece)
        return
    left = deque(pieces)
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad  # it is each thread's own

    def work_while_any_is_left():
        with mode():
            while True:
                try:
                    piece = left.popleft()
                except IndexError:
                    return
                work(piece)

    running = [_pool(threads, os.getpid()).submit(work_while_any_is_left) for _ in range(threads)]
    for thread in running:
        thread.result()


class Scratch(threading.local):
    """Arrays of each thread's own, to be written again and again: `of(use, rows, columns)` is the same one, float32, as
    long as few others are asked for. They begin with a line of the cache, and with zeros: what memory held before may
    be denormal numbers, and where rows are filled up Intel's processors take many times as long to multiply these."""

    def __init__(self):
        self.of = lru_cache(maxsize=16)(lambda use, rows, columns: torch.zeros(rows, columns).numpy())


scratch = Scratch()


@lru_cache(maxsize=4)
def _pool(threads, _process):
    """A pool whose threads all run, with torch serial in each. `_process`: threads do not outlive a fork."""
    mine, all_run = torch.get_num_threads(), threading.Barrier(threads)
    pool = ThreadPoolExecutor(threads, initializer=_be_serial)
    for started in [pool.submit(all_run.wait) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(mine)  # torch's number is each thread's own, but the last one set is the next new thread's
    return pool


def _be_serial():
    torch.set_num_threads(1)
    torch.get_num_threads()  # torch sets a thread up at its first use, from the number last set anywhere: now, from 1
