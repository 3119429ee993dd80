"""Whole folders of flow images: what is made, what is kept, and what is said of bad frames."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from flow_frames import levels_apart, make, moving, names, texture, write_frames

from errors import InputError
from flow import folders
from flow.colours import flow_to_colour
from flow.dis import dis_flow
from flow.folders import require_flow, resolve_flow_dir


def test_flow_has_the_frames_names_and_the_last_repeats(tmp_path):
    frames = moving(4)
    paths = write_frames(tmp_path / "frames", "000", frames, first=9996)  # by number: 10000 is after 9996
    assert make(tmp_path, ["000"]) == []
    flows = tmp_path / "flow" / "000"
    assert names(flows) == sorted(path.name for path in paths)
    images = [cv2.imread(str(flows / path.name)) for path in paths]
    for image, pair in zip(images, pairwise(frames)):
        np.testing.assert_array_equal(image, flow_to_colour(dis_flow(pair)))
    np.testing.assert_array_equal(images[3], images[2])
    assert np.abs(dis_flow((frames[0], frames[1])) - (3, 0)).mean() < 0.3


def test_single_frame_moves_nowhere(tmp_path):
    write_frames(tmp_path / "frames", "000", [texture(20, 40)])
    assert make(tmp_path, ["000"], save_raw=True) == []
    assert (cv2.imread(str(tmp_path / "flow" / "000" / "000_0000.png")) == 255).all()
    assert not np.load(tmp_path / "flow" / "000" / "000_0000.npz")["flow"].any()


def test_raw_flow_is_kept_and_added_to_images_that_exist(tmp_path):
    frames = moving(3)
    write_frames(tmp_path / "frames", "000", frames)
    make(tmp_path, ["000"])
    make(tmp_path, ["000"], save_raw=True)
    raw = np.load(tmp_path / "flow" / "000" / "000_0004.npz")["flow"]
    assert raw.dtype == np.float16
    np.testing.assert_array_equal(raw, dis_flow((frames[1], frames[2])).astype(np.float16))
    assert len(names(tmp_path / "flow" / "000")) == 6


def test_only_what_is_missing_is_made(tmp_path, monkeypatch):
    paths = write_frames(tmp_path / "frames", "000", moving(6))
    write_frames(tmp_path / "frames", "001", moving(2))
    make(tmp_path, ["000"])
    flows = tmp_path / "flow" / "000"
    expected = {path.name: (flows / path.name).read_bytes() for path in paths}
    for removed in ([1], [5], [4, 5], [0, 3]):
        for path in paths:
            (flows / path.name).write_bytes(b"kept")
        for index in removed:
            (flows / paths[index].name).unlink()
        assert make(tmp_path, ["000"]) == []
        made = {path.name for path in flows.iterdir() if path.read_bytes() != b"kept"}
        assert made == {paths[index].name for index in removed}
        assert all((flows / name).read_bytes() == expected[name] for name in made)
    monkeypatch.setattr(folders, "load_flows", None)  # a finished folder needs no method,
    monkeypatch.setattr(folders, "read_or_problem", None)  # and no frame is read
    assert make(tmp_path, ["000"]) == []
    assert not (tmp_path / "flow" / "001").exists()


def test_flow_of_the_method_before_is_made_again(tmp_path):
    write_frames(tmp_path / "frames", "000", moving(3))
    make(tmp_path, ["000"])
    flows = tmp_path / "flow" / "000"
    before = {path: path.stat().st_mtime_ns for path in flows.iterdir()}
    make(tmp_path, ["000"], "dis")
    assert before == {path: path.stat().st_mtime_ns for path in flows.iterdir()}
    make(tmp_path, ["000"], "dis_gated")
    assert all(path.stat().st_mtime_ns > time for path, time in before.items())


@pytest.mark.parametrize("bad,lost", [(2, [1, 2]), (0, [0]), (5, [4, 5])])
def test_unreadable_frame_is_named_and_the_rest_done(tmp_path, bad, lost):
    frames = moving(6)
    paths = write_frames(tmp_path / "frames", "000", frames)
    write_frames(tmp_path / "frames", "001", frames[:2])
    whole = paths[bad].read_bytes()
    paths[bad].write_bytes(whole[: len(whole) // 2])
    (problem,) = make(tmp_path, ["000", "001"])
    assert str(paths[bad]) in problem and "cut short" in problem
    assert names(tmp_path / "flow" / "000") == [path.name for index, path in enumerate(paths) if index not in lost]
    assert len(names(tmp_path / "flow" / "001")) == 2
    paths[bad].write_bytes(whole)
    assert make(tmp_path, ["000", "001"]) == []
    assert len(names(tmp_path / "flow" / "000")) == 6


def test_frames_of_two_sizes(tmp_path):
    frames = moving(3, 40, 80) + moving(2, 20, 40) + moving(2, 40, 80)
    paths = write_frames(tmp_path / "frames", "000", frames)
    (problem,) = make(tmp_path, ["000"])
    assert f"{paths[3]} is 40 x 20 pixels, {paths[0]} 80 x 40" in problem and "one size" in problem
    assert names(tmp_path / "flow" / "000") == [paths[index].name for index in (0, 1, 5, 6)]


def test_frames_too_small(tmp_path):
    write_frames(tmp_path / "frames", "000", [texture(11, 40)] * 2)
    assert ["11 rows" in problem for problem in make(tmp_path, ["000"])] == [True, True]


def test_folders_without_frames_are_named_and_the_rest_done(tmp_path):
    write_frames(tmp_path / "frames", "000", moving(2))
    (tmp_path / "frames" / "001").mkdir()
    for _ in range(2):
        problems = make(tmp_path, ["001", "000", "002"])
        assert [Path(problem.split()[0]).name for problem in problems] == ["001", "002"]
    assert len(names(tmp_path / "flow" / "000")) == 2
    with pytest.raises(InputError, match=r"001 holds no frames"):
        require_flow(tmp_path / "frames", tmp_path / "flow", ["000", "001"], "")


def test_interrupted_writing_leaves_no_half_files(tmp_path, monkeypatch):
    write_frames(tmp_path / "frames", "000", moving(4))

    def full_disk(suffix, image):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(folders, "encoded", full_disk)
        make(tmp_path, ["000"], save_raw=True)
    assert all(name.endswith(".npz") for name in names(tmp_path / "flow" / "000"))
    assert make(tmp_path, ["000"]) == []
    assert sum(name.endswith(".png") for name in names(tmp_path / "flow" / "000")) == 4


def test_required_flow_names_the_first_missing_file_and_the_command(tmp_path):
    paths = write_frames(tmp_path / "frames", "000", moving(3))
    with pytest.raises(InputError, match=r"flow.000.000_0000\.png is missing.*: python optical_flow\.py"):
        require_flow(tmp_path / "frames", tmp_path / "flow", ["000"], "python optical_flow.py")
    make(tmp_path, ["000"])
    require_flow(tmp_path / "frames", tmp_path / "flow", ["000"], "python optical_flow.py")
    (tmp_path / "flow" / "000" / paths[2].name).unlink()
    with pytest.raises(InputError, match=r"000_0008\.png"):
        require_flow(tmp_path / "frames", tmp_path / "flow", ["000"], "python optical_flow.py")


def test_where_flow_goes():
    assert resolve_flow_dir("", "clips/frames") == Path("clips/optical_flow")
    assert resolve_flow_dir("elsewhere", "clips/frames") == Path("elsewhere")


def test_flow_images_are_those_that_golden_maps_were_made_with(shared, tmp_path):
    golden = shared / "golden" / "inference"
    frames = sorted((golden / "frames" / "001").iterdir())[-4:]
    write_frames(tmp_path / "frames", "001", [cv2.imread(str(path)) for path in frames])
    assert make(tmp_path, ["001"]) == []
    for path, made in zip(frames, sorted((tmp_path / "flow" / "001").iterdir())):
        expected = cv2.imread(str(golden / "optical_flow" / "001" / path.name))
        assert levels_apart(cv2.imread(str(made)), expected) <= 1
