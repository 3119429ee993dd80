"""What is said of a folder of recordings: a table of its videos, what was left out and why, and a picture to look
at."""

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

NAMED = 5   # things of one kind that a line names
COLUMNS = ("video", "format", "kind", "users", "samples", "kept", "outside", "first", "last", "frames", "fps")


def listed(names):
    """The names as text, the first few of many."""
    names = [str(name) for name in names]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def counted(counts):
    """The paths of {path: number} as text, with their numbers, the largest first."""
    return listed(f"{path} ({count})" for path, count in sorted(counts.items(), key=lambda item: -item[1]))


def kinds(gazes):
    """How many videos have gaze, and how many have the direction of the head, as text."""
    counts = Counter(gaze.kind for gaze in gazes)
    return ", ".join(f"{kind} of {count} videos" for kind, count in sorted(counts.items()))


def left_out(collection, problems, others):
    """Lines about what was not taken of a `Collection`. problems: lines; others: paths that are no recordings."""
    lines = []
    if rows := collection.bad_rows:
        counts = {f"{path} ({len(numbers)}) from line {min(numbers)}": len(numbers) for path, numbers in rows.items()}
        lines.append(f"{sum(counts.values())} rows skipped in {len(rows)} files, not numbers, lost or outside the "
                     f"panorama: {listed(sorted(counts, key=counts.get, reverse=True))}")
    if repeated := +collection.repeated:
        lines.append(f"{sum(repeated.values())} samples left out, since another file of the same user and video has "
                     f"more: {counted(repeated)}")
    if other := +collection.other_kind:
        lines.append(f"{sum(other.values())} samples left out, since gaze and head are not mixed (gaze_kind chooses): "
                     f"{listed(other)}")
    if mixed := [f"{name} ({', '.join(gaze.formats)})" for name, gaze in collection.videos.items()
                 if len(gaze.formats) > 1]:
        lines.append(f"recordings of several formats are taken together: {listed(mixed)}")
    if empty := [name for name, gaze in collection.videos.items() if not len(gaze.time)]:
        lines.append(f"no valid sample of {listed(empty)}")
    if others:
        lines.append(f"{len(others)} files are in no format that is known: {listed(others)}")
    return [*lines, *collection.problems, *problems]


def table_row(name, gaze, frames, gathered, outside):
    """A row of `table`. gaze: a `Gaze`; frames: the video's extracted frames; gathered: their samples, or None where
    the video's rate is not known; outside: number of samples that no frame gathers."""
    known = gaze.samples.frame[np.isfinite(gaze.samples.frame)] if gathered is None else gathered.frame
    ends = (int(known.min()), int(known.max())) if len(known) else ("–", "–")
    last = frames.count - 1 if frames.count else max(frames.images)
    return (name, "+".join(gaze.formats), gaze.kind, len(set(gaze.samples.user.tolist())), len(gaze.time),
            0 if gathered is None else len(gathered.frame), outside, *ends, f"{min(frames.images)}–{last}",
            f"{frames.clock.fps:.6g}" if frames.clock.fps else "?")


def table(rows):
    """The rows as Markdown: samples read, kept, and outside the frames; first and last frame with gaze, and the
    video's."""
    return "\n".join(["| " + " | ".join(map(str, row)) + " |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)])


def draw(pictures):
    """A figure with a line for each of `pictures`: (title, frame (H, W, 3) uint8 BGR, the frame under its map, samples
    of that frame)."""
    figure = Figure(figsize=(11, 2.9 * len(pictures)), layout="constrained")
    for axes, (title, frame, over, samples) in zip(figure.subplots(len(pictures), 2, squeeze=False), pictures):
        height, width = frame.shape[:2]
        axes[0].set_title(title, fontsize=9)
        axes[0].scatter((samples.longitude + 180) / 360 * width, (90 - samples.latitude) / 180 * height, s=16,
                        color="#56B4E9", edgecolors="black", linewidths=0.5, zorder=2)
        for panel, image in zip(axes, (frame, over)):
            panel.imshow(image[..., ::-1], extent=(0, width, height, 0))
            panel.set_axis_off()
    return figure
