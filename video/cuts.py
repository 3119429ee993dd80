"""Where a video is cut: frames that differ far more from the one before than the frames around them do."""

import numpy as np

GLANCE = (32, 64)   # (height, width) of the grey pictures that are compared, pixels
LEAST = 8           # grey levels, the mean over the picture: less is no cut
TIMES = 3           # as much as at any of the neighbours: more is a cut. A flash is as much twice, and none
NEIGHBOURS = 6      # frames on each side


def find_cuts(glances):
    """When a video is cut: the times of the frames that are the first after a cut. glances: (time, grey picture
    (32, 64), uint8) of each frame."""
    times, changes, before = [], [], None
    for time, glance in glances:
        current = np.int16(glance)
        if before is not None:
            times.append(time)
            changes.append(np.abs(current - before).mean())
        before = current
    around = np.pad(np.float32(changes), NEIGHBOURS)
    cuts = []
    for place, (time, change) in enumerate(zip(times, changes)):
        middle = place + NEIGHBOURS
        others = max(around[place:middle].max(), around[middle + 1:middle + NEIGHBOURS + 1].max())
        if change >= max(LEAST, TIMES * others):
            cuts.append(time)
    return cuts
