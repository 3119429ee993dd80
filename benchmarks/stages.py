"""What each stage of a run costs. Functions are wrapped from outside, so that the code that is measured holds nothing
of this. A library's own threads count for the stage in which they were started. Linux only."""

import ctypes
import sys
import threading
import time
from collections import Counter, defaultdict
from functools import wraps
from importlib import import_module
from pathlib import Path

TASKS = Path("/proc/self/task")
INTERVAL = 0.25    # seconds between two looks at the threads
PR_SET_NAME = 15    # of prctl: names the calling thread, and so the threads that it starts
REST, MEASURING = "all else", "measuring"
DECODING = "decoding"   # the stage of FFmpeg's threads, which name themselves av:CODEC:NUMBER


def core_ticks():
    """(busy, all) ticks of each core since the machine started, whoever used it: int (cores, 2)."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = [list(map(int, numbers[:8])) for name, *numbers in lines if name[:3] == "cpu" and name != "cpu"]
    return [(sum(each) - each[3] - each[4], sum(each)) for each in ticks]  # without idle and waiting for disks


def threads():
    """{id: (name, CPU seconds)} of this process's threads."""
    found = {}
    for task in TASKS.iterdir():
        try:
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            found[int(task.name)] = (task / "comm").read_text().strip(), nanoseconds / 1e9
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    return found


class Stages:
    """Measures the stages from its making until `stop`. functions: {stage: ["module:function", "module:Class.method"]}.

    cpu: {stage: seconds}, without the stages inside it, with `REST`; waits: {stage: seconds in which a thread is in it
    and neither computes nor is in a stage inside it}; process: CPU seconds of the process; seconds: of the clock;
    busy: the share of it in which each core computed, for whomever.
    """

    def __init__(self, functions):
        self.cpu, self.waits, self.of_thread = Counter(), Counter(), defaultdict(float)
        self.local, self.lock, self.stopped = threading.local(), threading.Lock(), threading.Event()
        self.prctl, self.stages = ctypes.PyDLL(None).prctl, list(functions)
        for stage, names in functions.items():
            for name in names:
                self.wrap(stage, name)
        self.before, self.last = threads(), {}
        self.begin = time.perf_counter(), time.process_time(), core_ticks()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def wrap(self, stage, name):
        module, path = name.split(":")
        *owners, attribute = path.split(".")
        owner = import_module(module)
        for each in owners:
            owner = getattr(owner, each)
        function = getattr(owner, attribute)
        measured = self.measured(stage, function)
        if owners:
            setattr(owner, attribute, measured)
            return
        for user in list(sys.modules.values()):  # a module that imported the function has it too, maybe in a table
            for bound, value in list(vars(user).items()):
                if value is function:
                    setattr(user, bound, measured)
                elif type(value) is dict:
                    value.update({key: measured for key, entry in list(value.items()) if entry is function})

    def measured(self, stage, function):
        @wraps(function)
        def call(*arguments, **named):
            outer = getattr(self.local, "inside", None)
            inside = self.local.inside = [stage, 0.0, 0.0]  # stage, CPU and clock of the stages inside this one
            self.name_thread(stage)
            cpu, clock = time.thread_time(), time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                cpu, clock = time.thread_time() - cpu, time.perf_counter() - clock
                self.note(stage, cpu - inside[1], clock - inside[2])
                if outer:
                    outer[1:] = outer[1] + cpu, outer[2] + clock
                self.local.inside = outer
                self.name_thread(outer[0] if outer else REST)

        return call

    def name_thread(self, stage):
        self.prctl(PR_SET_NAME, stage.encode())  # which keeps 15 bytes

    def note(self, stage, cpu, clock):
        with self.lock:
            self.cpu[stage] += cpu
            self.waits[stage] += clock - cpu
            self.of_thread[threading.get_native_id()] += cpu

    def watch(self):
        """Looks at the threads until `stop`: of one that has ended, nothing can be found any more."""
        self.name_thread(MEASURING)
        while not self.stopped.wait(INTERVAL):
            self.last |= threads()

    def stop(self):
        """Ends the measurement, and adds the time of threads outside stages to those in which they were started."""
        self.stopped.set()
        self.watcher.join()
        self.last |= threads()
        clock, process, ticks = self.begin
        self.seconds, self.process = time.perf_counter() - clock, time.process_time() - process
        self.busy = [(now[0] - then[0]) / max(1, now[1] - then[1]) for now, then in zip(core_ticks(), ticks)]
        names = {stage[:15]: stage for stage in (*self.stages, MEASURING)}
        for thread, (name, cpu) in self.last.items():
            stage = DECODING if name.startswith("av:") else names.get(name, REST)
            rest = cpu - self.before.get(thread, ("", 0.0))[1] - self.of_thread.get(thread, 0.0)
            self.cpu[REST if thread in self.of_thread else stage] += rest
