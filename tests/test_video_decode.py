import os
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT, noise_frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_videos import opencv_frames, remux, scene, turning, write

from errors import InputError
from files import list_images, read_image
from video.colour import shows_planes, to_bgr
from video.containers import declarations, tear
from video.decode import VideoInfo, VideoReader, list_videos, probe, rate_of, sampled
from video.encode import write_video
from video.planes import to_planes
from video.projection import Layout, declared_layout
from video.sources import VideoFile
from video.stereo import apparent_layout

FRAMES = turning(48, scene())
INFO = VideoInfo(24.0, True, np.zeros(1), True, 1 / 24, 0.0, "h264", (64, 128), Layout(), 0, "", "")


def read(path, *settings):
    """(the `VideoFile` after all its frames have been read, these frames)."""
    video = VideoFile("000", path, *(settings or ["mono"]))
    frames = list(video.frames())
    assert list(video.planned) == video.indices or video.reader.problem, "the names of maps must be known beforehand"
    return video, frames


def test_the_decoders_picture_stands_for_a_frame_that_is_all_of_it(tmp_path):
    write_video(tmp_path / "a.mp4", noise_frames(2, 16, 32, seed=0), 8)
    for layout, whole in (("mono", True), ("top_bottom", False)):
        video = VideoFile("000", tmp_path / "a.mp4", layout)
        for frame in video.frames():
            assert (video.picture is not None) == whole
            assert not whole or np.array_equal(video.picture.to_ndarray(format="bgr24"), frame)


@pytest.mark.parametrize(("fps", "step"), [
    (1, 1), (5, 1), (8, 1), (12, 2), (23.976, 3), (25, 3), (29.97, 4), (60, 8), (240, 30)])
def test_steps(tmp_path, fps, step):
    write_video(tmp_path / "a.mp4", noise_frames(3, 16, 16, seed=0), fps)
    assert probe(tmp_path / "a.mp4").step == step
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize("stated", [(), (0.0,), (90000.0,), (-1.0,), (None, 12.5)])
def test_an_unknown_or_absurd_rate_is_measured(stated):
    assert rate_of(np.arange(20) / 25, stated) == (pytest.approx(25), True)
    assert rate_of(np.zeros(1), stated)[0] in (30, 12.5)


@pytest.mark.parametrize(("name", "options"), [
    ("a.mp4", {}), ("a.ts", {}), ("a.webm", {"codec": "libvpx-vp9"}), ("a.mkv", {"pixels": "yuv444p"}),
    ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"})])
def test_frames_are_bit_for_bit_those_of_opencv(tmp_path, name, options):
    write(tmp_path / name, FRAMES[:9], **options)
    reader = VideoReader(tmp_path / name, probe(tmp_path / name))
    ours = [to_bgr(picture) for _, _, picture in reader.pictures()]
    np.testing.assert_array_equal(ours, opencv_frames(tmp_path / name))


def test_nothing_keeps_a_picture_that_was_converted(tmp_path):
    """A picture that holds itself waits for the garbage collector: 500 MB of them did."""
    write_video(tmp_path / "a.mp4", noise_frames(3, 32, 64, 0), 8)
    with av.open(tmp_path / "a.mp4") as container:
        picture = next(container.decode(video=0))
    before = sys.getrefcount(picture)
    for read in (to_bgr, shows_planes, lambda picture: to_planes(picture, (32, 64)),
                 lambda picture: declared_layout(picture, declarations(tmp_path / "a.mp4"))):
        read(picture)
        assert sys.getrefcount(picture) == before


def test_frames_of_real_clips_are_those_of_opencv(shared):
    for name in ("battlefield.mp4", "cube_3x2.mp4"):  # limited and full range
        capture = cv2.VideoCapture(str(shared / "clips" / name))
        pictures = VideoReader(shared / "clips" / name, probe(shared / "clips" / name)).pictures()
        for _, (_, _, picture) in zip(range(5), pictures):
            np.testing.assert_array_equal(to_bgr(picture), capture.read()[1])


@pytest.mark.parametrize(("name", "options"), [
    ("a.mkv", {}), ("a.mkv", {"seconds_of_sound": 4}), ("a.mp4", {"seconds_of_sound": 4}), ("a.ts", {}),
    ("a.avi", {"codec": "mpeg4"}), ("a.avi", {}), ("a.flv", {}), ("a.h264", {}), ("a.mpg", {"codec": "mpeg2video"}),
    ("a.webm", {"codec": "libvpx-vp9", "seconds_of_sound": 0}), ("12:30 a.mp4", {}), ("a.mp4", {"codec": "libaom-av1"}),
    ("a.mkv", {"codec": "prores_ks", "pixels": "yuva444p10le"}), ("a.mp4", {"pixels": "yuv420p10le"}),
    ("a.mov", {"codec": "qtrle", "pixels": "argb"}), ("a.ts", {"x264-params": "interlaced=1"}),
    ("a.webm", {"codec": "libvpx-vp9", "pixels": "yuva420p"}), ("a.webm", {"codec": "libvpx", "auto-alt-ref": "1"}),
    ("a.mpg", {"codec": "mpeg2video", "flags": "+ilme+ildct"}), ("a.mov", {"codec": "mjpeg", "pixels": "yuvj444p"}),
    ("a.ts", {"x264-params": "open-gop=1", "g": "9"}), ("a.mkv", {"x264-params": "intra-refresh=1", "g": "9"}),
    ("a.mp4", {"container_movflags": "frag_keyframe+empty_moov", "g": "9"}), ("100%_%03d [a].mp4", {}), ("-a.mp4", {})])
def test_healthy_files_of_many_kinds(tmp_path, name, options):
    """Without a stored frame count, with longer sound, odd names, alpha, 10 bit, interlaced: every third frame."""
    if options.get("codec") in ("libaom-av1",) and "libaom-av1" not in av.codecs_available:
        options = {**options, "codec": "libsvtav1"}
    scheduling = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    write(tmp_path / name, FRAMES[:30], **options)
    video, frames = read(tmp_path / name)
    assert scheduling is None or os.sched_getscheduler(0) == scheduling
    assert video.indices == list(range(0, 30, 3)) and video.reader.problem == ""
    assert video.times == pytest.approx(np.arange(0, 30, 3) / 24, abs=1e-3)
    assert video.end == pytest.approx(30 / 24, abs=0.05)
    assert np.abs(np.float32(frames[2]) - FRAMES[6]).mean() < 12
    assert (video.sound is None) == (not options.get("seconds_of_sound"))


def test_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    write_video(tmp_path / "a.mp4", FRAMES[:9], 24)
    (tmp_path / "a.mp4").rename(path)
    video, frames = read(path)
    assert len(frames) == 3 and video.title == "caf%E9.mp4"


def test_a_variable_rate_gives_what_is_shown_at_every_eighth_of_a_second(tmp_path):
    times = np.concatenate([np.arange(12) * 66, 792 + np.arange(36) * 17])
    write(tmp_path / "a.mp4", FRAMES, times=times)
    video, _ = read(tmp_path / "a.mp4")
    ticks = np.arange(0, video.end, 1 / 8)
    assert video.info.step == 0 and video.rate == 8
    assert video.indices == sorted({int(np.flatnonzero(times <= 1000 * tick + 0.6)[-1]) for tick in ticks})
    assert video.times == pytest.approx(times[video.indices] / 1000, abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_pause_lasts(tmp_path, name):
    times = np.arange(48) * 125 // 3 + np.where(np.arange(48) >= 24, 3500, 0)
    write(tmp_path / name, FRAMES, times=times, seconds_of_sound=5)
    video, _ = read(tmp_path / name)
    assert 15 <= len(video.times) <= 20 and max(np.diff(video.times)) == pytest.approx(3.5, abs=0.05)
    assert video.end == pytest.approx(5.5, abs=0.1) and video.reader.problem == ""


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
@settings(max_examples=60)
def test_sampled_frames_of_any_times_are_those_on_screen(gaps):
    times = np.cumsum([0, *gaps])[:-1] / 1000
    fps, constant = rate_of(times, ())
    info = INFO._replace(times=times, fps=fps, constant=constant, end=sum(gaps) / 1000)
    if constant:
        assert np.abs(times - np.arange(len(times)) / fps).max() <= 0.5 / fps + 1e-3
        assert list(info.samples) == list(range(0, len(times), info.step))
    else:
        on_screen = {int(np.searchsorted(times, tick / 8 + 0.0006, side="right")) - 1
                     for tick in range(int(info.end * 8) + 1) if tick / 8 < info.end - 0.0006}
        assert list(info.samples) == sorted(on_screen)


def test_late_negative_and_missing_time_stamps(tmp_path):
    write(tmp_path / "late.mkv", FRAMES, times=1000 + np.arange(48) * 125 // 3, seconds_of_sound=3)
    video, _ = read(tmp_path / "late.mkv")
    assert video.sound_start == pytest.approx(1, abs=0.01) and video.times[0] == 0
    assert video.indices == list(range(0, 48, 3)) and video.end == pytest.approx(2, abs=0.05)
    write(tmp_path / "negative.mp4", FRAMES, times=np.arange(48) * 125 // 3 - 500)
    video, _ = read(tmp_path / "negative.mp4")
    assert video.times[0] == 0 and video.end <= 2.05
    assert video.end > 1.4 and np.allclose(np.diff(video.times), 1 / 8, atol=0.01)


def test_a_clock_that_starts_anew(tmp_path):
    write(tmp_path / "a.ts", FRAMES)
    (tmp_path / "twice.ts").write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    video, _ = read(tmp_path / "twice.ts")
    assert video.indices == list(range(0, 96, 3)) and video.end == pytest.approx(4, abs=0.1)
    assert np.allclose(np.diff(video.times), 1 / 8, atol=0.01)


def test_an_edit_list_is_obeyed(shared):
    video, _ = read(shared / "cases" / "videos" / "trimmed.mp4")
    assert (video.reader.read, video.reader.problem) == (28, "")


def test_the_largest_stream_that_is_no_picture_is_read(shared, capsys):
    video, frames = read(shared / "cases" / "videos" / "cover_first.mp4")
    assert frames[0].shape == (128, 256, 3) and len(frames) == 16
    twins, _ = read(shared / "cases" / "videos" / "GS010001.360")
    assert twins.info.twins == 1 and "holds 2 videos of 256 x 96 pixels" in capsys.readouterr().err


def test_a_clock_of_33_bits_starts_over(tmp_path):
    write(tmp_path / "a.mp4", FRAMES)
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "a.ts"), "w") as container:
        track = container.add_stream_from_template(source.streams.video[0])
        for packet in filter(lambda packet: packet.size, source.demux(video=0)):
            ticks = packet.time_base * 90000
            packet.pts, packet.dts = (int(stamp * ticks) + 2**33 - 90000 for stamp in (packet.pts, packet.dts))
            packet.time_base, packet.stream = Fraction(1, 90000), track
            container.mux(packet)
    video, _ = read(tmp_path / "a.ts")
    assert video.indices == list(range(0, 48, 3)) and video.end == pytest.approx(2, abs=0.01)
    assert video.times == pytest.approx(np.arange(16) / 8, abs=1e-3) and video.reader.problem == ""


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flv", "a.avi"])
def test_a_file_that_was_cut_short_is_named(tmp_path, name):
    write(tmp_path / name, noisy(48), **({"container_movflags": "faststart"} if name == "a.mp4" else {}))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:len(data) * 2 // 3 // 188 * 188 + 7])
    video, frames = read(tmp_path / name)
    assert 5 < len(frames) < 16 and f"{name} was cut short" in video.reader.problem


def test_what_the_decoder_cannot_decode_is_named(tmp_path):
    noise = np.random.default_rng(0)
    write(tmp_path / "a.mp4", [noise.integers(256, size=(64, 128, 3), dtype=np.uint8) for _ in range(48)], g="4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    data[len(data) // 2:len(data) // 2 + 9000] = noise.bytes(9000)
    (tmp_path / "a.mp4").write_bytes(data)
    video, frames = read(tmp_path / "a.mp4")
    assert len(frames) > 8 and "a.mp4 is damaged: " in video.reader.problem


def noisy(count):
    """Frames that take some bytes."""
    noise = np.random.default_rng(0)
    return [cv2.add(frame, noise.integers(60, size=frame.shape, dtype=np.uint8)) for frame in FRAMES[:count]]


@pytest.mark.parametrize("damage", ["hole", "zeros", "noise"])
@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.ts", "libx264")])
def test_damage_in_the_middle_is_named_and_the_rest_is_read(tmp_path, name, codec, damage):
    write(tmp_path / name, noisy(48), codec=codec, g="8", container_cluster_time_limit="300")
    data, noise = (tmp_path / name).read_bytes(), np.random.default_rng(0)
    start, stop = (len(data) * share // 8 // 188 * 188 for share in (4, 5))
    between = {"hole": b"", "zeros": bytes(stop - start), "noise": noise.bytes(stop - start)}[damage]
    (tmp_path / name).write_bytes(data[:start] + between + data[stop:])
    video, frames = read(tmp_path / name)
    assert f"{name} is damaged" in video.reader.problem or "parts of it are missing" in video.reader.problem
    assert len(frames) >= 10 and video.end == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_frames_that_a_decoder_passes_over_are_missed(tmp_path, name):
    options = {"codec": "libx265", "x265-params": "log-level=0:keyint=24:min-keyint=24:scenecut=0"}
    write(tmp_path / "whole.mp4", noisy(48), **options)
    remux(tmp_path / "whole.mp4", tmp_path / name, lambda number: not 24 <= number < 34)
    video, frames = read(tmp_path / name)
    assert "frames are missing or spoilt (" in video.reader.problem and len(frames) >= 7


def test_streams_that_were_joined_or_stopped_between_packets_are_healthy(tmp_path):
    write(tmp_path / "part.ts", noisy(48))
    data = (tmp_path / "part.ts").read_bytes()
    (tmp_path / "joined.ts").write_bytes(2 * data)
    video, frames = read(tmp_path / "joined.ts")
    assert (video.reader.read, video.reader.problem, video.info.step, len(frames)) == (96, "", 3, 32)
    assert video.end == pytest.approx(4, abs=0.01)
    packets = [data[place:place + 188] for place in range(0, len(data) * 3 // 4, 188)]
    begins = [number for number, packet in enumerate(packets) if packet[1:3] == b"\x41\0"][-1]  # the latest frame does
    for kept, problem in ((begins, ""), (begins + 1, "frames are missing or spoilt (1)")):
        (tmp_path / "stopped.ts").write_bytes(b"".join(packets[:kept]))
        video, frames = read(tmp_path / "stopped.ts")
        assert problem in video.reader.problem and bool(problem) == bool(video.reader.problem)
        assert video.info.step == 3 and len(frames) >= 11


def test_a_matroska_file_that_was_recorded_live(tmp_path):
    write(tmp_path / "a.mkv", noisy(24), container_live="1")  # states no sizes
    video, _ = read(tmp_path / "a.mkv")
    assert video.reader.problem == "" and video.reader.read == 24
    data = (tmp_path / "a.mkv").read_bytes()
    write(tmp_path / "padded.mkv", noisy(24))
    (tmp_path / "padded.mkv").write_bytes((tmp_path / "padded.mkv").read_bytes() + bytes(1000))
    assert probe(tmp_path / "padded.mkv").problem == ""
    (tmp_path / "a.mkv").write_bytes(data[:len(data) * 3 // 4])
    video, _ = read(tmp_path / "a.mkv")
    assert "was cut short, or parts of it are missing: " in video.reader.problem


@given(st.sampled_from([b"", b"\x1aE\xdf\xa3\x80", b"\0\0\0\x10ftypisom\0\0\0\0"]), st.binary(max_size=200))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_can_be_looked_at(tmp_path, start, data):
    path = tmp_path / "a"
    path.write_bytes(start + data)
    assert isinstance(tear(path), str) and isinstance(declarations(path), tuple)


@pytest.mark.parametrize(("text", "words"), [
    (b"ffconcat version 1.0\nfile plain.mp4\n", "not a video that can be read"), (b"a letter\n", "not a video"),
    (b"#EXTM3U\n#EXTINF:9,\nplain.mp4\n", "not a video that can be read"), (b"", "empty")])
def test_lists_of_other_files_and_files_of_text_are_not_videos(tmp_path, text, words):
    write_video(tmp_path / "plain.mp4", FRAMES[:9], 24)
    (tmp_path / "a.mp4").write_bytes(text)
    with pytest.raises(InputError, match=rf"a\.mp4 is {words}"):
        probe(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        track = container.add_stream("aac", rate=48000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 48000
        container.mux(track.encode(sound))
        container.mux(track.encode())
    with pytest.raises(InputError, match=r"a\.mp4 holds no moving pictures"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize(("fps", "count", "step"), [(1, 5, 1), (120, 60, 15), (24, 1, 3)])
def test_few_frames_and_extreme_rates(tmp_path, name, fps, count, step):
    write(tmp_path / name, (2 * FRAMES)[:count], rate=fps)
    video, _ = read(tmp_path / name)
    assert video.indices == list(range(0, count, step)) and video.end == pytest.approx(count / fps, abs=0.01)


def test_mono_is_not_taken_for_stereo(shared):
    frames = [read_image(path) for path in list_images(shared / "panoramas")]
    frames += [next(iter(sampled(path))) for path in [*list_videos(shared / "clips"),
                                                       ROOT / "data" / "videos" / "sample.mp4"]]
    frames += [np.zeros((64, 128, 3), np.uint8)]
    assert len(frames) > 20 and {apparent_layout(frame) for frame in frames} == {"mono"}
