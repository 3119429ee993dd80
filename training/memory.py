"""Shared memory, in which a loader's processes hand over their clips: containers often have little of it."""

import os
import shutil
import sys
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PREFETCHED = 2  # batches that each process of a DataLoader prepares ahead


def workers_that_fit(dataset, batch_size, workers):
    """`workers`, or 0 if the batches that so many processes prepare do not fit into shared memory, where they would
    wait for each other for ever. Then a line on stderr says so."""
    if not workers or not len(dataset) or not SHARED_MEMORY.is_dir():
        return workers
    clip, target, _ = dataset[0]
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    needed = processes * (PREFETCHED * workers + 1) * batch_size * (clip.nbytes + target.nbytes)
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed <= free:
        return workers
    print(f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, and num_workers={workers} needs {needed / 1e6:.0f} MB: clips "
          "are read in the main process, as with --num_workers=0; in Docker, --shm-size gives more", file=sys.stderr)
    return 0
