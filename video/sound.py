"""The sound of a video file, on its way into an mp4 file: copied packet by packet, or decoded and encoded as AAC."""

import io
import math
import sys
from contextlib import suppress
from functools import cache
from itertools import chain, islice

import av
from av.filter import Graph
from tqdm import tqdm

from video.decode import LOCAL

AAC_RATE = 48000        # samples a second, of sound that is encoded
TRIED_PACKETS = 50      # about a second


def add_sound(container, path, start, codecs):
    """Adds a track with the `first_stream` of a file to an open mp4 container. Returns its `SoundTrack`, or None, after
    a warning on stderr, where the sound cannot be decoded.

    start: where the track begins, seconds by the file's clock. codecs: names of those whose packets are copied.
    """
    with suppress(av.FFmpegError, ValueError):
        if can_be_decoded(path):
            with av.open(io.BytesIO(), "w", format="mp4") as rehearsal:  # in the file, a failure would cost the picture
                track = SoundTrack(rehearsal, path, start, codecs)
                rehearsal.start_encoding()
                track.write(1)
                track.close()
            return SoundTrack(container, path, start, codecs)
    warn(f"the sound of {path} cannot be decoded and is left out")
    return None


@cache
def warn(text):
    """Prints a warning on stderr, once: overlay and page have the same sound."""
    tqdm.write(f"warning: {text}", file=sys.stderr)


def open_file(path):
    """An open `av` container, opened as `decode.open_video` does: a local file, and no format that names others."""
    return av.open(f"file:{path}", options=LOCAL)


def first_stream(container):
    """The first audio stream of an open file for which there is a decoder. Raises ValueError if there is none."""
    for stream in container.streams.audio:
        if stream.codec_context:
            return stream
    raise ValueError("there is no sound that can be decoded")


def can_be_decoded(path):
    """Whether half of the first packets of a file's first audio stream can be decoded."""
    good = bad = 0
    with open_file(path) as container:
        for packet in islice(container.demux(first_stream(container)), TRIED_PACKETS):
            try:
                good += bool(packet.decode())
            except av.FFmpegError:
                bad += 1
    return good >= bad


def pulled(graph, end=False):
    """Yields the frames that a filter graph has ready; at the end also those that it holds back."""
    if end:
        graph.push(None)
    with suppress(av.error.BlockingIOError, EOFError):
        while True:
            yield graph.pull()


class SoundTrack:
    """A track of an open mp4 container that takes the first audio stream of a file: see `add_sound`."""

    def __init__(self, container, path, start, codecs):
        self.container, self.path, self.start = container, path, start
        self.file = open_file(path)
        self.stream = first_stream(self.file)
        if self.stream.codec_context.codec.canonical_name in codecs:
            self.track = container.add_stream_from_template(self.stream)
            self.packets = self.copied()
        else:
            layout = "mono" if self.stream.codec_context.channels == 1 else "stereo"
            self.track = container.add_stream("aac", rate=AAC_RATE, layout=layout)
            self.packets = self.encoded(layout)
        self.waiting = None

    def write(self, end):
        """Writes what is heard before `end`, seconds from the beginning of the track. Damage ends the sound with a
        warning."""
        try:
            while self.packets:
                self.waiting = self.waiting or next(self.packets, None)
                if self.waiting is None:
                    self.packets = None
                elif float((self.waiting.pts + self.waiting.duration / 2) * self.waiting.time_base) >= end:
                    return
                else:
                    packet, self.waiting = self.waiting, None
                    packet.stream = self.track
                    self.container.mux(packet)
        except av.FFmpegError as problem:
            if isinstance(problem, OSError):  # a full disk, which is no matter of the sound
                raise
            self.packets = None
            warn(f"the sound of {self.path} is damaged; what comes after {end:.0f} s is left out")

    def decoded(self):
        """Yields (packet, its frames) of those that can be decoded: at others, browsers stop the whole video."""
        for packet in self.file.demux(self.stream):
            try:
                yield packet, packet.decode()
            except av.FFmpegError:
                warn(f"the sound of {self.path} is damaged in places, which are left out")

    def copied(self):
        """Yields the packets, with their times from the beginning of the track."""
        last = -math.inf
        for packet, _ in self.decoded():
            if packet.dts is None:  # the end, or nobody knows when
                continue
            shift = round(self.start / packet.time_base)
            packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
            packet.dts -= shift
            if packet.pts + packet.duration > 0 and packet.dts > last:  # the mp4 cuts what the first has before 0
                last = packet.dts
                yield packet

    def encoded(self, layout):
        """Yields packets of AAC, with their times from the beginning of the track. layout: "mono" or "stereo"."""
        for frame in self.converted(layout):
            yield from self.track.encode(frame)
        yield from self.track.encode(None)

    def converted(self, layout):
        """Yields the decoded sound at `AAC_RATE` from the beginning of the track on; silence fills gaps."""
        graph = described = None
        for frame in chain.from_iterable(frames for _, frames in self.decoded()):
            if described != (description := (frame.format.name, frame.layout.name, frame.sample_rate)):
                if graph:
                    yield from pulled(graph, end=True)
                graph, described = self.converter(frame, layout), description
            graph.push(frame)
            yield from pulled(graph)
        if graph:
            yield from pulled(graph, end=True)

    def converter(self, frame, layout):
        """A filter graph for frames like this one."""
        filters = [("aresample", "async=1"), ("atrim", f"start={self.start}"), ("asetpts", f"PTS-({self.start})/TB"),
                   ("aformat", f"sample_fmts=fltp:sample_rates={AAC_RATE}:channel_layouts={layout}")]
        if "ambisonic" in frame.layout.name:  # FFmpeg mixes these into no other layout
            filters.insert(0, ("pan", "stereo|c0=0.5*c0+0.5*c1|c1=0.5*c0-0.5*c1"))  # all around, plus and minus left
        graph = Graph()
        source = graph.add_abuffer(sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout.name,
                                   time_base=self.stream.time_base)
        graph.link_nodes(source, *(graph.add(*item) for item in filters), graph.add("abuffersink")).configure()
        return graph

    def close(self):
        self.file.close()
