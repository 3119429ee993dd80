from pathlib import Path

import pytest
from flow_frames import moving, names, write_frames

import config
import optical_flow
from errors import InputError


def test_script_does_a_videos_folder_and_exits_with_1_for_a_bad_frame(tmp_path, script):
    frames = moving(4)
    paths = write_frames(tmp_path / "videos" / "frames", "000", frames)
    write_frames(tmp_path / "videos" / "frames", "beach", frames[:1])
    whole = paths[3].read_bytes()
    paths[3].write_bytes(b"")
    done = script("optical_flow.py", "--videos_folder=videos", "--flow_method=dis")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {Path('videos') / 'frames' / '000' / paths[3].name} is empty (0 bytes); delete it and make it again"]
    assert len(names(tmp_path / "videos" / "optical_flow" / "000")) == 2
    assert len(names(tmp_path / "videos" / "optical_flow" / "beach")) == 1
    paths[3].write_bytes(whole)
    done = script("optical_flow.py", "--videos_folder=videos", "--optical_flow_dir=videos/optical_flow",
                  "--flow_method=dis")
    assert done.returncode == 0, done.stderr
    assert len(names(tmp_path / "videos" / "optical_flow" / "000")) == 4


def test_script_with_nothing_to_do_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "videos_folder", str(tmp_path))
    with pytest.raises(InputError, match="holds neither videos nor frames"):
        optical_flow.main([])
