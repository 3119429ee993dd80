"""Nothing lost, nothing silently wrong: one test for each kind of fault (docs/reliability.md)."""

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, noise_frames
from test_inference import infer, maps, one_line  # noqa: F401 (infer is a fixture)

from errors import InputError
from files import list_images, write_image
from flow.folders import make_flow
from flow.methods import FlowSettings
from inference import predict
from model import SST_Sal, save_model
from provenance import claimed
from results import read_row
from training import memory
from training.memory import workers_that_fit
from video.catalogue import COLUMNS
from video.encode import write_video
from video.extraction import extract_frames
from viewer.server import LivePage

SHORT = ("--sequence_length=4", "--overlap=1", "--viewer=False", "--overlay=False")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def images(folder):
    return {path.name: path.read_bytes() for path in list_images(folder)}


def fresh(infer, tmp_path, *arguments):  # noqa: F811
    """{video: its maps} of a run into a new folder, and of the one in results."""
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    result = infer(*SHORT, *arguments, "--results_dir=fresh")
    assert result.returncode == 0, result.stderr
    return by_video(tmp_path / "fresh")


def by_video(results):
    return {read_row(path)["video"]: list(images(results / path.stem).values())
            for path in results.glob("*.json") if path.name != "run.json"}


# ------------------------------------------------------------------------------------------------------------ data loss


@pytest.mark.parametrize("identity", ["..", ".", "../results", "a/b", "", "x\x1b[2J"])
def test_a_catalogue_cannot_delete_what_lies_elsewhere(infer, videos, tmp_path, identity):  # noqa: F811
    (videos / "frames").mkdir()
    row = dict.fromkeys(COLUMNS, "1") | {"id": identity, "video": "a.mp4", "fps": "24", "stereo_layout": "mono"}
    lines = [",".join(COLUMNS), ",".join(row[column] for column in COLUMNS)]
    (videos / "frames" / "videos.csv").write_text("\n".join(lines) + "\n")
    before = contents(tmp_path)
    assert "videos.csv" in one_line(infer("--save_frames=True"))
    with pytest.raises(InputError, match="plain name"):
        extract_frames(videos, "mono")
    assert contents(tmp_path) == before


def test_only_frames_that_were_extracted_are_replaced(videos):
    extract_frames(videos, "mono")
    note = videos / "frames" / "000" / "my notes.txt"
    note.write_text("mine")
    write_video(videos / "a.mp4", noise_frames(9, 32, 64, seed=5), 24)
    assert any("move it away" in problem for problem in extract_frames(videos, "mono"))
    assert note.read_text() == "mine"


@pytest.mark.parametrize("results_dir", ["videos", "videos/frames", "videos/frames/000", "videos/optical_flow", ".",
                                         "link", "videos/x/../frames"])
def test_results_never_go_where_inputs_are(infer, videos, tmp_path, results_dir):  # noqa: F811
    extract_frames(videos, "mono")
    (tmp_path / "link").symlink_to(videos)
    before = contents(tmp_path)
    for overwrite in (False, True):
        result = infer(f"--results_dir={results_dir}", f"--overwrite={overwrite}")
        assert "choose another results_dir" in one_line(result)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("name", "arguments", "message"), [
    ("gaze.py", ["--gaze_dir=data", "--gt_dir=data"], "gt_dir data is the same as gaze_dir"),
    ("gaze.py", ["--gt_dir=data/frames/x"], "gt_dir data/frames/x is inside frames_dir"),
    ("evaluate.py", ["--evaluation_dir=data/frames"], "evaluation_dir"),
    ("evaluate.py", ["--results_dir=data/saliency_maps"], "results_dir"),
    ("train.py", ["--cache_dir=data/frames"], "cache_dir"),
    ("train.py", ["--init_from=models/SST-Sal.pth"], "the model to write"),
    ("optical_flow.py", ["--videos_folder=data", "--optical_flow_dir=data/frames"], "optical_flow_dir"),
    ("live.py", ["--source=a.mp4", "--live_file=./a.mp4"], "live_file ./a.mp4 is the same as source"),
    ("export.py", ["--inference_model=MODEL", "--export_file=a.mp4"], "export_file must end in .onnx")])
def test_no_script_writes_over_what_it_reads(run_script, small_model, tmp_path, name, arguments, message):
    (tmp_path / "data" / "frames").mkdir(parents=True)
    (tmp_path / "a.mp4").write_bytes(b"video")
    before = contents(tmp_path)
    result = run_script(name, *(argument.replace("MODEL", str(small_model)) for argument in arguments))
    assert result.returncode == 1 and message in result.stderr, result.stderr
    assert contents(tmp_path) == before


# ----------------------------------------------------------------------------------------------------- silently wrong


def test_flow_belongs_to_its_frames(tmp_path):
    settings = FlowSettings("dis", "", 64, False, True, "")

    def make(seed):
        for number, frame in enumerate(noise_frames(3, 32, 64, seed=seed)):
            path = tmp_path / "frames" / "000" / f"000_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, frame)
        problems = make_flow(tmp_path / "frames", tmp_path / "flow", ["000"], settings, torch.device("cpu"))
        return problems, images(tmp_path / "flow" / "000")

    first, second = make(0)[1], make(1)[1]
    assert first.keys() == second.keys() and first != second
    assert make(0)[1] == first
    settings = settings._replace(rows=16)
    assert make(0)[1] != first  # made in another way
    (tmp_path / "flow" / ".000.made").unlink()  # as flow that was brought along
    assert make(0)[0] == []
    assert "brought along for other frames" in make(2)[0][0]


@pytest.mark.parametrize("save_frames", [False, True])
def test_maps_follow_their_video(infer, videos, tmp_path, save_frames):  # noqa: F811
    way = f"--save_frames={save_frames}"
    infer(*SHORT, way)
    stat = (videos / "a.mp4").stat()
    (videos / "a.mp4").rename(videos / "x")
    (videos / "b.mp4").rename(videos / "a.mp4")
    (videos / "x").rename(videos / "b.mp4")  # swapped
    os.utime(videos / "a.mp4", ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    write_video(videos / "0.mp4", noise_frames(12, 32, 64, seed=3), 24)  # sorts before all others
    assert infer(*SHORT, way).returncode == 0
    ours = by_video(tmp_path / "results")
    assert sorted(ours) == ["0.mp4", "a.mp4", "b.mp4"]
    assert ours == fresh(infer, tmp_path, way)


def test_maps_without_their_record_are_not_trusted(infer, videos, tmp_path):  # noqa: F811
    infer(*SHORT)
    (tmp_path / "results" / "000.json").unlink()
    shutil.copy(videos / "b.mp4", videos / "a.mp4")
    assert infer(*SHORT).returncode == 0
    assert by_video(tmp_path / "results") == fresh(infer, tmp_path)


@pytest.mark.parametrize("spoil", [
    lambda folder: (folder / "000_0003.png").write_bytes((folder / "000_0009.png").read_bytes()),
    lambda folder: (folder / "000_0003.png").write_bytes((folder / "000_0003.png").read_bytes()[:50]),
    lambda folder: [os.utime(path, (2**33, 2**33)) for path in folder.iterdir()],
    lambda folder: [os.utime(path, (0, 0)) for path in folder.iterdir()],
    lambda folder: (folder / "000_0099.png").write_bytes(b"stale")])
def test_spoilt_maps_are_made_again_and_times_say_nothing(infer, tmp_path, spoil):  # noqa: F811
    infer(*SHORT)
    before = images(tmp_path / "results" / "000")
    spoil(tmp_path / "results" / "000")
    assert infer(*SHORT).returncode == 0
    assert images(tmp_path / "results" / "000") == before


def test_the_overlay_is_that_of_the_settings(infer, tmp_path):  # noqa: F811
    infer("--viewer=False")
    before = (tmp_path / "results" / "000.mp4").read_bytes()
    assert infer("--viewer=False", "--overlay_height=16").returncode == 0
    assert (tmp_path / "results" / "000.mp4").read_bytes() != before
    (tmp_path / "results" / "000.mp4").write_bytes(before[:500])
    assert infer("--viewer=False").returncode == 0
    assert (tmp_path / "results" / "000.mp4").read_bytes() == before


def test_frames_of_others_do_not_hide_a_video(infer, videos, tmp_path):  # noqa: F811
    extract_frames(videos, "mono")
    shutil.rmtree(videos / "frames" / "001")
    for path in (videos / "frames" / "videos.csv", videos / "frames" / "000" / ".made-from.json"):
        path.unlink()
    infer(*SHORT)
    assert sorted(by_video(tmp_path / "results")) == ["000", "a.mp4", "b.mp4"]


def test_maps_of_an_earlier_version_are_kept_and_not_mixed(infer, tmp_path):  # noqa: F811
    infer(*SHORT)
    record = json.loads((tmp_path / "results" / "run.json").read_text())
    del record["format"]
    (tmp_path / "results" / "run.json").write_text(json.dumps(record))
    before = maps(tmp_path / "results" / "000")
    assert "earlier version" in one_line(infer(*SHORT))
    assert maps(tmp_path / "results" / "000") == before


def test_a_finished_folder_holds_no_hidden_files(infer, tmp_path):  # noqa: F811
    for _ in range(2):
        assert infer(*SHORT).returncode == 0
        assert not list((tmp_path / "results").rglob(".*"))


def test_two_runs_do_not_share_a_folder(infer, tmp_path):  # noqa: F811
    with claimed(tmp_path / "results", "another description", "results_dir"):
        assert f"in use by process {os.getpid()}" in one_line(infer(*SHORT))
    assert infer(*SHORT).returncode == 0
    assert not list((tmp_path / "results").glob(".*"))


@pytest.mark.parametrize(("frames", "error", "message"), [
    (np.zeros((2, 32, 64, 3), np.float32), TypeError, "float32"),
    (np.zeros((2, 32, 64, 3), np.uint16), TypeError, "uint16"),
    (np.zeros((2, 32, 64), np.uint8), TypeError, r"\(32, 64\)"), (["a.png"], TypeError, "str"),
    ([np.zeros((32, 64, 3), np.uint8), np.zeros((16, 64, 3), np.uint8)], InputError, "one size"),
    (np.zeros((2, 15, 64, 3), np.uint8), InputError, "flow needs at least 16"),
    (np.zeros((2, 64, 4, 3), np.uint8), InputError, "flow needs at least 16")])
def test_predict_takes_frames_of_bytes_that_are_large_enough(frames, error, message):
    model = SST_Sal(6, 2, "exact")
    with pytest.raises(error, match=message):
        list(predict(frames, model, resolution=(12, 16), flow_method="dis"))


# ---------------------------------------------------------------------------------------------------- crashes and hangs


def call(folder, *arguments, code=None, **options):
    """A script as a shell starts it; stdout and stderr as text."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run([sys.executable, *(["-c", code] if code else [str(ROOT / arguments[0])]), *arguments[1:]],
                          cwd=folder, env=environment, timeout=60, **{"capture_output": True, "text": True, **options})


def test_help_in_an_ascii_locale_and_into_a_pipe_that_closes(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = call(tmp_path, "inference.py", "--help", env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "") and "360" in done.stdout
    command = f"{sys.executable} {ROOT / 'utils.py'} frames_extraction x --help | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.splitlines()[-1] in ("0", "141")


def test_a_closed_stderr_and_names_that_command_the_terminal(tmp_path):
    done = subprocess.run(["bash", "-c", f"{sys.executable} {ROOT / 'utils.py'} frames_extraction none 2>&- >&-"],
                          cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    done = call(tmp_path, "utils.py", "frames_extraction", "a\x1b[2Jb\x9b")
    assert done.returncode == 1 and r"a\x1b[2Jb\x9b" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_imports_is_no_traceback(tmp_path, number):
    environment = {**os.environ, "PYTHONVERBOSE": ""}
    process = subprocess.Popen([sys.executable, str(ROOT / "inference.py"), "--videos_folder=none"], cwd=tmp_path,
                               stderr=subprocess.PIPE, text=True, env=environment)
    stat, deadline = f"/proc/{process.pid}/maps", time.time() + 30
    while "libtorch" not in open(stat).read() and time.time() < deadline:  # noqa: SIM115, PTH123
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors and process.returncode == 130, errors


def test_little_shared_memory_is_said_and_not_used(monkeypatch, capsys):
    clip = torch.zeros(20, 240, 320, 6, dtype=torch.uint8), torch.zeros(20, 240, 320, dtype=torch.uint8), 0
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=64e6))
    assert workers_that_fit([clip], 4, 2) == 0
    line = capsys.readouterr().err
    assert "--shm-size" in line and "--num_workers=0" in line and line.count("\n") == 1
    assert workers_that_fit([clip], 1, 1) == 1
    assert workers_that_fit([clip], 4, 0) == 0 and capsys.readouterr().err == ""


def test_a_full_disk_while_the_overlay_is_written(tmp_path, monkeypatch):
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from errors import exit_code
from video.encode import write_video
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
frames = np.random.default_rng(0).integers(0, 256, (30, 64, 128, 3), np.uint8)
sys.exit(exit_code(lambda: write_video("a.mp4", frames, 8)))
"""
    done = call(tmp_path, code=code)
    assert done.returncode == 1 and re.search(r"error: .*a\.mp4", done.stderr) and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["--sequence_length=99999999999999999999", "--seed=99999999999999999999",
                                      "--num_workers=99999999999999999999", "--batch_size=99999999999999999999",
                                      "--lr=1e999", "--resolution=(240, 4000000000)", "--model_name=../x",
                                      f"--epochs={'9' * 5000}"])
def test_numbers_without_bounds(run_script, argument):
    result = run_script("train.py", argument)
    assert result.returncode == 1 and argument[2:].split("=")[0] in result.stderr and "Traceback" not in result.stderr


def test_clients_of_the_live_page_that_leave_or_ask_nonsense(capfd):
    frame, saliency = np.zeros((32, 64, 3), np.uint8), np.zeros((12, 16), np.uint8)
    with LivePage(0, "a.mp4") as page:
        page.show(frame, saliency, "")
        address = ("127.0.0.1", int(page.address.rpartition(":")[2]))
        for request in (b"GET /picture?after=" + b"9" * 5000, b"GET /picture?after=-1", b"GET /picture?after=0"):
            for _ in range(5):
                client = socket.create_connection(address)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
                client.sendall(request + b" HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
                client.close()
        with socket.create_connection(address) as client:
            client.sendall(b"GET /picture?after=" + b"9" * 5000 + b" HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 404")
        time.sleep(0.2)
    assert capfd.readouterr().err == ""


def test_the_campaign_of_random_faults(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.faults", "--minutes=0", "--seed=200"],
                          cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_models_with_weights_that_are_not_finite_predict_nothing(infer, tmp_path):  # noqa: F811
    model = SST_Sal(3, 2, "exact")
    model.encoder["lstm"].conv.weight.data[0, 0, 0, 0] = float("nan")
    save_model(model, tmp_path / "nan.pth", {})
    assert "not finite" in one_line(infer("--inference_model=nan.pth"))
    assert not (tmp_path / "results").exists()
