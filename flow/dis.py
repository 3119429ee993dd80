"""Flow by dense inverse search (DIS, Kroeger et al., ECCV 2016) with OpenCV, a pair of frames on each core."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from flow.gate import change_gate
from flow.seam import seam_padding
from video.pipeline import in_order, serial_opencv

MIN_ROWS = 16   # of a frame, and columns; DIS fails on smaller ones, or ends the process
CELL = 8        # pixels: flow is computed in boxes of whole cells, so that DIS halves them as it halves the frame
MARGIN = 16     # of a box around what moves: a 16th of the frame's rows, for DIS to find where that comes from
MOST = 0.6      # share of the frame that boxes may take; flow of the whole frame is cheaper than that of more

_thread = threading.local()  # a DIS object for each thread, and its size: making its buffers takes 1/7 of the time


def wrapped_greys(pair):
    """(the grey images of a pair of BGR frames, which go on across the seam: uint8, with so many columns on each side;
    so many)."""
    pad = seam_padding(pair[0].shape[1])
    greys = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in pair]
    return [cv2.copyMakeBorder(grey, 0, 0, pad, pad, cv2.BORDER_WRAP) for grey in greys], pad


def flow_of_greys(first, second):
    """The flow (H, W, 2), float32, of a pair of grey images."""
    if getattr(_thread, "size", None) != first.shape:  # an object may keep the scales that it searched at another size
        _thread.dis, _thread.size = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), first.shape
    return _thread.dis.calc(first, second, None)


def dis_flow(pair):
    """The flow (H, W, 2), float32, of a pair of BGR frames (H, W, 3), uint8: to the right and down, pixels."""
    greys, pad = wrapped_greys(pair)
    return flow_of_greys(*greys)[:, pad:-pad].copy()


def boxes_around(gate, pad):
    """Boxes of a frame, pairs of slices, in which flow is computed: around all of the gate (H, W) that is open and not
    in the `pad` columns on each side. No two boxes touch."""
    height, width = gate.shape
    size = -(-width // CELL), -(-height // CELL)
    cells = cv2.resize(np.uint8(255 * (gate > 0)), size, interpolation=cv2.INTER_AREA)
    cells[:, : pad // CELL] = cells[:, cells.shape[1] - pad // CELL :] = 0
    reach = max(2, round(height / MARGIN / CELL))
    cells, filled = cv2.dilate(np.minimum(cells, 1), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)), None
    while not np.array_equal(cells, filled):
        filled, (_, _, found, _) = cells.copy(), cv2.connectedComponentsWithStats(cells)
        for left, top, columns, rows, _ in found[1:]:
            cells[top : top + rows, left : left + columns] = 1
    if cells.mean() > MOST:
        return [(slice(None), slice(None))]
    return [(slice(CELL * top, CELL * (top + rows)), slice(CELL * left, CELL * (left + columns)))
            for left, top, columns, rows, _ in found[1:]]


def gated_dis_flow(pair):
    """`dis_flow`, but zero where the picture does not change (see `flow.gate.change_gate`), and computed only around
    what changes. Where all changes it is `dis_flow`, bit for bit."""
    greys, pad = wrapped_greys(pair)
    gate, within = change_gate(*greys), np.s_[:, pad:-pad]
    if gate.min() == 1:
        return flow_of_greys(*greys)[within].copy()
    flow = np.zeros((*gate.shape, 2), np.float32)
    for box in boxes_around(gate, pad):
        flow[box] = flow_of_greys(*(np.ascontiguousarray(grey[box]) for grey in greys))
    return cv2.multiply(flow[within], cv2.merge((gate[within],) * 2))


METHODS = {"dis": dis_flow, "dis_gated": gated_dis_flow}


class DisFlows:
    """Flow by DIS: called with an iterable of pairs, it yields the flow of each. One pair per core is faster than
    OpenCV's own threads, which share a pair among the cores."""

    def __init__(self, of_pair):
        """of_pair: one of METHODS."""
        self.of_pair = of_pair

    def __call__(self, pairs):
        """Yields the flow of each pair of BGR frames, in order."""
        with serial_opencv(), ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from in_order(pool, self.of_pair, pairs)
