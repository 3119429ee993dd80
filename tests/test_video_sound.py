import av
import numpy as np
import pytest
from conftest import noise_frames
from sound_video import TONE, heard, source, write_sound_video

from video import sound
from video.encode import video_writer
from video.sources import VideoFile


@pytest.fixture(autouse=True)
def fresh_warnings():
    sound.warn.cache_clear()


def keep_sound(folder, path, use="film", end=2.0, start=0.0):
    """What is `heard` in a video of 8 frames a second that keeps the sound of the file."""
    with video_writer(folder / f"{use}.mp4", (32, 64), source(end, path, start), use, sound=True) as write:
        for number, frame in enumerate(noise_frames(round(8 * end), 32, 64, seed=1)):
            write(frame, number / 8)
    with av.open(str(folder / f"{use}.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(end, abs=0.05)
        assert sum(1 for _ in container.decode(video=0)) == round(8 * end)
    return heard(folder / f"{use}.mp4")


@pytest.mark.parametrize(("name", "codec", "film", "page"), [
    ("a.mp4", "aac", "aac", "aac"), ("a.ts", "aac", "aac", "aac"), ("a.mkv", "mp3", "mp3", "mp3"),
    ("a.mp4", "ac3", "ac3", "aac"), ("a.mkv", "eac3", "eac3", "aac"), ("a.mov", "alac", "alac", "aac"),
    ("a.mkv", "flac", "flac", "aac"), ("a.mkv", "libopus", "opus", "aac"), ("a.mov", "pcm_s16le", "aac", "aac"),
    ("a.avi", "pcm_s16le", "aac", "aac"), ("a.mpg", "mp2", "aac", "aac")])
def test_sound_is_copied_or_becomes_aac_and_stays_in_step(tmp_path, name, codec, film, page):
    path = tmp_path / name
    write_sound_video(path, codec)
    with av.open(str(path)) as container:
        start = next(container.decode(video=0)).time
    _, onset, _ = heard(path)
    for use, expected in (("film", film), ("page", page)):
        codec, begins, ends = keep_sound(tmp_path, path, use, start=start)
        assert codec == expected
        assert begins == pytest.approx(onset - start, abs=0.03)
        assert ends == pytest.approx(2, abs=0.05)  # the picture's length: the file's sound is longer


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
@pytest.mark.parametrize(("first_frame", "first_sample"), [(0.5, 0), (0, 0.4)])
def test_sound_that_begins_earlier_or_later_than_the_picture(tmp_path, codec, first_frame, first_sample):
    write_sound_video(tmp_path / "a.mkv", codec, first_frame=first_frame, first_sample=first_sample)
    _, begins, _ = keep_sound(tmp_path, tmp_path / "a.mkv", start=first_frame)
    assert begins == pytest.approx(TONE[0] - first_frame, abs=0.03)


def test_sound_that_is_shorter_than_the_picture(tmp_path):
    write_sound_video(tmp_path / "a.mkv", "aac", seconds=1.5)
    assert keep_sound(tmp_path, tmp_path / "a.mkv", end=4)[2] == pytest.approx(1.5, abs=0.05)
    write_sound_video(tmp_path / "b.mkv", "aac", seconds=1.5)
    keep_sound(tmp_path, tmp_path / "b.mkv", start=10)  # nothing of it is left, and nobody minds


@pytest.mark.parametrize("layout", ["mono", "5.1", "quad"])
def test_every_layout_becomes_mono_or_stereo(tmp_path, layout):
    write_sound_video(tmp_path / "a: b.mkv", "pcm_s16le", layout=layout)
    assert keep_sound(tmp_path, tmp_path / "a: b.mkv")[1] == pytest.approx(TONE[0], abs=0.03)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.audio[0].codec_context.layout.name == ("mono" if layout == "mono" else "stereo")


def test_sound_on_a_sphere_becomes_what_comes_from_the_left_and_from_the_right(tmp_path):
    write_sound_video(tmp_path / "a.mkv", "pcm_s16le")
    track = sound.SoundTrack(av.open(str(tmp_path / "x.mp4"), "w"), tmp_path / "a.mkv", 0, ())
    frame = av.AudioFrame.from_ndarray(np.repeat(np.float32([[0.2], [0.2], [0.7], [0.7]]), 4800, axis=1),
                                       format="fltp", layout="ambisonic 1")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, track.stream.time_base
    graph = track.converter(frame, "stereo")
    graph.push(frame)
    converted = np.concatenate([part.to_ndarray() for part in sound.pulled(graph, end=True)], axis=1)
    assert np.allclose(converted[0], 0.2, atol=1e-3) and np.allclose(converted[1], 0, atol=1e-3)
    track.close()


def damage(path, first=0.0):
    """Overwrites the packets of a file's sound from `first` on, seconds."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(container.streams.audio[0])
                   if packet.pts is not None and packet.pts * packet.time_base >= first]
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for position, size in packets:
        data[position:position + size] = rng.bytes(size)
    path.write_bytes(data)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mov", "alac"), ("a.ts", "aac")])
def test_damaged_sound_is_left_out_with_one_warning(tmp_path, capsys, name, codec):
    path = tmp_path / name
    write_sound_video(path, codec)
    damage(path)
    assert keep_sound(tmp_path, path) is None
    assert keep_sound(tmp_path, path, "page") is None
    errors = capsys.readouterr().err
    assert errors == f"warning: the sound of {path} cannot be decoded and is left out\n"


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mov", "alac"), ("a.ts", "aac"), ("a.mkv", "flac")])
@pytest.mark.parametrize("use", ["film", "page"])
def test_damage_in_the_middle_leaves_the_rest(tmp_path, capsys, name, codec, use):
    """`heard` decodes it: nothing is copied that a browser could not decode."""
    path = tmp_path / name
    write_sound_video(path, codec)
    damage(path, first=1.5)
    _, begins, ends = keep_sound(tmp_path, path, use)
    assert begins == pytest.approx(TONE[0], abs=0.04) and ends >= 1.4
    assert capsys.readouterr().err in ("", f"warning: the sound of {path} is damaged in places, which are left out\n")


def test_a_file_that_went_away_costs_the_sound_alone(tmp_path, capsys):
    assert keep_sound(tmp_path, tmp_path / "gone.mp4") is None
    assert "gone.mp4 cannot be decoded and is left out" in capsys.readouterr().err


def test_sound_without_a_decoder_is_warned_of(tmp_path, capsys):
    path = tmp_path / "a.mkv"
    write_sound_video(path, "ac3", seconds=2)
    path.write_bytes(path.read_bytes().replace(b"A_AC3", b"A_XYZ"))
    video = VideoFile("000", path, "mono")
    for use in ("film", "page"):
        assert keep_sound(tmp_path, video.sound, use) is None
    assert capsys.readouterr().err == f"warning: the sound of {path} cannot be decoded and is left out\n"


def test_a_track_without_any_sound_is_no_reason_to_warn(tmp_path, capsys):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video, _ = container.add_stream("mpeg4", rate=8), container.add_stream("aac", rate=48000)
        video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
        container.mux(video.encode(av.VideoFrame(64, 32, "yuv420p")))
        container.mux(video.encode(None))
    for use in ("film", "page"):
        assert keep_sound(tmp_path, tmp_path / "a.mkv", use) in (None, ("aac", None, 0.0))
    assert capsys.readouterr().err == ""
