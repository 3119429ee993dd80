import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import config
from errors import InputError, exit_code
from settings import RULES, configure, help_text, override, settings, validate
from video.pipeline import in_order

ROOT = Path(__file__).resolve().parent.parent
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


def test_config_holds_exactly_what_the_scripts_read():
    """Literals only, each with a comment on its line; no setting that nothing reads, none read that is not there."""
    source = (ROOT / "config.py").read_text()
    tree = ast.parse(source)
    assert isinstance(tree.body[0], ast.Expr), "config.py begins with its docstring"
    names = set()
    for node in tree.body[1:]:
        assert isinstance(node, ast.Assign), ast.unparse(node)
        ast.literal_eval(node.value)
        assert "  # " in source.splitlines()[node.lineno - 1], f"{ast.unparse(node)} has no comment"
        names.add(node.targets[0].id)
    read = set()
    for path in ROOT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("config", "cfg"):
                read.add(node.attr)
    assert names <= read, f"nothing reads {names - read}"
    assert {name for name in read - names if not name.startswith("__")} == set()


def test_help_lists_every_setting_with_default_and_comment(script):
    result = script("inference.py", "--help")
    assert result.returncode == 0
    for name in settings(config):
        assert f"--{name}=" in result.stdout
    assert "--overlap=4 " in result.stdout
    assert "warm up the state" in result.stdout


def test_the_readme_lists_every_setting_as_help_does():
    listed = help_text(config, SimpleNamespace(__doc__="")).partition("Settings")[2].partition("\n\n")[2]
    assert listed.strip() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_exit_codes(capsys):
    def fail(error):
        raise error

    assert exit_code(lambda: None) == 0
    assert exit_code(lambda: fail(InputError("one\ntwo"))) == 1
    assert capsys.readouterr().err == "error: one\nerror: two\n"
    assert exit_code(lambda: fail(OSError(28, "No space left on device", "maps/a.png"))) == 1
    assert "No space left on device: maps/a.png; free some space" in capsys.readouterr().err
    assert exit_code(lambda: fail(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 / 0)


def test_in_order_keeps_the_order_and_takes_no_more_than_it_needs():
    from concurrent.futures import ThreadPoolExecutor

    taken = []
    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda item: item * item, (taken.append(k) or k for k in range(1000)))
        assert next(results) == 0
        assert len(taken) < 100
        assert list(results) == [k * k for k in range(1, 1000)]


def test_only_scripts_read_config():
    """After an override, or in a spawned worker, a library that imports config would see other values."""
    for path in ROOT.glob("*.py"):
        source = path.read_text()
        if 'if __name__ == "__main__":' not in source:
            assert "import config" not in source, f"{path.name} is no script and imports config"


def test_frames_extraction_from_a_shell(videos, tmp_path, script):
    code = f"from utils import frames_extraction; frames_extraction({str(videos)!r}); print('done')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "done\n")
    assert len(list((videos / "frames" / "000").iterdir())) == 10
    (videos / "c.mp4").write_text("not a video")
    result = script("utils.py", "frames_extraction", videos)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "c.mp4" in result.stderr
    assert "Traceback" not in result.stderr
    assert "usage" in script("utils.py").stderr
