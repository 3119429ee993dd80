"""TODO"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2

from flow.seam import seam_padding
from video.pipeline import in_order, serial_opencv

SMALLEST = 12  # rows of a frame that DIS can work with


_thread = threading.local()  # holds a DIS object, whose buffers cost a seventh of the time to make, and its size


def dis_flow(pair):
    """Flow (H, W, 2) of a pair of BGR frames (H, W, 3) by dense inverse search (Kroeger et al., ECCV 2016)."""
    H, W = pair[0].shape[:2]
    if getattr(_thread, "size", None) != (H, W):  # of another size it may keep, for ever, the scales it searched there
        _thread.dis, _thread.size = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), (H, W)
    pad = seam_padding(W)
    greys = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in pair]
    wrapped = [cv2.copyMakeBorder(grey, 0, 0, pad, pad, cv2.BORDER_WRAP) for grey in greys]
    return _thread.dis.calc(*wrapped, None)[:, pad : pad + W].copy()


# ----------------------------------------------------------------------------------------------------------- many pairs


def dis_flows(pairs):
    """Yields the flow of each pair of BGR frames: a pair per core, which OpenCV's own threads, several cores to a pair,
    do not come up to."""
    with serial_opencv(), ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from in_order(pool, dis_flow, pairs)
