"""Folders of frames, and the flow that lies beside them, as streams of frames."""

import numpy as np
import pytest

from errors import InputError
from files import write_image
from flow.folders import colours_in
from video.sources import FrameFolder, list_frame_folders


@pytest.fixture
def folders(tmp_path):
    """One video of 5 frames, 12 x 24, with flow."""
    rng = np.random.default_rng(0)
    for kind in ("frames", "flow"):
        (tmp_path / kind / "007").mkdir(parents=True)
        for index in range(5):
            write_image(tmp_path / kind / "007" / f"007_{index:04d}.png", rng.integers(0, 256, (12, 24, 3), np.uint8))
    return tmp_path


def test_a_folder_of_frames(folders):
    source, = list_frame_folders(folders / "frames", {})
    frames = list(source.frames())
    assert (source.id, source.name, source.rate, source.limit) == ("007", "007", 8, 5)
    assert [frame.shape for frame in frames] == [(12, 24, 3)] * 5
    assert [source.stem(position) for position in range(5)] == [f"007_{index:04d}" for index in range(5)]
    row = source.describe()
    assert (row["samples"], row["width"], row["height"], row["bytes"]) == (5, 24, 12, source.bytes)
    flow = list(colours_in(folders / "flow" / "007", source, iter(frames), 0))
    assert [image.shape for image in flow] == [(12, 24, 3)] * 5
    last, = colours_in(folders / "flow" / "007", source, iter(frames[4:]), 4)
    assert (last == flow[4]).all() and (last != flow[0]).any()


def test_the_catalogue_says_which_video_frames_are_of(folders):
    row = {"id": "007", "video": "a.mp4", "bytes": "123", "fps": "24", "step": "3", "stereo_layout": "top_bottom"}
    source, = list_frame_folders(folders / "frames", {"007": row})
    assert (source.name, source.rate, source.bytes, source.stereo_layout) == ("007 a.mp4", 8, 123, "top_bottom")


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda folder: (folder / "frames/007/007_0003.png").write_bytes(b""), r"007_0003.png is empty"),
    (lambda folder: write_image(folder / "frames/007/007_0003.png", np.zeros((14, 24, 3), np.uint8)),
     "007_0003.png is 24 x 14 pixels")])
def test_a_bad_frame_is_a_problem_in_its_place(folders, spoil, message):
    spoil(folders)
    frames = list(FrameFolder(folders / "frames" / "007").frames())
    assert [position for position, frame in enumerate(frames) if isinstance(frame, InputError)] == [3]
    assert message in str(frames[3])


def test_missing_flow_is_a_problem_in_its_place(folders):
    (folders / "flow/007/007_0003.png").unlink()
    source = FrameFolder(folders / "frames" / "007")
    flow = list(colours_in(folders / "flow" / "007", source, source.frames(), 0))
    assert "007_0003.png does not exist" in str(flow[3]) and sum(isinstance(image, InputError) for image in flow) == 1


def test_folders_without_frames(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path):
        assert list_frame_folders(folder, {}) == []
