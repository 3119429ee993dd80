import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

import config
from errors import InputError
from settings import RULES, configure, help_text, merged, override, settings, tiles_of, validate

SETTINGS = {"epochs": 240, "lr": 0.8, "resolution": (240, 320), "overlay": True, "frames_dir": "frames"}


def copy():
    return SimpleNamespace(**SETTINGS)


@pytest.mark.parametrize(("argument", "name", "value"), [
    ("--epochs=2", "epochs", 2), ("--lr=0.1", "lr", 0.1), ("--lr=1", "lr", 1.0), ("--lr=-1e-3", "lr", -1e-3),
    ("--resolution=(8, 16)", "resolution", (8, 16)), ("--resolution=8,16", "resolution", (8, 16)),
    ("--overlay=False", "overlay", False), ("--frames_dir=123", "frames_dir", "123"),
    ("--frames_dir=", "frames_dir", ""),
    ("--frames_dir=a=b", "frames_dir", "a=b")])
def test_override(argument, name, value):
    cfg = copy()
    override(cfg, [argument])
    assert settings(cfg) == {**SETTINGS, name: value}
    assert type(getattr(cfg, name)) is type(value)


@pytest.mark.parametrize(("argument", "message"), [
    ("--epochs=2.5", "epochs must be an int like 240, got '2.5'"), ("--epochs=True", "epochs must be an int"),
    ("--lr=fast", "lr must be a float like 0.8, got 'fast'"), ("--lr=True", "lr must be a float"),
    ("--overlay=true", "overlay must be a bool like True, got 'true'"), ("--overlay=1", "overlay must be a bool"),
    ("--resolution=240", "resolution must be a tuple"), ("--resolution=(1, 2, 3)", "resolution must be a tuple"),
    ("--resolution=(1, 2.0)", "resolution must be a tuple"), ("--epochs=", "epochs must be an int"),
    ("--epochs=((((", "epochs must be an int"), ("--epoch=2", r"no setting 'epoch'; did you mean epochs\?"),
    ("--zzz=2", "no setting 'zzz'; --help lists"), ("epochs=2", "look like --name=value, got 'epochs=2'"),
    ("--epochs", "look like --name=value"), ("-epochs=2", "look like --name=value"), ("", "look like --name=value")])
def test_override_refuses(argument, message):
    cfg = copy()
    with pytest.raises(InputError, match=message):
        override(cfg, [argument])
    assert settings(cfg) == SETTINGS


@given(st.sampled_from(sorted(SETTINGS)), st.text())
def test_override_never_changes_a_type(name, text):
    cfg = copy()
    try:
        override(cfg, [f"--{name}={text}"])
    except InputError as problem:
        assert name in str(problem)
    assert {key: type(value) for key, value in settings(cfg).items()} == {k: type(v) for k, v in SETTINGS.items()}


def test_every_problem_comes_in_one_message():
    cfg = SimpleNamespace(**settings(config))
    with pytest.raises(InputError) as caught:
        configure(cfg, ["--overlap=20", "--resolutoin=2", "--device", "--geometry=flat", "--num_workers=two"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for word in ("overlap", "resolution?", "--device", "geometry", "num_workers"):
        assert any(word in line for line in lines)


def test_the_defaults_are_valid():
    validate(SimpleNamespace(**settings(config)))


def test_every_setting_that_is_not_text_has_a_rule():
    assert {name for name, value in settings(config).items() if not isinstance(value, str)} <= RULES.keys()
    assert RULES.keys() <= settings(config).keys()


def test_a_wrong_edit_of_config_is_one_line(script, tmp_path):
    """A copy of the script beside a config.py in which someone wrote a list and a text for a number."""
    for path in ROOT.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    source = (tmp_path / "config.py").read_text().replace("resolution = (240, 320)", "resolution = [240, 320]", 1)
    (tmp_path / "config.py").write_text(source.replace("overlap = 4", 'overlap = "4"', 1))
    result = script(tmp_path / "inference.py")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 2
    assert "error: resolution must be (height, width), the width a multiple of 4" in result.stderr
    assert "error: overlap must be at least 0, a whole number, got '4'" in result.stderr


@pytest.mark.parametrize(("name", "value"), [
    ("resolution", (240, 322)), ("resolution", (1, 8)), ("resolution", (8, 4)), ("overlap", -1), ("overlap", 20),
    ("sequence_length", 0), ("stereo_layout", "3d"), ("geometry", "flat"), ("num_workers", -1), ("overlay_height", 1),
    ("resolution", [240, 320]), ("resolution", 240), ("resolution", (240.0, 320)), ("epochs", 1.5), ("lr", "0.1"),
    ("lr", float("nan")), ("of_available", "False"), ("videos_folder", Path("clips")), ("device", None), ("seed", True),
    ("loss", ["proper"]), ("results_dir", 3)])
def test_validate_refuses(name, value):
    with pytest.raises(InputError, match=name):
        validate(SimpleNamespace(**{**settings(config), name: value}))


def test_help_lists_every_setting_with_default_and_comment(script):
    result = script("inference.py", "--help")
    assert result.returncode == 0
    for name in settings(config):
        assert f"--{name}=" in result.stdout
    assert "--overlap=4 " in result.stdout
    assert "warm up the state" in result.stdout


def test_help_and_wrong_options_import_nothing_that_takes_time():
    code = "import sys, config, settings; print(sorted({'torch', 'cv2', 'numpy', 'av', 'numba'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"


def test_help_says_of_every_setting_what_its_line_in_config_says():
    listed = [line.split() for line in help_text(config, SimpleNamespace(__doc__="")).splitlines()]
    source = (ROOT / "config.py").read_text(encoding="utf-8")
    assignments = re.findall(r"^(\w+) = (.*?)  +# (.*)$", source, re.MULTILINE)
    assert [name for name, _, _ in assignments] == list(settings(config))
    for name, default, comment in assignments:
        assert f"--{name}={default} {comment}".split() in listed


@pytest.mark.parametrize(("edits", "match"), [
    ({"flow_method": "raft"}, "flow_method must be"),
    ({"flow_weights": "raft-things.pth"}, "flow_weights are for RAFT"),
    ({"flow_weights": "raft-things.pth", "flow_method": "dis"}, "flow_weights are for RAFT"),
    ({"flow_resolution": 8}, "flow_resolution must be at least 16")])
def test_validate_refuses_flow_that_cannot_be(edits, match):
    with pytest.raises(InputError, match=match):
        validate(SimpleNamespace(**settings(config) | edits))
    validate(SimpleNamespace(**settings(config) | {"flow_method": "raft_large", "flow_weights": "raft-things.pth"}))


# ------------------------------------------------------------------------------------------------ from another program


def test_merged_settings_are_the_defaults_but_for_those_given():
    before = settings(config)
    namespace = merged(config, {"overlap": 2, "resolution": (32, 64), "lr": 1})
    assert settings(namespace) == {**before, "overlap": 2, "resolution": (32, 64), "lr": 1.0}
    assert type(namespace.lr) is float
    namespace.seed = 7
    assert settings(config) == before
    assert settings(merged(config, {})) == before


@pytest.mark.parametrize(("name", "value", "written"), [
    ("overlapp", 2, "2"), ("zzz", 2, "2"), ("overlap", -1, "-1"), ("overlap", 20, "20"), ("geometry", "flat", "flat"),
    ("resolution", (240, 322), "240,322"), ("live_file", "a.avi", "a.avi"), ("flow_weights", "a.pth", "a.pth"),
    ("overlap", "two", "two"), ("overlay", "true", "true"), ("lr", "fast", "fast"), ("resolution", "x", "x")])
def test_merged_refuses_in_the_words_of_the_command_line(name, value, written):
    with pytest.raises(InputError) as by_command_line:
        configure(SimpleNamespace(**settings(config)), [f"--{name}={written}"])
    with pytest.raises(InputError) as by_program:
        merged(config, {name: value})
    assert str(by_program.value) == str(by_command_line.value)
    assert "\n" not in str(by_program.value)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("overlap", 2.0, "overlap must be an int like 4, got 2.0"), ("overlap", True, "overlap must be an int"),
    ("resolution", [240, 320], "resolution must be a tuple"), ("device", None, "device must be a str like "),
    ("flow_weights", Path("a.pth"), "flow_weights must be a str"), ("of_available", 1, "of_available must be a bool")])
def test_merged_refuses_another_type(name, value, message):
    with pytest.raises(InputError, match=message):
        merged(config, {name: value})


def test_merged_names_everything_that_is_wrong():
    edited = SimpleNamespace(**{**settings(config), "seed": "0"})  # a config.py in which somebody wrote a text
    with pytest.raises(InputError) as caught:
        merged(edited, {"overlapp": 2, "geometry": "flat", "sequence_length": 4})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for word in ("did you mean overlap?", "geometry must be", "seed must be", "overlap must be less than"):
        assert any(word in line for line in lines)


@pytest.mark.parametrize("value, tiles", [("", None), ((2, 4), (2, 4)), ("(2, 4)", (2, 4)), ("2, 4", (2, 4))])
def test_tiles_of_a_setting(value, tiles):
    assert tiles_of(value) == tiles


@pytest.mark.parametrize("value", ["2", "(0, 4)", "(2, 4, 5)", (2, 4.0), "rows", "(2, True)", "(65, 1)", "f(2)", (2,)])
def test_tiles_that_are_no_pair_of_counts(value):
    with pytest.raises(ValueError):
        tiles_of(value)


def test_regions_are_text_or_a_pair():
    assert merged(config, {"regions": (2, 4)}).regions == (2, 4)
    chosen = merged(config, {})
    for regions, argument, expected in (("", "--regions=(2, 4)", "(2, 4)"), ((3, 3), "--regions=", ""),
                                        ((3, 3), "--regions=(2, 4)", (2, 4))):
        chosen.regions = regions
        override(chosen, [argument])
        validate(chosen)
        assert chosen.regions == expected
    with pytest.raises(InputError, match=r'regions must be \(rows, columns\), at most 64 each, or "", got '):
        merged(config, {"regions": "(0, 4)"})
