"""Decoding of video files with PyAV (FFmpeg), and sampling at 8 frames a second (section 4.1 of the paper).

Times are in seconds and count from the first frame that is shown. Clocks are the file's own.
"""

import math
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from checks import printable
from errors import InputError
from video.colour import to_bgr
from video.containers import declarations, tear
from video.projection import Layout, Views, declared_layout, warn

SAMPLES_PER_SECOND = 8  # as published
ROUNDING = 0.0006       # seconds: time stamps may be rounded to thousandths
JUMP, LATE = 10, 1      # seconds: steps forward (of broadcasts) and back that show that a clock was set anew
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv",
                  ".flv", ".ogv", ".3gp", ".3g2", ".asf", ".f4v", ".ivf", ".m2v", ".mxf", ".nut", ".ogm", ".qt", ".vob",
                  ".264", ".h264", ".265", ".h265", ".hevc", ".obu")
# A file is opened with the protocol "file" alone, and never as a format that names other files, such as a playlist.
LOCAL = {"protocol_whitelist": "file",
         "format_whitelist": "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,ivf,mxf,nut,h264,hevc,obu,m4v,dv,"
                             "wtv,rm,gif,apng,mjpeg,yuv4mpegpipe"}
REORDERED = 16          # frames before a cut between which others may be missing
SEVERAL = 3             # packets in a row; the two fields of an interlaced frame may be packets of their own
NO_DECODER = "without a decoder"
STATING = {"mov", "matroska", "avi", "asf", "flv"}  # formats that say how long a file should be, and do not guess
STILLS = {"mjpeg", "png", "bmp", "webp", "gif", "tiff"}


class VideoInfo(NamedTuple):
    """What a video file says of itself, and what its packets show (see `probe`)."""

    fps: float              # frames a second; where the rate varies, on average
    constant: bool          # whether all frames are shown within half a frame of that rate
    times: np.ndarray       # when each frame is shown, by the packets' time stamps, float64 (frames,)
    stamped: bool           # whether these are time stamps of pictures; if not, of decoding, or by a constant rate
    end: float              # when the last frame stops being shown
    start: float            # when the first one is shown, by the file's clock
    codec: str
    size: tuple             # (height, width) of the pictures as they are stored, pixels
    layout: Layout          # what the file declares
    twins: int              # other video streams of that size
    sound: str              # the codec of the first stream of sound that can be decoded, NO_DECODER, or "": no sound
    problem: str            # why the file is called damaged, or ""

    @property
    def frames(self):
        return len(self.times)

    @property
    def step(self):
        """Every step-th frame is sampled; 0: the frames that are shown at every eighth of a second."""
        return max(1, round(self.fps / SAMPLES_PER_SECOND)) if self.constant else 0

    @property
    def rate(self):
        """Sampled frames a second, nominal."""
        return self.fps / self.step if self.step else SAMPLES_PER_SECOND

    @property
    def samples(self):
        """The indices of the sampled frames, as far as the packets tell, int (samples,)."""
        if self.step:
            return np.arange(0, self.frames, self.step)
        ticks = np.arange(math.ceil((self.end - ROUNDING) * SAMPLES_PER_SECOND)) / SAMPLES_PER_SECOND
        return np.unique(np.searchsorted(self.times, ticks + ROUNDING, side="right") - 1)


# ----------------------------------------------------------------------------------------------------------- the files


def is_video(path):
    """Whether the path is a file with a video's suffix, and not a hidden one."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")


def list_videos(folder):
    """The paths of a folder's videos, sorted by name, without hidden files."""
    return sorted(path for path in Path(folder).iterdir() if is_video(path))


@contextmanager
def open_video(path):
    """Yields (container, its stream of pictures) of a local file. Raises InputError if the file does not exist, or is
    not a video."""
    path, shown = Path(path), printable(path)
    if not path.is_file():
        raise InputError(f"{shown} does not exist")
    if not path.stat().st_size:
        raise InputError(f"{shown} is empty")
    with path.open("rb") as file:
        try:  # "file:" keeps FFmpeg from taking "12:30 walk.mp4" for something of the protocol "12"
            container = av.open(f"file:{path}" if shown == str(path) else file, options=LOCAL,
                                metadata_errors="replace")
        except (av.FFmpegError, ValueError):
            raise InputError(f"{shown} is not a video that can be read, or was cut short") from None
        with container:
            yield container, picture_stream(container, shown)


def picture_streams(container):
    """The streams of a container that hold moving pictures and can be decoded, the largest first. Covers and other
    attached pictures are none."""
    streams = [stream for stream in container.streams.video
               if stream.codec_context and not stream.disposition & stream.disposition.attached_pic]
    moving = [stream for stream in streams if stream.frames != 1 or stream.codec_context.name not in STILLS]
    return sorted(moving or streams, key=lambda stream: -stream.width * stream.height)


def picture_stream(container, name):
    """The first of `picture_streams`; its decoder uses all cores. Raises InputError if there is none."""
    streams = picture_streams(container)
    if not streams:
        raise InputError(f"{name} holds no moving pictures that can be decoded")
    streams[0].thread_type = "AUTO"
    return streams[0]


# ------------------------------------------------------------------------------------------------------------ the time


def packets_of(container, *streams):
    """Yields the packets of the streams (none: of all). Where a stream's clock is set anew, as between two broadcasts
    in one file, its time goes on from the packet before. Ends where the file is too damaged to be read on."""
    resets = bool(container.format.flags & av.format.Flags.ts_discont.value)
    packets, last, steps, offsets = container.demux(*streams), {}, {}, {}
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        if not packet.size:  # at the end, one for each decoder; see `decoded`
            continue
        stamp, stream = packet.dts, packet.stream_index
        if stamp is not None:  # pts go back and forth; a packet that has only these is no evidence
            step = stamp + offsets.get(stream, 0) - last.get(stream, stamp)
            seconds = step * packet.time_base
            if stream in last and (seconds < -LATE or (resets and seconds > JUMP)):
                step = packet.duration or steps[stream]
                offsets[stream] = last[stream] + step - stamp
            last[stream], steps[stream] = stamp + offsets.get(stream, 0), max(1, step)
        if offset := offsets.get(stream, 0):
            packet.pts = None if packet.pts is None else packet.pts + offset
            packet.dts = None if packet.dts is None else packet.dts + offset
        yield packet


def clock(item, stream):
    """The time stamp of a packet or a picture of a stream by the file's clock, or None if it has none."""
    stamp = item.dts if item.pts is None else item.pts
    return None if stamp is None else float(stamp * stream.time_base)


def fits(times, fps):
    """Whether frames at `times`, sorted, are within half a frame of a constant rate."""
    return bool(np.all(np.abs(times - np.arange(len(times)) / fps) <= 0.5 / fps + ROUNDING))


def rate_of(times, stated):
    """(frames a second, whether they are constant) of frames at `times`, sorted, the first at 0. stated: rates that the
    file gives, each perhaps None, or absurd: some files give the ticks of the clock instead."""
    measured = (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] else None
    rates = [float(rate) for rate in (*stated, measured) if rate and 0 < rate <= 500] or [30.0]
    fitting = [rate for rate in rates if fits(times, rate)]
    return (fitting[0], True) if fitting else (measured or rates[0], False)


def shown_times(stamps, fps):
    """(when the frames of packets are shown by the file's clock, sorted, whether all have a time stamp that says so).
    stamps: of each packet (pts, dts), seconds or None. Frames that have neither are shown at a constant rate, fps."""
    shown, decoded_at = zip(*stamps)
    if None not in shown:
        return np.sort(np.float64(shown)), True
    return (np.arange(len(stamps)) / fps if None in decoded_at else np.sort(np.float64(decoded_at))), False


def stated_duration(container, stream):
    """(how long a file says that it is, seconds; whether that is about its pictures alone). 0 if it says nothing."""
    if not set(container.format.name.split(",")) & STATING:
        return 0.0, True
    if container.format.name == "avi" and stream.frames and stream.average_rate:  # its duration is that of the index
        return float(stream.frames / stream.average_rate), True
    if stream.duration:
        return float(stream.duration * stream.time_base), True
    try:
        hours, minutes, rest = stream.metadata.get("DURATION", "").split(":")  # of Matroska, "00:00:02.000000000"
        end = 3600 * int(hours) + 60 * int(minutes) + float(rest)
        return end - float((stream.start_time or 0) * stream.time_base), True
    except ValueError:
        return (container.duration or 0) / av.time_base, False


def missing_parts(path, container, stream, spans):
    """Why a file is called cut short or damaged by what its container says, or "". spans: {index of a stream: (begin,
    end) by its packets}."""
    lasting = {index: max(end, end - begin) for index, (begin, end) in spans.items()}
    pictures = lasting.get(stream.index, 0.0)
    stated, of_pictures = stated_duration(container, stream)
    read = pictures if of_pictures else max(lasting.values(), default=0.0)
    if stated - read > max(0.25, 0.05 * stated):
        return f"{printable(path)} was cut short: only {pictures:.1f} of its {stated:.1f} seconds could be read"
    if "matroska" in container.format.name and (torn := tear(path)):
        return f"{printable(path)} {torn}"
    if container.format.name == "mpegts" and all(path.stat().st_size % length for length in (188, 192, 204)):
        return f"{printable(path)} was cut short: its last packet is not whole"
    return ""


def lost_packets(path, flagged, times):
    """Why a file is called damaged, or "": frames are missing beside packets that the demuxer `flagged`, whose times
    are given. Flagged packets alone are no evidence: they also stand where two healthy streams were joined."""
    steps = np.diff(times)
    for time in flagged:
        place = int(np.searchsorted(times, time))
        near = steps[max(0, place - REORDERED):place + REORDERED]
        if len(near) and near.max() > 1.6 * np.median(steps):
            return f"{printable(path)} is damaged: packets are missing {max(0.0, time):.1f} s from its beginning"
    return ""


# ----------------------------------------------------------------------------------------------------------- the video


def open_ended(container, times):
    """Whether frames may be missing among the last ones without any evidence: a broadcast was recorded until somebody
    stopped it."""
    return container.format.name == "mpegts" and len(times) > 2 * REORDERED


def decoded(stream, packet):
    """(the pictures that a packet completes, whether the decoder met an error). packet None: the pictures that are left
    at the end."""
    try:
        return stream.codec_context.decode(packet), False
    except av.FFmpegError:
        return [], True


def estimated_samples(path):
    """How many frames of a file will be sampled, as far as its header tells; 0 where it does not."""
    with open_video(path) as (container, stream):
        fps, _ = rate_of(np.zeros(0), (stream.guessed_rate, stream.average_rate))
        lasts = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
        return math.ceil((stream.frames or float(lasts) * fps) / max(1, round(fps / SAMPLES_PER_SECOND)))


def probe(path):
    """The `VideoInfo` of a video file, for which its packets are read and its first frame is decoded. Raises InputError
    as `open_video` does, and if no frame can be decoded."""
    path = Path(path)
    with open_video(path) as (container, stream):
        stream.thread_type = "SLICE"  # to decode several frames at a time would begin with a delay
        first, stamps, flagged, latest, spans = [], [], [], (-math.inf, 0.0), {}
        for packet in packets_of(container):
            begin, lasts = clock(packet, packet.stream), float((packet.duration or 0) * packet.time_base)
            if begin is not None:
                known = spans.get(packet.stream_index, (begin, begin))
                spans[packet.stream_index] = min(known[0], begin), max(known[1], begin + lasts)
            if packet.stream_index == stream.index:
                first = first or decoded(stream, packet)[0]
                flagged += [begin] if packet.is_corrupt and begin is not None else []
                if not packet.is_discard:
                    latest = max(latest, (begin or 0.0, lasts))
                    stamps.append([None if stamp is None else float(stamp * packet.time_base)
                                   for stamp in (packet.pts, packet.dts)])
        first = first or decoded(stream, None)[0]
        if not first or not stamps:
            raise InputError(f"{printable(path)} has no frame that can be decoded")
        rates = stream.guessed_rate, stream.average_rate
        times, stamped = shown_times(stamps, rate_of(np.zeros(0), rates)[0])
        start = clock(first[0], stream)
        stamped = stamped and container.format.name != "avi"  # which counts frames in the order of decoding
        if not stamped or start is None or not times[0] <= start <= times[-1]:
            start = times[0]
        times = times[times >= start - ROUNDING] - start
        problem = (missing_parts(path, container, stream, spans)
                   or lost_packets(path, np.float64(flagged) - start, times))
        stated, of_pictures = stated_duration(container, stream)
        fps, constant = rate_of(times[:-REORDERED] if problem or open_ended(container, times) else times, rates)
        end = float(times[-1]) + (latest[1] or min(1 / fps, 1 / rate_of(np.zeros(0), rates)[0]))
        if of_pictures and stated > times[-1] and not problem:
            end = stated
        size = stream.height, stream.width
        sounds = [track.codec_context.name if track.codec_context else NO_DECODER for track in container.streams.audio]
        sounds.sort(key=lambda codec: codec == NO_DECODER)  # the others keep their order
        twins = sum((other.height, other.width) == size for other in picture_streams(container)) - 1
        return VideoInfo(
            fps, constant, times, stamped, end, float(start), stream.codec_context.name, size,
            declared_layout(first[0], declarations(path)), twins, sounds[0] if sounds else "", problem)


class VideoReader:
    """Decodes the frames of a video file. info: its `VideoInfo`. Once all frames have been read, `read` is their number
    and `problem` says why the file is called damaged, or ""."""

    def __init__(self, path, info):
        self.path, self.info, self.read, self.problem = Path(path), info, 0, info.problem

    def pictures(self):
        """Yields (index, time, `av.VideoFrame`) of every frame that can be decoded, in the order in which they are
        shown. Raises InputError if there is none."""
        errors, time, stamps, whole, self.read = 0, 0.0, [], False, 0
        with open_video(self.path) as (container, stream):
            for packet in chain(packets_of(container, stream), [None]):
                pictures, failed = decoded(stream, packet)
                errors += failed and self.read > 0  # a recording may begin between two key frames
                for picture in pictures:
                    stamps.append(self.shown(picture, stream, time))
                    time = max(time, stamps[-1])
                    whole = whole or not picture.is_corrupt
                    errors += whole and picture.is_corrupt
                    yield self.read, time, picture
                    self.read += 1
        if not self.read:
            raise InputError(f"{printable(self.path)} has no frame that can be decoded")
        errors = max(errors, self.passed_over(stamps))
        if errors and not self.problem:
            self.problem = f"{printable(self.path)} is damaged: frames are missing or spoilt ({errors})"

    def passed_over(self, stamps):
        """How many packets gave no picture without an error, where it is several in a row: the decoder passes over
        frames whose references are missing. stamps: the times of the pictures."""
        if self.info.codec not in ("h264", "hevc") or not self.info.stamped:  # others have packets that show nothing
            return 0
        missing = ~np.isin(np.round(self.info.times, 4), np.round(stamps, 4))
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]))))[::2]
        return int(missing.sum()) if runs.max(initial=0) >= SEVERAL else 0

    def shown(self, picture, stream, before):
        """When a picture is shown, by its own time stamp, or else by those of the packets. before: when the one before
        it was."""
        if self.info.stamped and picture.pts is not None:
            return clock(picture, stream) - self.info.start
        return self.info.times[self.read] if self.read < self.info.frames else before + 1 / self.info.fps

    def samples(self):
        """Yields (index, time, `av.VideoFrame` or None) of every frame: of those that are sampled the picture."""
        if self.info.step:
            for index, time, picture in self.pictures():
                yield index, time, None if index % self.info.step else picture
            return
        waiting = None
        for item in chain(self.pictures(), [(0, self.info.end, None)]):
            if waiting:
                tick = math.ceil((waiting[1] - ROUNDING) * SAMPLES_PER_SECOND) / SAMPLES_PER_SECOND
                yield *waiting[:2], waiting[2] if tick < item[1] - ROUNDING or waiting[0] == 0 else None
            waiting = item


def open_stream(url, patience):
    """An open container of what is sent at a URL, or None if nothing comes. patience: seconds to wait, also for each
    packet later."""
    try:
        return av.open(url, options={"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}, timeout=patience,
                       metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError):
        return None


def stream_pictures(container, name):
    """Yields (time, `av.VideoFrame`) of a container that `open_stream` opened, as they come, until it ends. Raises
    InputError if it holds no pictures."""
    stream, start = picture_stream(container, name), None
    for packet in chain(packets_of(container, stream), [None]):
        for picture in decoded(stream, packet)[0]:
            shown = clock(picture, stream) or 0.0
            start = shown if start is None else start
            yield shown - start, picture


def views_of(name, info, stereo_layout, projection):
    """The `Views` of a video's frames; the settings: see config.py. Warns of several lenses in one file."""
    if info.twins:
        warn(f"{name} holds {info.twins + 1} videos of {info.size[1]} x {info.size[0]} pixels, such as those of two "
             "lenses; only the first is read: if they belong together, export them as one equirectangular video")
    return Views(name, info.layout, stereo_layout, projection)


def all_frames(path):
    """Yields every frame of a video file as it is, BGR uint8 (H, W, 3)."""
    return (to_bgr(picture) for _, _, picture in VideoReader(path, probe(path)).pictures())


def sampled(path, stereo_layout="mono", projection=""):
    """Yields the sampled frames of a video file, 8 a second, BGR uint8 (H, W, 3), equirectangular, of the left eye."""
    info = probe(path)
    views = views_of(printable(Path(path).name), info, stereo_layout, projection)
    for _, _, picture in VideoReader(path, info).samples():
        if picture is not None:
            yield views(to_bgr(picture))
    views.judge()
