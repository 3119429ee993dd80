"""Fixations from samples: velocity threshold on the sphere (I-VT; Salvucci and Goldberg, ETRA 2000)."""

import numpy as np

from recordings.samples import Samples

LONGEST_GAP = 0.1   # seconds without a sample that end a fixation
IN_WORDS = {  # what the setting `fixations` stands for
    "samples": "all samples", "ivt": "found by velocity (I-VT)", "recorded": "those that the data set names"}


def unit_vectors(longitude, latitude):
    """Directions (N, 3) of longitudes and latitudes, degrees."""
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], -1)


def sample_times(frame, clock):
    """When each sample was taken, seconds, from its frame, in the order of one user's recording: samples of one frame
    are spread evenly over it. frame: (N,) ascending; clock: the video's `Clock`."""
    _, start, count = np.unique(frame, return_index=True, return_counts=True)
    within = (np.arange(len(frame)) - np.repeat(start, count)) / np.repeat(count, count)
    return (1 - within) * clock.starts(frame) + within * clock.starts(frame + 1)


def ivt(samples, time, velocity, duration):
    """The fixations in the samples of one video, as `Samples`: every sample of a fixation, moved to its mean direction.

    A sample belongs to a fixation if the gaze of its user moves slower than `velocity`, degrees a second, up to it or
    after it; a fixation lasts at least `duration` seconds from its first to its last sample. time: (N,) seconds.
    """
    parts = []
    users = np.unique(samples.user.astype(str), return_inverse=True)[1]
    order = np.lexsort((time, users))
    for rows in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        parts.append(fixations_of_one(samples.where(rows), time[rows], velocity, duration))
    return Samples(*map(np.concatenate, zip(*parts)))


def fixations_of_one(samples, time, velocity, duration):
    """What `ivt` returns for the samples of one user, in order of time."""
    vectors = unit_vectors(samples.longitude, samples.latitude)
    step = np.diff(time)
    turn = np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(np.diff(vectors, axis=0), axis=1) / 2, 0, 1)))
    slow = (turn < velocity * np.maximum(step, 1e-9)) & (step <= LONGEST_GAP + 1e-9)
    group = np.append(0, np.cumsum(~slow)) if len(time) else np.zeros(0, int)
    _, first, count = np.unique(group, return_index=True, return_counts=True)
    lasting = time[first + count - 1] - time[first] >= duration - 1e-9
    sums = np.stack([np.bincount(group, axis) for axis in vectors.T], axis=-1) if len(time) else vectors
    longitude = np.degrees(np.arctan2(sums[:, 1], sums[:, 0]))
    latitude = np.degrees(np.arctan2(sums[:, 2], np.hypot(sums[:, 0], sums[:, 1])))
    kept = lasting[group]
    return Samples(samples.frame, longitude[group], latitude[group], samples.user).where(kept)


def once_a_frame(samples):
    """The samples without those that repeat another one of the same frame, user and direction."""
    users = np.unique(samples.user.astype(str), return_inverse=True)[1]
    keys = np.stack([samples.frame, users, samples.longitude, samples.latitude], axis=-1)
    return samples.where(np.sort(np.unique(keys, axis=0, return_index=True)[1]))
