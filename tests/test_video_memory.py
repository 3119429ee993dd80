"""What frames leave in memory goes back to the system."""

import re
from pathlib import Path

import pytest

from video import memory

pytestmark = pytest.mark.skipif(not memory.glibc(), reason="the C library is not glibc")


def resident_megabytes():
    return int(re.search(r"Rss:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text()).group(1)) / 1024


def test_what_is_free_in_the_middle_of_a_heap_is_handed_back():
    blocks = [bytearray(100_000) for _ in range(800)]  # too small to be given to the system each by itself
    del blocks[::2]
    before = resident_megabytes()
    memory.hand_back()
    assert resident_megabytes() < before - 30


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "glibc", lambda: None)
    memory.share_one_heap()
    memory.hand_back()
