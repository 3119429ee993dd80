"""The path of a virtual camera that looks where people look, planned over all maps of a shot by dynamic programming.

The camera pans about the vertical axis and tilts, and never rolls. Its angular speed is exactly the root of the sum of
the squares of how fast its longitude and its latitude change, wherever it looks. Degrees and seconds.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from reframing.view import half_extents
from sphere import directions
from video.decode import ROUNDING
from video.resize import resized

CELL = 4.0              # degrees: the camera's direction at the knots of its path is one of a grid
ROWS, COLUMNS = int(180 / CELL), int(360 / CELL)
KNOT = 0.4              # seconds from one knot of the path to the next, about
FASTEST = 4             # cells from knot to knot at most
SPEED_COST = 1e-4       # of a degree a second, squared; a second with all attention in the view's middle is worth 1
ACCELERATION_COST = 4e-5    # of a degree a second squared, squared
FRONT = 1e-3            # what the front is worth more than the back, where nothing else decides
LEAST_CALM = 0.01       # so that the camera rests where nothing moves it
SMOOTHING = 2           # knots; the curve through the path is a cubic B-spline, so many times as wide as usual
CHUNK = 256             # knots whose maps are looked at together


class Camera(NamedTuple):
    """A virtual camera."""

    size: tuple             # (height, width) of its picture, pixels
    field_of_view: float    # of its picture's width, degrees
    top_speed: float        # degrees a second
    calm: float             # how much it would rather rest; 1: usually

    @property
    def highest(self):
        """The latitude, degrees, at which its picture's edge touches the pole."""
        return 90 - math.degrees(math.atan(half_extents(self.field_of_view, self.size)[0]))

    @property
    def rows(self):
        """The rows of the grid that it may look at."""
        most = min(int(self.highest / CELL), ROWS // 2)
        return slice(ROWS // 2 - most, ROWS // 2 + most + 1)


def reduced(saliency):
    """A map (h, w) at the size of the grid, (ROWS, COLUMNS)."""
    return resized(saliency, (ROWS, COLUMNS))


# ------------------------------------------------------------------------------------------- what a direction is worth


def latitudes():
    """The latitude of each row of the grid, radians: (ROWS,)."""
    return np.radians(90 - (np.arange(ROWS) + 0.5) * CELL)


@cache
def visibility(camera):
    """What a pixel of the grid counts when a camera looks at each row of the grid: (rows, ROWS, COLUMNS); the columns
    are the pixel's longitude from the camera's. It is the pixel's solid angle, weighted by a Hann window over the
    picture, so that things are kept in its middle."""
    up, right = half_extents(camera.field_of_view, camera.size)
    lat, lon = latitudes()[:, None], np.radians(CELL * np.arange(COLUMNS))
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    windows = []
    for tilt in latitudes()[camera.rows]:
        ahead, above = x * np.cos(tilt) + z * np.sin(tilt), z * np.cos(tilt) - x * np.sin(tilt)
        ahead = np.where(ahead > 1e-9, ahead, 1e-9)
        across, high = np.abs(y) / ahead / right, np.abs(above) / ahead / up
        windows.append((np.cos(across.clip(0, 1) * np.pi / 2) * np.cos(high.clip(0, 1) * np.pi / 2)) ** 2)
    return np.array(windows) * np.cos(lat)


def shares(maps, camera):
    """What each direction is worth: the share of a map's mass, by solid angle, that a camera sees there, weighted by
    `visibility`: (K, rows, COLUMNS), float32. maps: (K, ROWS, COLUMNS), at least 0."""
    window = np.conj(np.fft.rfft(visibility(camera)))
    mass = np.einsum("krc,r->k", maps, np.cos(latitudes()))
    seen = np.fft.irfft(np.einsum("krf,irf->kif", np.fft.rfft(maps), window, optimize=True), COLUMNS)
    front = FRONT / 2 * (1 + directions(ROWS, COLUMNS)[camera.rows, :, 0])
    return np.float32(seen / np.where(mass > 0, mass, 1)[:, None, None] + front)


# ------------------------------------------------------------------------------------------------- dynamic programming


def best_before(values, change, choices=None):
    """The largest of values[old] - change[new, old] over the steps `old`, for each step `new`: (S, ...). choices: where
    to write which one it is, uint8; None: nowhere."""
    best = np.full_like(values, -np.inf)
    for new, old in np.ndindex(change.shape):
        candidate = values[old] - change[new, old]
        if choices is not None:
            np.copyto(choices[new], old, where=candidate > best[new])
        np.maximum(best[new], candidate, out=best[new])
    return best


def advance(values, reward, change, speed, choices=(None, None)):
    """The values of the next knot. values: (S, S, rows, columns), the best sum of every path that ends with a step down
    and a step across in a cell. choices: see `best_before`, of the steps down, and across, before."""
    down, across = choices
    best = best_before(values.swapaxes(0, 1), change, across).swapaxes(0, 1)
    best = best_before(best, change, down)
    after, radius, rows = np.full_like(values, -np.inf), len(values) // 2, len(reward)
    for step in np.ndindex(speed.shape):
        south, east = step[0] - radius, step[1] - radius
        if math.hypot(south, east) <= radius and abs(south) < rows:
            here, there = (slice(max(0, way), rows + min(0, way)) for way in (-south, south))
            after[*step, there] = np.roll(best[*step, here], east, axis=-1) - speed[step] + reward[there]
    return after - after.max()


def best_path(rewards, radius, speed_cost, acceleration_cost):
    """The cells (K, 2), row and column, of the path for which the sum of rewards[k, row, column], less speed_cost times
    the square of each step, less acceleration_cost times the square of each difference of two steps, is largest. A step
    is at most `radius` cells long. Columns wrap: the first is one of the grid, and the path goes on without a jump.

    Exact, by dynamic programming over cells and the steps that led to them. Of the values every so many are kept, and
    those between are computed again on the way back: memory grows as the root of K.
    """
    count, _, columns = rewards.shape
    steps = np.arange(-radius, radius + 1)
    costs = (np.float32(acceleration_cost * (steps[:, None] - steps) ** 2),
             np.float32(speed_cost * (steps[:, None] ** 2 + steps**2)))
    values, kept, stride = np.tile(rewards[0], (len(steps), len(steps), 1, 1)), {}, math.isqrt(count) + 1
    for knot in range(1, count):
        if knot % stride == 1:
            kept[knot] = values
        values = advance(values, rewards[knot], *costs)
    down, across, row, column = np.unravel_index(np.argmax(values), values.shape)
    path = [(row, column)]
    for first in sorted(kept, reverse=True):
        values, choices = kept.pop(first), []
        for knot in range(first, min(first + stride, count)):
            choices.append(np.zeros((2, *values.shape), np.uint8))
            values = advance(values, rewards[knot], *costs, choices[-1])
        for before_down, before_across in reversed(choices):  # the second by (step across, step down before)
            row, column = row - down + radius, column - across + radius
            path.append((row, column))
            cell = row, column % columns
            down = int(before_down[down, across, *cell])
            across = int(before_across[across, down, *cell])
    path = np.array(path[::-1])
    return path - [0, path[0, 1] // columns * columns]


# ------------------------------------------------------------------------------------------------------------ the path


class Shot:
    """The path of the camera from one cut of the video to the next."""

    def __init__(self, start, spacing, knots):
        """spacing: seconds between the knots, (K, 2), latitude and longitude."""
        self.start, self.spacing, self.knots = start, spacing, knots

    def at(self, times):
        """Latitudes and longitudes (N, 2) at times (N,). As a B-spline's, the speed is a mean, with weights of at least
        0, of that between knots: it is continuous and keeps the limit."""
        place = (np.asarray(times, float) - self.start) / self.spacing
        nearby = np.floor(place)[:, None] + np.arange(1 - 2 * SMOOTHING, 2 * SMOOTHING + 1)
        distance = np.abs(place[:, None] - nearby) / SMOOTHING
        weight = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6)
        knots = self.knots[nearby.clip(0, len(self.knots) - 1).astype(int)]
        return np.einsum("nk,nkd->nd", weight / SMOOTHING, knots)


def averaged(maps, times, knots, spacing):
    """The mean of the maps that are shown around each knot: float64 (K, ROWS, COLUMNS). times: since when each is
    shown."""
    shown = []
    for knot in knots:
        start, end = knot - spacing / 2, knot + spacing / 2
        first, last = np.searchsorted(times, (start, end), side="right")
        first = max(0, first - 1)
        since = np.maximum(times[first:last], start)
        lasts = np.diff(since, append=end)
        shown.append(np.tensordot(lasts, maps[first:last], 1) / lasts.sum() if len(lasts) else maps[0])
    return np.array(shown, np.float64)


def plan_shot(maps, times, start, end, camera):
    """The `Shot` of a camera between two times, by the maps that are shown meanwhile."""
    radius = int(np.clip(round(KNOT * camera.top_speed / CELL), 1, FASTEST))
    spacing, calm = radius * CELL / camera.top_speed, max(camera.calm, LEAST_CALM)
    knots = start + spacing * np.arange(math.ceil((end - start) / spacing) + 1)
    rewards = np.concatenate([shares(averaged(maps, times, knots[first:first + CHUNK], spacing), camera)
                              for first in range(0, len(knots), CHUNK)]) * np.float32(spacing)
    path = best_path(rewards, radius, calm * SPEED_COST * (CELL / spacing) ** 2 * spacing,
                     calm * ACCELERATION_COST * (CELL / spacing**2) ** 2 * spacing)
    latitude = (ROWS // 2 - camera.rows.start - path[:, 0]) * CELL
    longitude = (path[:, 1] + 0.5) * CELL - 180
    return Shot(start, spacing, np.stack([latitude, longitude], axis=1))


def plan(maps, times, end, cuts, camera):
    """The path of a camera through a video: a list of `Shot`, from its beginning on.

    maps: (T, h, w), at least 0; times: when each is shown, seconds; end: when the last stops being shown; cuts: the
    times at which the video is cut, in order. The camera may jump there and nowhere else. Between two cuts without a
    map it goes on as before.
    """
    maps = maps if maps.shape[1:] == (ROWS, COLUMNS) else np.stack([reduced(saliency) for saliency in maps])
    times = np.asarray(times, float)
    places = np.searchsorted(times, np.subtract(cuts, ROUNDING))
    starts = {0: 0.0} | {int(place): cut for place, cut in zip(places, cuts) if 0 < place < len(times)}
    stops = [*list(starts)[1:], len(times)]
    ends = [*list(starts.values())[1:], end]
    return [plan_shot(maps[first:stop], times[first:stop], start, until, camera)
            for (first, start), stop, until in zip(starts.items(), stops, ends)]


def look_at(shots, times):
    """(latitudes, longitudes) (N,), degrees, of the camera at times (N,), sorted. Within a shot longitudes go on beyond
    180."""
    which = np.searchsorted([shot.start for shot in shots], times, side="right") - 1
    return np.concatenate([shot.at(np.asarray(times)[which == number]) for number, shot in enumerate(shots)]).T
