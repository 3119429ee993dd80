"""What files declare of their projection, what they look like, and the conversion to equirectangular frames."""

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT
from odd_videos import (
    CUBEMAP,
    EQUIRECTANGULAR,
    HALF_SPHERE,
    box,
    declare,
    declare_v1,
    opencv_frames,
    project,
    remux,
    scene,
    turning,
    write,
)

from files import list_images, read_image
from sphere import directions
from video.colour import BT2020, HLG, PQ, TO_BT709, conversion, linear_light, to_bgr, upright
from video.decode import VideoReader, list_videos, probe, sampled
from video.projection import HALF, PROJECTIONS, Layout, apparent_projection, effective_layout, whole_sphere
from video.sources import VideoFile
from video.summary import summarise

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


def tile(*bounds):
    """The box of equirectangular pictures with bounds: top, bottom, left, right."""
    return box(b"equi", bytes(4), b"".join(int(bound * 2**32).to_bytes(4, "big") for bound in bounds))


PADDED = box(b"cbmp", bytes(8), (4).to_bytes(4, "big"))
REARRANGED = box(b"cbmp", bytes(4), (1).to_bytes(4, "big"), bytes(4))
MESH = box(b"mshp", bytes(4), bytes(4), b"raw ", bytes(100))
CROP = {"CroppedAreaImageWidthPixels": 128, "CroppedAreaImageHeightPixels": 32, "FullPanoWidthPixels": 128,
        "FullPanoHeightPixels": 64, "CroppedAreaLeftPixels": 0, "CroppedAreaTopPixels": 16}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(("boxes", "layout"), [
    ((EQUIRECTANGULAR, 1), Layout("equirectangular", "top_bottom")),
    ((EQUIRECTANGULAR, None, (30, -20, 10)), Layout("equirectangular", pose=(30, -20, 10))),
    ((tile(0.125, 0.25, 0, 0.5), 0), Layout("equirectangular", "mono", bounds=(0, 0.125, 0.5, 0.25))),
    ((HALF_SPHERE, 2), Layout("half_equirectangular", "left_right", bounds=HALF)),
    ((PADDED, 1), Layout("cubemap", "top_bottom", padding=4)), ((REARRANGED,), Layout("rearranged cubemap")),
    ((MESH, 1), Layout("mesh", "top_bottom"))])
def test_boxes_and_elements_of_the_sphere_are_read(tmp_path, boxes, layout, suffix):
    path = tmp_path / f"a{suffix}"
    write(tmp_path / "a.mp4", FRAMES[:1])
    declare(tmp_path / "a.mp4", *boxes)
    if suffix == ".mkv" and layout.projection == "mesh":  # which FFmpeg does not hand on: another element is changed
        declare(tmp_path / "a.mp4", EQUIRECTANGULAR)
        remux(tmp_path / "a.mp4", path)
        path.write_bytes(path.read_bytes().replace(b"\x76\x71\x81\1", b"\x76\x71\x81\3", 1))
    elif suffix == ".mkv":
        remux(tmp_path / "a.mp4", path)
        layout = Layout() if layout.projection == "rearranged cubemap" else layout
    assert probe(path).layout == layout


@pytest.mark.parametrize(("properties", "layout"), [
    ({"ProjectionType": "equirectangular"}, Layout("equirectangular")),
    ({"ProjectionType": "equirectangular", "StereoMode": "top-bottom"}, Layout("equirectangular", "top_bottom")),
    ({"ProjectionType": "equirectangular", "StereoMode": "left-right", "InitialViewHeadingDegrees": 90},
     Layout("equirectangular", "left_right")),
    ({"ProjectionType": "cubemap"}, Layout("cubemap")), ({"Spherical": "false"}, Layout()),
    ({"ProjectionType": "equirectangular", **CROP}, Layout("equirectangular", bounds=(0, 0.25, 0, 0.25))),
    ({"ProjectionType": "equirectangular", **CROP, "CroppedAreaTopPixels": 40}, Layout("equirectangular")),
    ({"ProjectionType": "equirectangular", **CROP, "FullPanoWidthPixels": 0}, Layout("equirectangular"))])
def test_spherical_xml_is_read(tmp_path, properties, layout):
    write(tmp_path / "a.mp4", FRAMES[:1])
    declare_v1(tmp_path / "a.mp4", **properties)
    assert probe(tmp_path / "a.mp4").layout == layout


def turned(frame, yaw, pitch, roll):
    """What an upright viewer sees of a frame with that pose, degrees, by FFmpeg's definition of one: a closed form."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    turn = (np.float64([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ [[1, 0, 0], [0, cp, sp], [0, -sp, cp]]
            @ [[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])  # x to the right, y up, z ahead
    (height, width), up_and_back = frame.shape[:2], np.float64([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    x, y, z = np.moveaxis(directions(height, width) @ up_and_back.T @ turn, -1, 0)
    columns, rows = np.arctan2(x, z) / (2 * np.pi) + 0.5, 0.5 - np.arcsin(np.clip(y, -1, 1)) / np.pi
    return cv2.remap(frame, np.float32(columns * width - 0.5), np.float32(rows * height - 0.5), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_WRAP)


def test_a_pose_is_undone_and_that_is_said(tmp_path, capsys):
    write(tmp_path / "a.mp4", FRAMES[:4], crf="10")
    declare(tmp_path / "a.mp4", EQUIRECTANGULAR, pose=(40, 25, 15))
    _, frames = frames_of(tmp_path / "a.mp4")
    assert np.abs(np.float32(frames[1]) - turned(FRAMES[3], 40, 25, 15)).mean() < 5
    assert alike(frames[1], FRAMES[3]) < 0.9
    words = "yaw 40, pitch 25, roll 15 degrees"
    assert capsys.readouterr().err == f"note: a.mp4 is turned upright: it declares a pose of {words}\n"
    assert f"equirectangular (the file says so), turned upright ({words})" in summarise(tmp_path / "a.mp4")
    _, frames = frames_of(tmp_path / "a.mp4", projection="half_equirectangular")  # of which the file says nothing
    assert not frames[0][:, :60].any()


def test_a_cubemap_with_padding_in_two_views(tmp_path, capsys):
    views = list(project(FRAMES[:4], "c3x2", 256, 384, fout_pad=4))
    write(tmp_path / "a.mp4", [np.concatenate([view, view[::-1]]) for view in views])
    declare(tmp_path / "a.mp4", PADDED, 1)
    video, frames = frames_of(tmp_path / "a.mp4")
    assert (video.projection, video.stereo_layout, frames[0].shape) == ("cubemap", "top_bottom", (128, 256, 3))
    assert alike(frames[1], FRAMES[3]) > 0.985
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("output", "shape", "words"), [
    ("e", (128, 256), "is taken for equirectangular"), ("eac", (256, 384), "if it is not, use --projection=eac"),
    ("flat", (128, 256), "does not look like 360° video: ")])
def test_a_declared_projection_that_cannot_be_converted_is_named(tmp_path, capsys, output, shape, words):
    write(tmp_path / "a.mp4", list(project(FRAMES, output, *shape)))
    declare(tmp_path / "a.mp4", MESH)
    frames_of(tmp_path / "a.mp4")
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: a.mp4 declares a mesh projection, which cannot be converted; it ")
    assert words in line and words in (summary := summarise(tmp_path / "a.mp4"))
    assert "equirectangular (assumed)" in summary and "warning: declares a mesh projection" in summary
    _, frames = frames_of(tmp_path / "a.mp4", projection="eac")
    assert capsys.readouterr().err == ""


def test_parts_of_the_sphere():
    whole = whole_sphere(np.full((10, 40, 3), 9, np.uint8), (0.0, 0.25, 0.0, 0.25))
    assert whole.shape == (20, 40, 3) and not whole[:5].any() and not whole[15:].any() and (whole[5:15] == 9).all()
    for bounds in ((0.9, 0.98, 0.09, 0.01), (0.01, 0.49, 0.98, 0.5)):  # of a file that is odd, or means harm
        assert whole_sphere(np.full((40, 2, 3), 9, np.uint8), bounds).shape == (3840, 7680, 3)
    assert whole_sphere(np.full((1, 2, 3), 9, np.uint8), (0.98, 0, 0.01, 0)).any()


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
    assert alike(hlg, plain) > 0.98


def write_hdr(path, pictures, transfer, pixels):
    """A file of pictures RGB in [0, 1], as signals of high dynamic range: transfer, 16 for PQ and 18 for HLG."""
    def frames():
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.uint16(picture * 65535 + 0.5), format="rgb48le")
            frame = frame.reformat(format=pixels, dst_colorspace=BT2020)
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, BT2020, BT2020, 1
            yield frame

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=8)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
        stream.options, context = {"crf": "12", "x265-params": "log-level=0:bframes=0"}, stream.codec_context
        context.color_trc, context.color_range = transfer, 1
        context.color_primaries = context.colorspace = BT2020
        for frame in frames():
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def in_hdr(frame, transfer):
    """A frame of BT.709 as a signal of BT.2020, white at 203 nits, by ITU-R BT.2087, BT.2100 and BT.2408: (H, W, 3)."""
    nits = 203 * (frame[..., ::-1] / 255) ** 2.4 @ np.linalg.inv(TO_BT709.astype(float)).T
    if transfer == PQ:
        root = (np.maximum(nits, 0) / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375
    luminance = np.maximum(nits @ [0.2627, 0.678, 0.0593], 1e-6)[..., None] / 1000
    light = np.maximum(nits, 0) / 1000 * luminance ** (1 / 1.2 - 1)
    return np.where(light <= 1 / 12, np.sqrt(3 * light),
                    0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-6)) + 0.55991073)


@pytest.mark.parametrize(("transfer", "pixels"), [(HLG, "yuv420p10le"), (PQ, "yuv420p10le"), (PQ, "yuv444p12le")])
def test_high_dynamic_range_becomes_like_its_twin(tmp_path, transfer, pixels):
    frames = [np.uint8(90 + 0.6 * scene(64, 128, seed)) for seed in range(2)]
    write_hdr(tmp_path / "a.mp4", [in_hdr(frame, transfer) for frame in frames], transfer, pixels)
    info = probe(tmp_path / "a.mp4")
    converted = [to_bgr(picture) for _, _, picture in VideoReader(tmp_path / "a.mp4", info).pictures()]
    assert len(converted) == 2 and min(map(alike, converted, frames)) > 0.97
    assert np.percentile(converted, 99) == pytest.approx(0.75 * np.percentile(frames, 99), rel=0.1)  # as HLG has it


def test_colours_that_bt709_has_not_are_drawn_in():
    grey, green = np.full((8, 80, 3), 0.5, np.float32), np.full((8, 80, 3), (0, 0.5, 0), np.float32)
    np.testing.assert_allclose(conversion(grey), TO_BT709, atol=1e-6)
    drawn_in = conversion(np.concatenate([grey, green]))
    assert (green[0, 0] @ drawn_in.T >= -1e-6).all() and (green[0, 0] @ TO_BT709.T < -0.05).any()
    np.testing.assert_allclose(drawn_in.sum(axis=1), 1, atol=1e-3)  # grey stays grey
    assert np.isfinite(conversion(np.zeros((8, 8, 3), np.float32))).all()


@pytest.mark.parametrize(("matrix", "turned"), [
    ((1, 0, 0, 1), lambda frame: frame), ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
    ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)), ((0, -1, 1, 0), np.rot90),
    ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]), ((1, 0, 0, -1), lambda frame: frame[::-1])])
def test_a_display_matrix_turns_the_frame(matrix, turned, monkeypatch):
    a, b, c, d = (65536 * entry for entry in matrix)
    numbers = {"DISPLAYMATRIX": np.int32([a, b, 0, c, d, 0, 0, 0, 1 << 14])}
    monkeypatch.setattr("video.colour.side_data", lambda picture, kind: numbers[kind])
    frame = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(upright(frame, None), turned(frame))


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
