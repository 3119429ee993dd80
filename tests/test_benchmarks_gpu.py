"""benchmarks/gpu.sh and what it starts, without a GPU: each part once with tiny images, and the script with a stand-in
for Python."""

import inspect
import os
import shlex
import shutil
import subprocess

import pytest
import torch
from conftest import ROOT

from benchmarks import end_to_end, gpu, model, optical_flow

PYTHON = """#!/bin/sh
case "$*" in
    "-c import av"*) exit {imports} ;;
    "-c "*) echo A Card ;;
    "-m venv"*) exit 1 ;;
    "-m pip"*) exit 1 ;;
    *) echo "$*" >> "{log}" ;;
esac
case "$*" in *{broken}*) exit 3 ;; esac
"""

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


def run_gpu_sh(folder, *arguments, imports=0, broken="nothing"):
    """(the finished process, [the arguments of each command], the table of parts)."""
    log, python = folder / "log", folder / "python"
    python.write_text(PYTHON.format(imports=imports, log=log, broken=broken))
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "BENCHMARK_RESULTS": str(folder / "results")}
    done = subprocess.run(["bash", ROOT / "benchmarks" / "gpu.sh", *arguments], env=environment, capture_output=True,
                          text=True, timeout=60)
    table = folder / "results" / "gpu.md"
    return (done, [shlex.split(line) for line in log.read_text().splitlines()] if log.exists() else [],
            table.read_text().splitlines()[4:] if table.exists() else [])


@needs_bash
@pytest.mark.parametrize("how", [[], ["--rehearse"]])
def test_gpu_sh_starts_each_part_as_it_can_be_started(tmp_path, how):
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "model.npz").touch()
    done, commands, table = run_gpu_sh(tmp_path, *how, str(tmp_path / "golden"))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(table) == len(commands) == (5 if how else 14) and all(row.endswith("| done |") for row in table)
    parsers = {"gpu": gpu.parse, "model": model.parse, "end_to_end": end_to_end.parse}
    for script, *arguments in commands:
        name = script.removeprefix("benchmarks/").removesuffix(".py")
        if name == "optical_flow":
            inspect.signature(optical_flow.main).bind(*arguments)
        else:
            options = parsers[name](arguments)
            assert name == "end_to_end" or options.device == ("cpu" if how else "cuda")
    assert gpu.parse(commands[0][1:]).golden == tmp_path / "golden"
    runs = [model.parse(arguments) for script, *arguments in commands if script == "benchmarks/model.py"]
    assert how or {(run.batch, run.precision) for run in runs if run.frames == 5} == {
        (batch, precision) for batch in (1, 4, 16) for precision in ("float32", "tf32", "bf16")}
    assert runs[-1].frames == 20


@needs_bash
def test_a_part_that_fails_is_named_and_the_others_go_on(tmp_path):
    done, commands, table = run_gpu_sh(tmp_path, str(tmp_path), broken="precision=tf32")
    assert done.returncode == 1 and len(commands) == 14
    assert [row.rpartition("python ")[2].split()[0] for row in table if "failed, exit code 3" in row] == [
        "benchmarks/model.py"] * 3
    assert "--golden" not in " ".join(commands[0])


@needs_bash
def test_a_bare_machine_without_network_is_told_what_is_missing(tmp_path):
    done, commands, table = run_gpu_sh(tmp_path, imports=1)
    assert done.returncode == 1 and not commands and not table
    assert "pip could not install it (is there no network?): pip install -r requirements.txt" in done.stderr
    done, commands, _ = run_gpu_sh(tmp_path, broken="zeros")
    assert done.returncode == 1 and not commands and "PyTorch finds no GPU that it can use" in done.stderr


def test_the_checks_of_a_card_pass_on_a_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.report.RESULTS", tmp_path)
    threads = torch.get_num_threads()
    assert gpu.main(["--device=cpu", "--size", "6", "8", "--hidden", "2"]) == 0
    text = capsys.readouterr().out
    assert text.count("the same bits") == 5 and "Not compared with the published code" in text
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(gpu, "TOLERANCE", -1.0)
    assert gpu.main(["--device=cpu", "--size", "6", "8", "--hidden", "2"]) == 1
    assert "error: not as wanted: exact: maps" in capsys.readouterr().err


def test_model_py_compares_every_formulation_and_says_what_does_not_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.report.RESULTS", tmp_path)
    monkeypatch.setattr(model, "memory", lambda task, name, options: float("inf") if name == "planar" else 1e6)
    monkeypatch.setattr(model, "formulations", lambda options: (*model.FORMULATIONS, "ours, captured"))
    small = ["--size", "6", "8", "--hidden", "2", "--frames", "2", "--repeats", "1", "--precision", "bf16"]
    assert model.main(small) == 0
    rows = [line.split("|")[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [row[1].strip() for row in rows if row[0].strip() == "planar"] == ["not enough memory"] * 2
    assert all(float(row[5]) < 0.01 for row in rows if row[0].startswith(" ours"))


def test_optical_flow_py_writes_what_it_measures(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.report.RESULTS", tmp_path)
    optical_flow.main("dis", "32", "3")
    text, = (path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
    assert "## python benchmarks/optical_flow.py dis 32 3" in text and "* dis on c" in text
