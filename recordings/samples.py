"""What every reader of this folder returns: who looked where, and when, in one video."""

from typing import NamedTuple

import numpy as np

FRAMES = 2**31          # indices of frames are below
SECONDS = 1e7           # and times too, so that their frames are


class Samples(NamedTuple):
    """Gaze samples of one video, each array (N,)."""

    frame: np.ndarray      # index of a frame of the source video, from 0
    longitude: np.ndarray  # degrees, [-180, 180], 0 in the middle of the panorama, east (right) positive
    latitude: np.ndarray   # degrees, [-90, 90], north positive
    user: np.ndarray       # names, "" where not known

    def where(self, chosen):
        """The chosen samples: a mask (N,) or indices."""
        return Samples(*(column[chosen] for column in self))


NO_SAMPLES = Samples(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, object))


class Recording(NamedTuple):
    """What one file says of one video."""

    video: str              # the data set's name of it
    kind: str               # "gaze": where the eyes look; "head": where the head points
    samples: Samples        # where the frame is not known but the time is, its `frame` is NaN in all of them
    time: np.ndarray        # (N,) seconds from the video's beginning, NaN where not known
    eye: str = ""           # "L" or "R" where both eyes of a user have a recording each


class Options(NamedTuple):
    """What a user may ask of the readers."""

    kind: str = ""              # "head" or "gaze": which one of a format that has both; "" = gaze
    fixations: str = "samples"  # "recorded": only what the data set itself calls fixations, where it says so
    table_origin: str = "top"   # "top" or "bottom": where fractions v of a table are 0
    table_first_frame: int = 0  # number of the first frame in a table
    table_time: str = "s"       # unit of times in a table whose column does not say it
    names: frozenset = frozenset()  # names of the videos that are looked for


def make_recording(video, kind, columns, time=None):
    """(recording, which rows are in it, (N,) bool) of `columns`: frame or None, longitude, latitude, user, arrays (N,).
    A row is skipped if its direction or its frame (without frames, its time) is impossible or NaN. time: (N,)
    seconds."""
    frame, longitude, latitude, user = columns
    count = len(longitude)
    time = np.full(count, np.nan) if time is None else time
    with np.errstate(invalid="ignore"):  # comparisons with NaN are false
        when = (time >= 0) & (time < SECONDS) if frame is None else (frame >= 0) & (frame < FRAMES)
        chosen = when & (np.abs(longitude) <= 180) & (np.abs(latitude) <= 90)
    frame = np.full(count, np.nan)[chosen] if frame is None else frame[chosen].astype(np.int64)
    users = np.broadcast_to(np.array(user, object), count)
    samples = Samples(frame, longitude[chosen], latitude[chosen], users[chosen])
    return Recording(video, kind, samples, time[chosen]), chosen


def split_videos(names, kind, columns, time=None):
    """What `make_recording` returns, a list of recordings, for rows of several videos. names: (N,) of the videos; a row
    where it is "" is skipped."""
    recordings, chosen = [], np.zeros(len(names), bool)
    order = np.argsort(names.astype(str), kind="stable") if len(set(names)) > 1 else np.arange(len(names))
    for rows in np.split(order, np.flatnonzero(names[order][1:] != names[order][:-1]) + 1) if len(names) else []:
        if not names[rows[0]]:
            continue
        frame, longitude, latitude, user = columns
        part = (None if frame is None else frame[rows], longitude[rows], latitude[rows], user[rows])
        recording, chosen[rows] = make_recording(str(names[rows[0]]), kind, part, None if time is None else time[rows])
        recordings.append(recording)
    return recordings, chosen


def wrapped(longitude):
    """Degrees of longitude in (-180, 180]."""
    return 180 - (180 - longitude) % 360


def frames_at(time, fps):
    """Indices of the frames that are shown at `time`, seconds (N,). (30 * 0.1 is less than 3 by a rounding error.)"""
    return np.floor(time * exact_rate(fps) + 1e-8).astype(np.int64)


def exact_rate(fps):
    """The rate that is meant: of television's 23.976, 29.97 and 59.94 frames a second, 24000/1001 and so on."""
    ntsc = round(fps * 1.001) / 1.001
    return ntsc if abs(fps - ntsc) < 5e-5 else fps


def assign_frames(samples, numbers, end=None):
    """The samples with `frame` replaced by the extracted frame that gathers each one. Samples that no frame gathers are
    left out.

    numbers: ascending indices of the extracted frames. A frame gathers the samples from its own index up to the next
    extracted frame's, and the last one up to `end` or, if that is None, as many indices as the one before it.
    """
    numbers = np.asarray(numbers)
    if end is None:
        end = 2 * numbers[-1] - numbers[-2] if len(numbers) > 1 else np.inf
    samples = samples.where((samples.frame >= numbers[0]) & (samples.frame < end))
    return samples._replace(frame=numbers[np.searchsorted(numbers, samples.frame, side="right") - 1])
