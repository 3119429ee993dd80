"""Memory of frames that are done with, handed back to the system.

A frame of some megabytes is made on one thread and freed on another. glibc has a heap for each thread, and keeps what
is free in the middle of a heap: 60 to 100 MB in inference.py. Other C libraries are left alone.
"""

import ctypes
from functools import lru_cache

HEAPS_AT_MOST = -8  # glibc's number of this option, M_ARENA_MAX


@lru_cache
def glibc():
    """glibc, or None where there is another C library."""
    try:
        library = ctypes.CDLL(None)
        return library if library.malloc_trim and library.mallopt else None
    except (AttributeError, OSError, TypeError):
        return None


def share_one_heap():
    """Threads of this process that have not allocated yet share the heap of the others."""
    if glibc():
        glibc().mallopt(HEAPS_AT_MOST, 1)


def hand_back():
    """Hands back to the system what is free in the heaps. It takes some milliseconds."""
    if glibc():
        glibc().malloc_trim(0)
