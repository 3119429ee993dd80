"""Small videos with sound: silence but for a tone from second 1.0 to 1.3. And the fake of a source of frames that a
writer of videos asks for its times and its sound."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
from conftest import noise_frames

TONE = 1.0, 1.3     # seconds


def source(end, sound=None, sound_start=0.0, rate=8):
    return SimpleNamespace(rate=rate, end=end, sound=sound, sound_start=sound_start)


def write_sound_video(path, codec, seconds=3, layout="stereo", first_frame=0.0, first_sample=0.0, rate=48000, fps=24):
    """Writes noise, 32 x 64 pixels, with the tone. Both begin at times of their own, seconds."""
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("mpeg4", rate=fps), container.add_stream(codec, rate=rate, layout=layout)
        video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
        for number, frame in enumerate(noise_frames(round(seconds * fps), 32, 64, seed=0), round(first_frame * fps)):
            picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(video.encode(picture))
        times = first_sample + np.arange(round(seconds * rate)) / rate
        tone = np.where((TONE[0] <= times) & (times < TONE[1]), 0.5 * np.sin(2000 * np.pi * times), 0)
        for start in range(0, len(tone), 1536):
            samples = np.tile(np.float32(tone[start:start + 1536]), (audio.codec_context.layout.nb_channels, 1))
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + round(first_sample * rate)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))


def heard(path):
    """(codec, when the tone begins, when the sound ends, seconds) of a video's sound; None where it has none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream, onset, end = container.streams.audio[0], None, 0.0
        for frame in container.decode(stream):
            samples = frame.to_ndarray()
            loud = np.flatnonzero(abs(samples[0, ::1 if frame.format.is_planar else frame.layout.nb_channels]) >
                                  0.1 * (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max))
            if len(loud) and onset is None:
                onset = float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
            end = float(frame.pts * frame.time_base) + frame.samples / frame.sample_rate
    return stream.codec_context.codec.canonical_name, onset, end
