"""Flow by dense inverse search (DIS, Kroeger et al., ECCV 2016) with OpenCV, a pair of frames on each core."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2

from flow.seam import seam_padding
from video.pipeline import in_order, serial_opencv

MIN_ROWS = 16  # of a frame, and columns; DIS fails on smaller ones, or ends the process

_thread = threading.local()  # a DIS object for each thread, and its size: making its buffers takes 1/7 of the time


def dis_flow(pair):
    """The flow (H, W, 2), float32, of a pair of BGR frames (H, W, 3), uint8: to the right and down, pixels."""
    H, W = pair[0].shape[:2]
    if getattr(_thread, "size", None) != (H, W):  # an object may keep the scales that it searched at another size
        _thread.dis, _thread.size = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), (H, W)
    pad = seam_padding(W)
    greys = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in pair]
    wrapped = [cv2.copyMakeBorder(grey, 0, 0, pad, pad, cv2.BORDER_WRAP) for grey in greys]
    return _thread.dis.calc(*wrapped, None)[:, pad : pad + W].copy()


def dis_flows(pairs):
    """Yields the `dis_flow` of each pair in an iterable, in order. One pair per core is faster than OpenCV's own
    threads, which share a pair among the cores."""
    with serial_opencv(), ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from in_order(pool, dis_flow, pairs)
