"""What several tests need: the reference data where it is at hand, small videos, scripts run as a user runs them."""

import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import hypothesis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))
# A shell's background jobs (`pytest &` in a script) ignore Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

from processes import Script  # noqa: E402

import config  # noqa: E402
from model import SST_Sal, save_model  # noqa: E402
from settings import settings  # noqa: E402
from video.decode import sampled  # noqa: E402
from video.encode import write_video  # noqa: E402

DEFAULTS = settings(config)
hypothesis.settings.register_profile("busy machines", deadline=None)
hypothesis.settings.load_profile("busy machines")


def pytest_addoption(parser):
    parser.addoption("--published", help="folder of the authors' SST_Sal.pth and SST_Sal_wo_OF.pth, to compare with")


# What the kernels compile to serves all processes (kernels/simd.py), and two processes compile it in half the time.
COMPILING = ("from kernels.cpu import compile_ahead; compile_ahead(True)",
             "import torch; from spherical_conv import SphereConv2d; "
             "SphereConv2d(1, 1, 1, True, 'exact')(torch.zeros(1, 1, 2, 4)).sum().backward()")


def pytest_configure(config):
    """Compiles the kernels before the workers start, or each of them would, at the same time."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        for compiling in [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for code in COMPILING]:
            compiling.wait()


@pytest.fixture
def shared():
    """The folder of reference data; a user's clone does not have it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the reference data (../shared) is not here")
    return folder


@pytest.fixture
def script(tmp_path):
    """script("inference.py", "--name=value", ...) runs a script in tmp_path, in a process of its own: its exit code
    and what it printed."""

    def call(name, *arguments):
        process = Script(name, *arguments, cwd=tmp_path)
        stdout, stderr = process.communicate(timeout=120)
        return SimpleNamespace(returncode=process.returncode, stdout=stdout, stderr=stderr)

    return call


@pytest.fixture
def run_script(tmp_path, monkeypatch, capsys):
    """run_script("inference.py", "--name=value", ...) runs a script in tmp_path as `script` does, but in this process:
    seconds less. The settings begin with their defaults and are put back at the end of the test."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def call(name, *arguments):
        for setting, value in DEFAULTS.items():
            monkeypatch.setattr(config, setting, value)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        output = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=output.out, stderr=output.err)

    yield call
    torch.set_num_threads(threads)


def noise_frames(count, height, width, seed):
    """Smooth coloured noise that drifts: a list of BGR uint8 frames."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8), (width, height))
    return [np.roll(scene, 2 * k, axis=1) for k in range(count)]


def stereo_frames(layout, count=10):
    """Two eyes' views of the sample's meadow, the right eye's turned by 3 degrees: a list of BGR uint8 frames."""
    still = cv2.resize(next(iter(sampled(ROOT / "data" / "videos" / "sample.mp4"))), (360, 180))
    return [np.concatenate([still, np.roll(still, 3, axis=1)], axis=0 if layout == "top_bottom" else 1)] * count


@pytest.fixture
def videos(tmp_path):
    """A folder with two small videos, 24 and 30 frames a second: 10 and 5 samples."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", noise_frames(30, 32, 64, seed=0), 24)
    write_video(folder / "b.mp4", noise_frames(17, 32, 64, seed=1), 30)
    return folder


@pytest.fixture
def small_model(tmp_path):
    """The path of a checkpoint without flow, with few channels and random weights."""
    torch.manual_seed(0)
    path = tmp_path / "small.pth"
    save_model(SST_Sal(3, 2, "exact", latitude=True), path, {})
    return path
