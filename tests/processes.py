"""Scripts as processes of their own, without the seconds in which their libraries are imported: a process that has
imported these, and nothing of this project, is forked for each script (multiprocessing's forkserver)."""

import faulthandler
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def fork_server():
    """The context of multiprocessing whose server has imported the libraries; its processes compute with one thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["libraries"])
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "OMP_NUM_THREADS")}
    os.environ.update(PYTHONPATH=str(HERE), OMP_NUM_THREADS="1")
    forkserver.ensure_running()
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
    return context


class Script:
    """A script that runs: what `subprocess.Popen` is, as far as the tests need it.

    log: a file for stdout and stderr, which otherwise are pipes. environment: variables that this process lacks.
    SIGUSR1 prints where its threads are.
    """

    def __init__(self, name, *arguments, cwd=".", log=None, environment=()):
        pipes = [os.pipe() for _ in range(0 if log else 2)]
        ends = [Connection(end, readable=False) for _, end in pipes]
        streams = [str(log)] if log else ends
        self.process = fork_server().Process(
            target=run_script, args=(str(ROOT / name), list(map(str, arguments)), str(Path(cwd).resolve()),
                                   {**os.environ, **dict(environment)}, *streams))
        self.process.start()
        for end in ends:
            end.close()
        self.pid = self.process.pid
        self.stdout, self.stderr = (os.fdopen(end) for end, _ in pipes) if pipes else (None, None)

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.process), timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """What it still prints, (stdout, stderr), when it has ended."""
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
        for stream in (self.stdout, self.stderr):
            stream.close()
        return tuple(text.result() for text in texts)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def start_job(count, *command, cwd="."):
    """`count` processes of a job, one script, with the variables that torchrun gives to its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environments = [{**job, "RANK": rank, "LOCAL_RANK": rank} for rank in range(count)]
    return [Script(*command, cwd=cwd, environment={name: str(value) for name, value in environment.items()})
            for environment in environments]


def end_job(scripts):
    """What the processes of a job print on stdout, all together. All must end well."""
    with ThreadPoolExecutor(len(scripts)) as pool:
        printed = list(pool.map(lambda script: script.communicate(timeout=120), scripts))
    assert [script.returncode for script in scripts] == [0] * len(scripts), printed
    return "".join(stdout for stdout, _ in printed)


def run_script(path, arguments, folder, environment, *streams):
    """What the forked process does: it runs the script as a shell does, in a session of its own."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # for its own processes: the platform's, and not this one's
    ours = {path.stem for folder in (ROOT, HERE) for path in folder.iterdir()}
    for name, module in list(sys.modules.items()):  # a fresh process has imported nothing of the project
        if name.partition(".")[0] in ours and Path(getattr(module, "__file__", None) or "none").is_relative_to(ROOT):
            del sys.modules[name]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    opened = [os.open(end, os.O_CREAT | os.O_TRUNC | os.O_WRONLY) if isinstance(end, str) else end.fileno()
              for end in streams]
    for number, end in zip((1, 2), (opened * 2)[:2]):
        os.dup2(end, number)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1, file=2)
    try:
        runpy.run_path(path, run_name="__main__")
    except KeyboardInterrupt:
        if hasattr(sys.modules.get("errors"), "IN_CHARGE"):
            raise
        os._exit(130)  # before its first line, where Python itself would end
