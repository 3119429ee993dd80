"""How a benchmark leaves its result: on the terminal, and in benchmarks/results/SCRIPT-MACHINE.md, a section for each
command, which the next run of that command replaces."""

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch

from files import write_text

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).with_name("results"))
PACKAGES = ("torch", "numba", "numpy", "opencv-python-headless", "av")
VECTORS = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX"}  # flag in /proc/cpuinfo: name


def cpuinfo(key):
    """The first value of a key in Linux's /proc/cpuinfo; "" where there is none."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{key}\s*: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
    return found.group(1) if found else ""


def machine(device):
    """What the benchmark runs on, in words. device: a torch.device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = cpuinfo("model name") or platform.processor() or platform.machine()
    name = re.sub(r"\((R|TM)\)| (Processor|CPU)\b", "", name).strip()
    gpu = f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""
    return f"{gpu}{name}, {cores} cores"


def circumstances():
    """Date, commit and versions, in one line."""
    commit = shutil.which("git") and subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent,
                                                    capture_output=True, text=True).stdout.strip()
    flags = cpuinfo("flags").split()
    vectors = [name for flag, name in VECTORS.items() if flag in flags]
    versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    return ", ".join([f"{date.today()}", f"commit {commit or 'unknown'}", platform.system(), *vectors,
                      f"Python {platform.python_version()}", *versions])


def command_line(script, arguments):
    """The command, without the folders of this machine."""
    arguments = [re.sub(r"^(--\w+=)?.*/", r"\1", argument) for argument in arguments]
    return shlex.join(["python", f"benchmarks/{script}.py", *arguments])


def with_section(text, title, section):
    """A Markdown text with this section, in place of one of the same title or else at its end."""
    head, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    kept = {each.partition("\n")[0]: each.partition("\n")[2].strip() for each in sections}
    kept[title] = section.strip()
    return "\n\n".join([head.strip(), *(f"## {name}\n\n{body}" for name, body in kept.items())]) + "\n"


@contextmanager
def written(script, arguments, device):
    """Yields a function that prints a line of Markdown; at the end all lines are kept in the machine's file. device:
    None if the result is the same on every machine."""
    lines = []

    def line(text):
        print(text, flush=True)
        lines.append(text)

    yield line
    where = machine(device) if device else ""
    path = RESULTS / f"{'-'.join([script, *re.findall('[a-z0-9]+', where.lower())])}.md"
    head = f"# benchmarks/{script}.py" + f" on {where}" * bool(where)
    text = path.read_text(encoding="utf-8") if path.exists() else head
    RESULTS.mkdir(exist_ok=True)
    section = f"{circumstances()}\n\n" * bool(device) + "\n".join(lines).strip()
    write_text(path, with_section(text, command_line(script, arguments), section))
    print(f"\nwritten to {path}")
