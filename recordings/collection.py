"""All recordings of a folder, brought together: for each video whose gaze it is, and what was left out and why."""

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from errors import InputError
from recordings.formats import FORMATS
from recordings.samples import NO_SAMPLES, Samples


class Gaze(NamedTuple):
    """Everything that is known of one video's gaze."""

    kind: str               # "gaze" or "head"
    samples: Samples        # `frame` is NaN where only the time is known
    time: np.ndarray        # (N,) seconds, NaN where not known
    files: list             # the paths that it comes from
    formats: list           # and their formats


class Collection:
    """What `collect` has read. videos: {name: Gaze}. bad_rows: {path: lines of rows skipped}; repeated: {path: samples
    left out for another file of the same user and video}; other_kind: {video: samples of the kind that was not taken};
    problems: a line for each file that could not be read."""

    def __init__(self):
        self.videos, self.bad_rows, self.repeated, self.other_kind, self.problems = {}, {}, Counter(), Counter(), []


def collect(formats, options, mirror, progress):
    """The `Collection` of files, {path: name of its format}. options: of the readers. mirror: whether all longitudes
    change their sign. progress(): is called after each file."""
    collection, parts = Collection(), defaultdict(list)
    for path, name in formats.items():
        try:
            recordings, skipped = FORMATS[name].read(path, options)
        except (InputError, OSError) as problem:
            collection.problems.append(str(problem))
            recordings, skipped = [], ()
        if len(skipped):
            collection.bad_rows[path] = skipped
        for recording in recordings:
            parts[recording.video].append((path, name, recording))
        progress()
    for video in sorted(parts):
        collection.videos[video] = bring_together(video, parts.pop(video), options.kind, mirror, collection)
    return collection


def bring_together(video, parts, kind, mirror, collection):
    """The `Gaze` of a video from `parts`, [(path, name of its format, recording)]: gaze where there is any (or the
    wanted kind), never both, and of each user the file with the most samples. Counts what is left out in the
    collection."""
    kinds = {recording.kind for _, _, recording in parts if len(recording.time)}
    chosen = kind if kind in kinds else "gaze" if "gaze" in kinds else "head"
    collection.other_kind[video] += sum(len(part[2].time) for part in parts if part[2].kind != chosen)
    parts = [part for part in parts if part[2].kind == chosen]
    counts = [Counter(recording.samples.user.tolist()) for _, _, recording in parts]
    best = {}
    for position, (part, users) in enumerate(zip(parts, counts)):
        for user, count in users.items():
            key = user, part[2].eye
            if user and (key not in best or count > counts[best[key]][user]):
                best[key] = position
    kept = []
    for position, ((path, name, recording), users) in enumerate(zip(parts, counts)):
        lost = [user for user in users if user and best[user, recording.eye] != position]
        if lost:
            mask = ~np.isin(recording.samples.user.astype(str), lost)
            collection.repeated[path] += int((~mask).sum())
            recording = recording._replace(samples=recording.samples.where(mask), time=recording.time[mask])
        if len(recording.time):
            kept.append((path, name, recording))
    if not kept:
        return Gaze(chosen, NO_SAMPLES, np.zeros(0), [path for path, _, _ in parts],
                    sorted({name for _, name, _ in parts}))
    joined = Samples(*map(np.concatenate, zip(*(recording.samples for _, _, recording in kept))))
    if mirror:
        joined = joined._replace(longitude=-joined.longitude)
    return Gaze(chosen, joined, np.concatenate([recording.time for _, _, recording in kept]),
                [path for path, _, _ in kept], sorted({name for _, name, _ in kept}))
