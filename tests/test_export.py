"""The ONNX file against the model that it is made of, in onnxruntime."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT

import config
import export
from errors import InputError, exit_code
from model import SST_Sal, load_model

WIDTH = 20


def random_model(geometry, input_dim, latitude):
    torch.manual_seed(0)
    model = SST_Sal(input_dim, 3, geometry, latitude)
    for cell in (model.encoder["lstm"], model.decoder["lstm"]):
        torch.nn.init.normal_(cell.conv.weight, std=0.3)
        torch.nn.init.normal_(cell.conv.bias)
    return model.eval()


def frames_of(model, count, height):
    return torch.rand(count, 1, model.input_dim, height, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("latitude", [False, True])
@pytest.mark.parametrize(("input_dim", "height"), [(3, 11), (6, 12)])
@pytest.mark.parametrize("geometry", ["exact", "released", "released_wrap"])
def test_steps_are_those_of_the_model(geometry, input_dim, height, latitude, tmp_path):
    model = random_model(geometry, input_dim, latitude)
    path = tmp_path / "model.onnx"
    assert export.write_onnx(model, (height, WIDTH), path, {}) < 1e-5
    session = onnxruntime.InferenceSession(path)
    inputs = {entry.name: np.zeros(entry.shape, np.float32) for entry in session.get_inputs()}
    assert list(inputs) == ["frame", "encoder_h", "encoder_c", "decoder_h", "decoder_c"]
    names, state = [entry.name for entry in session.get_outputs()], None
    for frame in frames_of(model, 5, height):
        with torch.no_grad():
            saliency, state = model.step(frame, state)
        expected = dict(zip(names, (saliency, *state[0], *state[1])))
        assert list(expected) == ["saliency", "next_encoder_h", "next_encoder_c", "next_decoder_h", "next_decoder_c"]
        inputs["frame"] = frame.numpy()
        outputs = dict(zip(names, session.run(None, inputs)))
        for name, value in outputs.items():
            torch.testing.assert_close(torch.from_numpy(value), expected[name], atol=1e-5, rtol=0, msg=name)
        inputs = {name: outputs.get(f"next_{name}") for name in inputs}
    assert saliency.std() > 0.01


def test_the_file_is_small_and_has_plain_operators_only(tmp_path):
    model, sizes = random_model("released", 6, True), []
    for width in (40, 80):
        path = tmp_path / f"{width}.onnx"
        export.write_onnx(model, (12, width), path, {"geometry": model.geometry})
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] < 40 * 100  # the sampling of every pixel, written out, would be 36 * 12 bytes and more
    assert len(list(tmp_path.iterdir())) == 2
    graph = onnx.load(path)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 15)]
    assert {node.domain for node in graph.graph.node} == {""}
    assert {entry.key: entry.value for entry in graph.metadata_props} == {"geometry": "released"}
    assert str(ROOT).encode() not in path.read_bytes()


def test_a_file_that_differs_from_the_model_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_text("the one before")
    other = random_model("exact", 3, False)
    torch.nn.init.normal_(other.decoder["lstm"].conv.bias)
    step = export.Step
    monkeypatch.setattr(export, "Step", lambda model, *size: step(other, *size))
    with pytest.raises(InputError, match=r"model.onnx is not written: its maps would be up to 0\.\d+ from the model's"):
        export.write_onnx(random_model("exact", 3, False), (12, WIDTH), path, {})
    assert [(entry, entry.read_text()) for entry in tmp_path.iterdir()] == [(path, "the one before")]


def test_a_map_that_is_no_number_is_a_difference():
    model = random_model("exact", 3, False)
    maps = iter([0.0, np.nan, 0.0, 0.0])
    session = SimpleNamespace(run=lambda *_: [np.full((1, 1, 12, WIDTH), next(maps)), 0, 0, 0, 0])
    assert np.isnan(export.largest_difference(session, model, (12, WIDTH)))


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"^export.py needs {name}: pip install -r requirements-dev.txt$"):
        export.main([])


def test_the_file_lies_beside_the_model_and_never_replaces_it(small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(config, "inference_model", str(small_model))
    monkeypatch.setattr(config, "resolution", (12, WIDTH))
    monkeypatch.setattr(config, "geometry", "released_wrap")
    export.main([])
    assert re.fullmatch(rf"{tmp_path}/small.onnx: 0.\d MB, maps within \S+ of the model's\n", capsys.readouterr().out)
    about = {entry.key: entry.value for entry in onnx.load(tmp_path / "small.onnx").metadata_props}
    assert about["geometry"] == "released_wrap"
    assert about["resolution"] == f"12 x {WIDTH}"
    assert re.fullmatch("[0-9a-f]{64}", about["sha256"])
    before = small_model.read_bytes()
    monkeypatch.setattr(config, "export_file", f"{tmp_path}/../{tmp_path.name}/small.pth")
    with pytest.raises(InputError, match=r"another file than the model .*small.pth"):
        export.main([])
    assert small_model.read_bytes() == before


def test_the_command_and_the_loop_of_the_document(script, tmp_path, monkeypatch):
    section = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    command, = re.findall(r"python (export.py) (--inference_model=(\S+))", section)
    loop, = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    source, target = ROOT / command[2], tmp_path / command[2].replace(".pth", ".onnx")
    target.parent.mkdir()
    (tmp_path / command[2]).write_bytes(source.read_bytes())
    result = script(*command[:2], f"--resolution=(12, {WIDTH})")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{target.relative_to(tmp_path)}: ")
    model, state = load_model(source, "cpu"), None
    frames = frames_of(model, 3, 12)
    with torch.no_grad():
        for frame in frames:
            saliency, state = model.step(frame, state)
    monkeypatch.chdir(tmp_path)
    names = {"numpy": np, "onnxruntime": onnxruntime, "frames": frames.numpy()}
    exec(loop, names)
    torch.testing.assert_close(torch.from_numpy(names["saliency"]), saliency, atol=1e-5, rtol=0)


def test_a_missing_model_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(config, "inference_model", "none.pth")
    assert exit_code(lambda: export.main([])) == 1
    assert tuple(capsys.readouterr()) == ("", "error: the model none.pth does not exist\n")
