"""What benchmarks/stages.py measures, on functions that compute for a known time."""

import sys
import threading
import time
import types

import pytest

from benchmarks.stages import REST, Stages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


def test_each_stage_gets_its_own_time_and_all_of_it_is_found(monkeypatch):
    module = types.ModuleType("toy")
    module.inner = lambda: compute(0.05)
    user = types.ModuleType("user_of_toy")
    user.inner, user.table = module.inner, {"name": module.inner}   # as "from toy import inner" binds it

    class Tool:
        def outer(self):
            compute(0.1)
            user.inner()
            thread = threading.Thread(target=compute, args=(0.1,))  # a library's thread belongs to this stage
            thread.start()
            thread.join()
            time.sleep(0.05)

    module.Tool = Tool
    monkeypatch.setitem(sys.modules, "toy", module)
    monkeypatch.setitem(sys.modules, "user_of_toy", user)
    stages = Stages({"inner": ["toy:inner"], "outer": ["toy:Tool.outer"]})
    Tool().outer()
    compute(0.05)
    stages.stop()
    assert user.table["name"] is user.inner is module.inner
    assert stages.cpu["inner"] == pytest.approx(0.05, abs=0.02)
    assert 0.1 - 0.02 < stages.cpu["outer"] < 0.2 + 0.03     # the thread may have ended before it was seen
    assert stages.cpu[REST] >= 0.04
    assert stages.waits["outer"] > 0.04
    assert sum(stages.cpu.values()) <= stages.process + 0.02
