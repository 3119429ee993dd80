"""Shares of attention by region, what viewport-adaptive streaming and encoders with regions of interest take:
results_dir/ID_regions.csv."""

import csv
from itertools import pairwise

import numpy as np

from files import replacing


def edges_of(rows, columns):
    """The edges of the tiles, degrees: latitudes from 90 to -90 (rows + 1,), longitudes from -180 to 180
    (columns + 1,)."""
    return np.linspace(90, -90, rows + 1), np.linspace(-180, 180, columns + 1)


def overlaps(edges, other_edges):
    """How much of each interval between `edges` lies in each one between `other_edges`, both increasing: (n, m)."""
    low = np.maximum(edges[:-1, None], other_edges[:-1])
    high = np.minimum(edges[1:, None], other_edges[1:])
    return np.maximum(high - low, 0)


def region_shares(levels, rows, columns):
    """The share of a map's mass, by solid angle, in each tile of an even grid of latitude and longitude.

    levels: (H, W), at least 0. Returns (rows, columns), float64, north first and west first, with the sum 1. A pixel
    that lies in several tiles counts in each with its part. The mass of a map of zeros is spread evenly.
    """
    H, W = levels.shape
    heights = [-np.sin(np.linspace(np.pi / 2, -np.pi / 2, count + 1)) for count in (rows, H)]  # area goes with sin lat
    widths = [np.linspace(0, 1, count + 1) for count in (columns, W)]
    levels = levels.astype(np.float64) if levels.any() else np.ones((H, W))
    mass = overlaps(*heights) @ levels @ overlaps(*widths).T
    return mass / mass.sum()


class RegionsWriter:
    """A context that writes a table: for each map its time, the number of its frame, and the share of each tile.

    path: the .csv; number: a function that gives the frame's number of a position; rows, columns: of the grid.
    """

    def __init__(self, path, number, rows, columns):
        self.path, self.number, self.grid = path, number, (rows, columns)

    def __enter__(self):
        self.lines = []
        return self

    def write(self, frame, saliency, time):
        """Adds a map, uint8 (h, w), of the frame that is shown from `time` on, seconds."""
        shares = region_shares(saliency, *self.grid).ravel()
        self.lines.append([f"{time:.6f}", self.number(len(self.lines)), *(f"{share:.9f}" for share in shares)])

    def __exit__(self, kind, *_):
        if kind is None and self.lines:
            with replacing(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["time", "frame", *tile_names(*self.grid)])
                table.writerows(self.lines)


def tile_names(rows, columns):
    """What the columns of the table are called, row by row: "lat 45:90 lon -180:-135", degrees."""
    lats, lons = edges_of(rows, columns)
    return [f"lat {south:g}:{north:g} lon {west:g}:{east:g}" for north, south in pairwise(lats)
            for west, east in pairwise(lons)]
