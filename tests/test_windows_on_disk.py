import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from files import write_image
from windows_on_disk import Video, list_frames, read_windows, split_windows


def video_of(count):
    return Video("000", [f"000_{index:04d}.png" for index in range(count)])


@given(st.integers(1, 120), st.integers(1, 25), st.integers(0, 24))
def test_every_frame_gets_exactly_one_map(count, length, overlap):
    overlap = min(overlap, length - 1)
    windows = split_windows(video_of(count), length, overlap)
    kept = [index for window in windows for index in range(window.first, window.stop)]
    assert kept == list(range(count))
    for window in windows:
        assert window.stop - window.start == min(length, count)
        assert 0 <= window.start <= window.first < window.stop <= count
    for window in windows[1:]:
        assert window.first - window.start >= overlap


@given(st.integers(20, 200))
def test_published_windows_are_among_ours(count):
    """The published script: windows of 20 every 16 frames while they fit, maps from the fifth frame of each on."""
    published = {(start, start + 20, start + 4) for start in range(0, count - 19, 16)}
    ours = {(window.start, window.stop, window.first) for window in split_windows(video_of(count), 20, 4)}
    assert published - {(0, 20, 4)} <= ours
    assert (0, 20, 0) in ours


@pytest.fixture
def frames(tmp_path):
    """One video of 5 frames, 12 x 24, with flow."""
    rng = np.random.default_rng(0)
    for kind in ("frames", "flow"):
        (tmp_path / kind / "007").mkdir(parents=True)
        for index in range(5):
            write_image(tmp_path / kind / "007" / f"007_{index:04d}.png", rng.integers(0, 256, (12, 24, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_are_frames_and_flow_resized_by_area(frames, workers):
    (video,) = list_frames(frames / "frames")
    windows = split_windows(video, 4, 1)
    clips = list(read_windows(windows, frames / "flow", (6, 8), workers))
    assert [problem for _, problem in clips] == [None, None]
    for window, (clip, _) in zip(windows, clips):
        assert clip.shape == (4, 6, 8, 6)
        assert clip.dtype == torch.uint8
        for frame, path in zip(clip.numpy(), video.frames[window.start:]):
            for channels, kind in ((frame[..., :3], "frames"), (frame[..., 3:], "flow")):
                image = cv2.imread(str(frames / kind / "007" / path.name))
                assert np.array_equal(channels, cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA))
    (clip, _), _ = read_windows(windows, None, (6, 8), workers)
    assert torch.equal(clip, clips[0][0][..., :3])


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda folder: (folder / "frames/007/007_0003.png").write_bytes(b""), r"007_0003\.png is empty"),
    (lambda folder: (folder / "flow/007/007_0003.png").unlink(), r"flow.007.007_0003\.png does not exist"),
    (lambda folder: write_image(folder / "frames/007/007_0003.png", np.zeros((14, 24, 3), np.uint8)),
     r"007_0003\.png is 24 x 14 pixels, but 007_0002\.png before it 24 x 12")])
def test_a_bad_file_spoils_its_own_window_only(frames, spoil, message):
    spoil(frames)
    windows = split_windows(list_frames(frames / "frames")[0], 3, 0)
    (first, _), (second, problem) = read_windows(windows[:1] + windows[1:], frames / "flow", (6, 8), 0)
    assert first is not None
    assert second is None
    with pytest.raises(InputError, match=message):
        raise InputError(problem)


def test_folders_without_frames(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="holds no frames"):
            list_frames(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no frames"):
        list_frames(tmp_path)


def test_readers_start_after_opencv_has_used_its_threads(tmp_path):
    """In a process of its own, which would wait for ever."""
    for number in range(3):
        write_image(tmp_path / f"000_{number:04d}.png", np.full((40, 80, 3), number, np.uint8))
    script = """
import sys
from pathlib import Path
import cv2, numpy as np
from windows_on_disk import Video, read_windows, split_windows
cv2.setNumThreads(2)
cv2.resize(np.zeros((1100, 2200, 3), np.uint8), (1333, 777), interpolation=cv2.INTER_AREA)
windows = split_windows(Video("000", sorted(Path(sys.argv[1]).iterdir())), 3, 0)
print([tuple(clip.shape) for clip, _ in read_windows(windows, None, (12, 16), 2)], cv2.getNumThreads())
"""
    run = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout == "[(3, 12, 16, 3)] 2\n", run.stderr
