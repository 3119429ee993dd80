"""What files declare of their projection, what they look like, and the conversion to equirectangular frames."""

import av
import numpy as np
import pytest
from conftest import ROOT
from odd_videos import CUBEMAP, EQUIRECTANGULAR, HALF_SPHERE, declare, opencv_frames, project, scene, turning, write

from files import list_images, read_image
from video.colour import HLG, PQ, linear_light, to_bgr, upright
from video.decode import VideoReader, list_videos, probe, sampled
from video.projection import HALF, PROJECTIONS, Layout, apparent_projection, effective_layout, whole_sphere
from video.sources import VideoFile

FRAMES = turning(27, scene(128, 256))
IN_V360 = {"cubemap": ("c3x2", 256, 384), "eac": ("eac", 256, 384), "dual_fisheye": ("dfisheye", 128, 256)}


def frames_of(path, stereo_layout="mono", projection=""):
    video = VideoFile("000", path, stereo_layout, projection)
    return video, list(video.frames())


def alike(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


@pytest.mark.parametrize("projection", IN_V360)
def test_a_projection_that_is_set_is_converted_and_one_that_is_not_is_warned_of(tmp_path, capsys, projection):
    output, height, width = IN_V360[projection]
    write(tmp_path / "a.mp4", list(project(FRAMES, output, height, width)))
    video, frames = frames_of(tmp_path / "a.mp4", projection=projection)
    assert frames[0].shape == (128, 256, 3) and alike(frames[3], FRAMES[9]) > 0.98
    assert video.describe()["projection"] == projection and capsys.readouterr().err == ""
    frames_of(tmp_path / "a.mp4")
    assert capsys.readouterr().err == (
        f"warning: a.mp4 does not look equirectangular; if it is not, use --projection={projection}\n")


def test_what_a_file_declares_counts(tmp_path, capsys):
    write(tmp_path / "cube.mp4", list(project(FRAMES, "c3x2", 256, 384)))
    declare(tmp_path / "cube.mp4", CUBEMAP)
    video, frames = frames_of(tmp_path / "cube.mp4")
    assert video.projection == "cubemap" and alike(frames[0], FRAMES[0]) > 0.98
    video, frames = frames_of(tmp_path / "cube.mp4", projection="equirectangular")  # but a setting counts more
    assert video.projection == "equirectangular" and frames[0].shape == (256, 384, 3)
    write(tmp_path / "flat.mp4", list(project(FRAMES, "flat", 128, 256)))
    declare(tmp_path / "flat.mp4", EQUIRECTANGULAR)
    frames_of(tmp_path / "flat.mp4")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("mode", "layout", "axis"), [(1, "top_bottom", 0), (2, "left_right", 1)])
def test_declared_stereo_counts_over_mono(tmp_path, mode, layout, axis):
    write(tmp_path / "a.mp4", [np.concatenate([frame, frame[::-1]], axis=axis) for frame in FRAMES])
    declare(tmp_path / "a.mp4", EQUIRECTANGULAR, mode)
    video, frames = frames_of(tmp_path / "a.mp4")
    assert (video.stereo_layout, frames[0].shape) == (layout, (128, 256, 3)) and alike(frames[0], FRAMES[0]) > 0.98


def test_a_half_sphere_is_put_into_a_whole_one_and_that_is_said(tmp_path, capsys):
    write(tmp_path / "a.mp4", list(project(FRAMES, "hequirect", 128, 128)))
    frames_of(tmp_path / "a.mp4")
    assert "--projection=half_equirectangular" in capsys.readouterr().err
    _, by_setting = frames_of(tmp_path / "a.mp4", projection="half_equirectangular")
    declare(tmp_path / "a.mp4", HALF_SPHERE)
    video, frames = frames_of(tmp_path / "a.mp4")
    np.testing.assert_array_equal(frames, by_setting)
    assert capsys.readouterr().err == "note: a.mp4 shows 180 x 180 degrees of the sphere; the rest is black\n" * 2
    assert frames[0].shape == (128, 256, 3) and alike(frames[0][:, 66:190], FRAMES[0][:, 66:190]) > 0.98
    assert not frames[0][:, :64].any() and not frames[0][:, 192:].any()
    assert video.projection == "half_equirectangular"


def test_parts_of_the_sphere():
    whole = whole_sphere(np.full((10, 40, 3), 9, np.uint8), (0.0, 0.25, 0.0, 0.25))
    assert whole.shape == (20, 40, 3) and not whole[:5].any() and not whole[15:].any() and (whole[5:15] == 9).all()


def test_swapped_eyes_and_settings():
    declared = Layout("equirectangular", "top_bottom", swapped=True)
    assert effective_layout(declared, "mono", "") == declared
    assert effective_layout(declared, "left_right", "") == Layout("equirectangular", "left_right")
    assert effective_layout(Layout(), "mono", "half_equirectangular").bounds == HALF
    assert effective_layout(Layout("fisheye"), "mono", "") == Layout("equirectangular", "mono")
    assert {effective_layout(Layout(), "mono", name).projection for name in PROJECTIONS} == set(PROJECTIONS)


@pytest.mark.parametrize(("output", "shape", "words"), [
    ("flat", (128, 256), "does not look like 360° video"), ("e", (144, 256), "is 256 x 144 pixels, not twice as wide")])
def test_a_flat_film_and_a_stretched_one_are_warned_of(tmp_path, capsys, output, shape, words):
    write(tmp_path / "a.mp4", list(project(FRAMES, output, *shape)))
    frames_of(tmp_path / "a.mp4")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0] and "--projection" in lines[0]


def test_black_corners_are_those_of_fisheyes():
    rows, columns = np.mgrid[-63.5:64, -63.5:64]
    circle = (np.hypot(rows, columns) < 64)[..., None]
    frame = np.tile(np.uint8(circle * 150), (1, 2, 3))
    assert apparent_projection([frame]) == "dual_fisheye"


def test_real_panoramas_are_taken_for_equirectangular_and_no_warning_comes(shared, capsys):
    stills = [read_image(path) for path in list_images(shared / "panoramas")]
    assert {apparent_projection([still]) for still in stills} == {"equirectangular"}
    for path in [*list_videos(shared / "clips"), ROOT / "data" / "videos" / "sample.mp4"]:
        for _, _ in zip(range(10), sampled(path)):
            pass
        words = {"tunnel.mp4": "is 1920 x 1080 pixels", "cube_3x2.mp4": "--projection=cubemap"}.get(path.name)
        warned = capsys.readouterr().err.splitlines()
        assert len(warned) == bool(words) and (not words or words in warned[0])


def test_the_cases_are_warned_of(shared, capsys):
    for name, words in (("eac", "=eac"), ("dual_fisheye", "=dual_fisheye"), ("flat_2_to_1", "--projection")):
        list(sampled(shared / "cases" / "videos" / f"{name}.mp4"))
        warned = capsys.readouterr().err.splitlines()
        assert len(warned) == 1 and words in warned[0]


# ------------------------------------------------------------------------------------------------------------- colours


def test_hlg_keeps_its_levels_and_pq_becomes_like_it(shared):
    np.testing.assert_allclose(np.sqrt(linear_light(HLG)), np.arange(65536) / 65535, atol=1e-6)
    white = np.interp(203, 10000 * np.linspace(0, 1, 65536), np.zeros(65536)) + 0.58069  # 203 nits as a signal of PQ
    assert np.sqrt(linear_light(PQ)[round(white * 65535)]) == pytest.approx(0.75, abs=0.005)  # ITU-R BT.2408
    assert (np.diff(linear_light(PQ)) >= 0).all() and linear_light(PQ)[-1] == pytest.approx(1, abs=1e-3)
    path = shared / "cases" / "videos"
    hlg, plain = (next(iter(sampled(path / name))) for name in ("hlg_10bit.mp4", "plain.mp4"))
    assert alike(hlg, plain) > 0.95


class Picture:
    """Stands for an `av.VideoFrame` with a display matrix."""

    def __init__(self, *matrix):
        class Data(bytes):
            type = type("Kind", (), {"name": "DISPLAYMATRIX"})
        self.side_data = [Data(np.int32([*matrix[:2], 0, *matrix[2:], 0, 0, 0, 1 << 14]).tobytes())]


@pytest.mark.parametrize(("matrix", "turned"), [
    ((1, 0, 0, 1), lambda frame: frame), ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
    ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)), ((0, -1, 1, 0), np.rot90),
    ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]), ((1, 0, 0, -1), lambda frame: frame[::-1])])
def test_a_display_matrix_turns_the_frame(matrix, turned):
    frame = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(upright(frame, Picture(*(65536 * entry for entry in matrix))), turned(frame))


def test_a_rotated_file_is_shown_as_opencv_shows_it(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 256, 128, "yuv420p"
        stream.set_display_rotation(90)
        for frame in FRAMES[:3]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
    ours = [to_bgr(picture) for _, _, picture in VideoReader(tmp_path / "a.mp4", probe(tmp_path / "a.mp4")).pictures()]
    assert ours[0].shape == (256, 128, 3)
    np.testing.assert_array_equal(ours, opencv_frames(tmp_path / "a.mp4"))
