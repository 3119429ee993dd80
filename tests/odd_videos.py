"""Odd but healthy video files, and damaged ones, that tests write for themselves."""

import os
from contextlib import contextmanager
from fractions import Fraction

import av
import cv2
import numpy as np


def scene(height=64, width=128, seed=0):
    """A smooth random equirectangular picture, BGR uint8: it continues across its edges, and has poles."""
    rng = np.random.default_rng(seed)
    lon, lat = np.meshgrid(np.linspace(-np.pi, np.pi, width, endpoint=False),
                           np.linspace(np.pi / 2, -np.pi / 2, height))
    vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    waves = sum(np.sin(vectors @ rng.normal(0, 4, (3, 3)) + rng.uniform(0, 6, 3)) for _ in range(4))
    return np.uint8(np.clip(128 + 40 * waves, 0, 255))


def turning(count, picture, step=2):
    """Frames of a camera that turns: a list of `count` arrays (H, W, 3)."""
    return [np.roll(picture, step * k, axis=1) for k in range(count)]


@contextmanager
def same_scheduling():
    """SVT-AV1, where it runs as root, gives its caller's thread the real-time class FIFO with the highest priority, and
    so to all processes that the tests start later: they would stall the machine."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def write(path, frames, codec="libx264", rate=24, pixels="yuv420p", times=None, seconds_of_sound=0.0, **options):
    """A video file. times: of the frames, in thousandths of a second; options: of the encoder, or of the container if
    their name begins with `container_`."""
    of_container = {name.removeprefix("container_"): value for name, value in options.items() if "container_" in name}
    with same_scheduling(), av.open(str(path), "w", options=of_container) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.options = {name: value for name, value in options.items() if "container_" not in name}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        track = container.add_stream("aac", rate=48000, layout="mono") if seconds_of_sound else None
        for number, image in enumerate(frames):
            frame = image if isinstance(image, av.VideoFrame) else av.VideoFrame.from_ndarray(image, format="bgr24")
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for number in range(int(seconds_of_sound * 48000 / 1024)):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.rate, sound.pts = 48000, 1024 * number
            container.mux(track.encode(sound))
        if track:
            container.mux(track.encode())


def box(kind, *content):
    """A box of an mp4 file."""
    data = b"".join(content)
    return (8 + len(data)).to_bytes(4, "big") + kind + data


def insert(path, added, *names):
    """Puts bytes at the end of a box of an mp4 file, whose moov stands at the end; names: the boxes around, from moov
    on."""
    data = path.read_bytes()
    starts = [data.index(b"moov") - 4]
    for name in names[1:]:
        starts.append(data.index(name, starts[-1] + 8) - 4)
    end = starts[-1] + int.from_bytes(data[starts[-1]:starts[-1] + 4], "big")
    data = bytearray(data[:end] + added + data[end:])
    for start in starts:
        data[start:start + 4] = (int.from_bytes(data[start:start + 4], "big") + len(added)).to_bytes(4, "big")
    path.write_bytes(data)


def declare(path, projection=None, stereo=None, pose=(0, 0, 0)):
    """Writes spherical metadata V2 into an mp4 file: projection, a `box` in the box proj; stereo, the mode of st3d;
    pose: yaw, pitch and roll, degrees."""
    added = box(b"st3d", bytes([0, 0, 0, 0, stereo])) if stereo is not None else b""
    if projection is not None:
        angles = np.int32(np.multiply(pose, 2**16)).astype(">i4").tobytes()
        added += box(b"sv3d", box(b"svhd", bytes(5)), box(b"proj", box(b"prhd", bytes(4), angles), projection))
    insert(path, added, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")


def declare_v1(path, **properties):
    """Writes spherical metadata V1, which is XML, into an mp4 file."""
    lines = "".join(f"<GSpherical:{name}>{value}</GSpherical:{name}>" for name, value in {
        "Spherical": "true", "Stitched": "true", "StitchingSoftware": "by hand", **properties}.items())
    xml = f'<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" ' \
          f'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/">{lines}</rdf:SphericalVideo>'
    identity = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
    insert(path, box(b"uuid", identity, xml.encode()), b"moov", b"trak")


def remux(source, path, is_kept=lambda number: True):
    """Copies the packets of a video into another container, those whose numbers are kept."""
    with av.open(str(source)) as before, av.open(str(path), "w") as container:
        track = container.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(before.demux(video=0)):
            if packet.size and is_kept(number):
                packet.stream = track
                container.mux(packet)


EQUIRECTANGULAR = box(b"equi", bytes(4), bytes(16))
HALF_SPHERE = box(b"equi", bytes(4), bytes(8), (2**30 - 1).to_bytes(4, "big"), (2**30 - 1).to_bytes(4, "big"))
CUBEMAP = box(b"cbmp", bytes(4), bytes(8))


def project(frames, output, height, width, **options):
    """The equirectangular frames in another projection of v360 ("c3x2", "eac", "dfisheye", "flat", "hequirect")."""
    graph = av.filter.Graph()
    more = "".join(f":{name}={value}" for name, value in options.items())
    stages = [graph.add_buffer(width=frames[0].shape[1], height=frames[0].shape[0], format="gbrp",
                               time_base=Fraction(1, 24)),
              graph.add("v360", f"input=e:output={output}:w={width}:h={height}{more}"), graph.add("buffersink")]
    graph.link_nodes(*stages).configure()
    for frame in frames:
        graph.push(av.VideoFrame.from_ndarray(frame, format="bgr24").reformat(format="gbrp"))
        yield graph.pull().to_ndarray(format="bgr24")


def opencv_frames(path):
    """All frames of a file as OpenCV decodes them."""
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        decoded, frame = capture.read()
        if not decoded:
            return frames
        frames.append(frame)
