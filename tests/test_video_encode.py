import av
import numpy as np
import pytest
from conftest import noise_frames
from sound_video import source

from video.encode import video_writer, write_video
from video.planes import BT709, SMPTE170M, UNSPECIFIED, to_planes


def test_a_written_video_plays_everywhere_and_keeps_its_time(tmp_path):
    write_video(tmp_path / "a.mp4", noise_frames(30, 32, 64, seed=0), 30000 / 1001 / 4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(30 * 4 * 1001 / 30000, rel=1e-3)
        assert sum(1 for _ in container.decode(stream)) == 30
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # starts while it loads


def test_the_same_frames_give_the_same_bytes(tmp_path):
    """x264's AVX-512 code once read past the pictures: about half of these differed."""
    y, x = np.mgrid[:24, :48]
    ramp = np.stack([5 * x, 10 * y, 5 * x], -1)
    written = set()
    for _ in range(200):
        noise = np.random.default_rng(0).normal(0, 3, (5, 24, 48, 3))
        write_video(tmp_path / "a.mp4", np.clip(ramp + noise, 0, 255).astype(np.uint8), 8)
        written.add((tmp_path / "a.mp4").read_bytes())
    assert len(written) == 1


PAUSE = [0, 1 / 8, 2 / 8, 4.25, 4.4, 5.25]   # seconds


@pytest.mark.parametrize("use", ["film", "page"])
@pytest.mark.parametrize(("times", "end"), [
    (PAUSE, 5.5), ([0], 2), ([0, 0.5], 7), ([k * 1001 / 7500 for k in range(9)], 1.3), ([0, 0, 0], 1)])
def test_each_frame_is_shown_at_its_own_time_and_the_last_one_until_the_end(tmp_path, use, times, end):
    with video_writer(tmp_path / "a.mp4", (32, 64), source(end), use) as write:
        for frame, time in zip(noise_frames(len(times), 32, 64, seed=0), times):
            write(frame, time)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert container.duration / 1e6 == pytest.approx(end, abs=1e-3)
        shown = [(frame.time, float((frame.pts + frame.duration) * stream.time_base))
                 for frame in container.decode(stream)]
    expected = [*zip(times, [*times[1:], end])]
    assert np.allclose(shown, expected, atol=1e-4)


def test_a_pause_costs_no_bytes(tmp_path):
    sizes = []
    for pause in (0, 600):
        with video_writer(tmp_path / "a.mp4", (32, 64), source(pause + 3), "page") as write:
            for number, frame in enumerate(noise_frames(24, 32, 64, seed=0)):
                write(frame, number / 8 + (pause if number > 11 else 0))
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)


def packets(path):
    """[(time, is a key frame)] of a video's packets as they are stored, time in frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        ticks = 1 / (stream.average_rate * stream.time_base)
        return [(round(packet.pts / ticks), packet.is_keyframe) for packet in container.demux(stream)
                if packet.pts is not None]


def test_the_video_of_a_page_has_a_key_frame_every_second_and_no_frame_before_its_time(tmp_path):
    with video_writer(tmp_path / "a.mp4", (32, 64), source(30 / 8), "page") as write:
        for number, frame in enumerate(noise_frames(30, 32, 64, seed=0)):
            write(frame, number / 8)
    assert packets(tmp_path / "a.mp4") == [(time, time % 8 == 0) for time in range(30)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


@pytest.mark.parametrize(("use", "colorspace", "told"), [
    ("film", BT709, BT709), ("page", BT709, BT709),
    ("film", UNSPECIFIED, UNSPECIFIED), ("page", UNSPECIFIED, SMPTE170M)])
def test_a_video_says_what_its_pictures_say(tmp_path, use, colorspace, told):
    picture = to_planes(np.zeros((32, 64, 3), np.uint8), (32, 64))
    picture.colorspace = colorspace
    with video_writer(tmp_path / "a.mp4", (32, 64), source(1), use) as write:
        write(picture, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == told


@pytest.mark.parametrize("use", ["film", "page"])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 60, 20), (20, 180, 240)])
def test_a_video_keeps_its_colours(tmp_path, colour, use):
    with video_writer(tmp_path / "a.mp4", (32, 64), source(1), use) as write:
        write(np.full((32, 64, 3), colour, np.uint8), 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        (frame,) = container.decode(video=0)
    assert np.abs(frame.to_ndarray(format="bgr24") - np.array(colour)).max() <= 3
