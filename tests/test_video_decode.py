import cv2
import numpy as np
import pytest
from conftest import ROOT, noise_frames

from files import list_images, read_image
from video.decode import list_videos, probe, sampled
from video.encode import write_video
from video.stereo import apparent_layout


@pytest.mark.parametrize(("fps", "step"), [
    (1, 1), (5, 1), (8, 1), (12, 2), (23.976, 3), (25, 3), (29.97, 4), (60, 8), (240, 30)])
def test_steps(tmp_path, fps, step):
    write_video(tmp_path / "a.mp4", noise_frames(3, 16, 16, seed=0), fps)
    assert probe(tmp_path / "a.mp4").step == step
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize("claimed", [0.0, float("nan"), 90000.0, -1.0])
def test_an_unknown_or_absurd_rate_is_measured(tmp_path, monkeypatch, claimed):
    write_video(tmp_path / "a.mp4", noise_frames(20, 16, 16, seed=0), 25)
    get = cv2.VideoCapture.get

    class Capture:
        def __init__(self, *arguments):
            self.capture = original(*arguments)

        def get(self, key):
            return claimed if key == cv2.CAP_PROP_FPS else get(self.capture, key)

        def __getattr__(self, name):
            return getattr(self.capture, name)

    original = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(25)
    assert probe(tmp_path / "a.mp4").step == 3


def test_mono_is_not_taken_for_stereo(shared):
    frames = [read_image(path) for path in list_images(shared / "panoramas")]
    frames += [next(iter(sampled(path))) for path in [*list_videos(shared / "clips"),
                                                       ROOT / "data" / "videos" / "sample.mp4"]]
    frames += [np.zeros((64, 128, 3), np.uint8)]
    assert len(frames) > 20 and {apparent_layout(frame) for frame in frames} == {"mono"}
