"""Python threads for the CPU's kernels, which release the GIL: each thread computes whole bands in its core's cache.

torch's own threads split every single operation and wait for the slowest each time. On a busy machine those waits cost
many times the work.
"""

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch


def for_each(function, items):
    """Calls function(*item) for every item, in any order, on as many threads as torch may use
    (`torch.set_num_threads`). The threads record no gradients."""
    threads = torch.get_num_threads()
    if threads == 1:
        for item in items:
            function(*item)
        return
    remaining = deque(items)
    mode = torch.inference_mode if torch.is_inference_mode_enabled() else torch.no_grad  # it is each thread's own

    def call_until_none_remains():
        with mode():
            while True:
                try:
                    item = remaining.popleft()
                except IndexError:
                    return
                function(*item)

    running = [thread_pool(threads, os.getpid()).submit(call_until_none_remains) for _ in range(threads)]
    for thread in running:
        thread.result()


class Scratch(threading.local):
    """Scratch buffers, float32, of each thread's own: `of(use, rows, columns)` is the same array each time, as long as
    few others are asked for. They are cache-aligned and begin with zeros: fresh memory may hold denormal numbers, and
    Intel's processors take many times as long to multiply these where rows are padded."""

    def __init__(self):
        self.of = lru_cache(maxsize=16)(lambda use, rows, columns: torch.zeros(rows, columns).numpy())


scratch = Scratch()


@lru_cache(maxsize=4)
def thread_pool(threads, _process):
    """A pool whose threads have all started, each with torch serial in it. _process: threads do not outlive a fork."""
    before, all_run = torch.get_num_threads(), threading.Barrier(threads)
    pool = ThreadPoolExecutor(threads, initializer=make_torch_serial)
    try:
        for started in [pool.submit(all_run.wait) for _ in range(threads)]:
            started.result()
    finally:
        all_run.abort()  # if Ctrl-C came before all were there, the others would wait for ever, and so would the exit
        torch.set_num_threads(before)  # it is each thread's own number, but a new thread gets the one that was set last
    return pool


def make_torch_serial():
    torch.set_num_threads(1)
    torch.get_num_threads()  # torch sets up a thread at its first use, from the number set last anywhere: now, from 1
