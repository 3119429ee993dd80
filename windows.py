"""TODO"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from flow.methods import flow_images
from video.pipeline import in_order
from video.resize import resized

INPUTS_AHEAD = 4    # of the model's, resized and with flow


# -------------------------------------------------------------------------------------------------------------- stages


def model_inputs(frames, resolution, flows, flow_rows):
    """Yields what the model reads of each BGR frame (H, W, 3), uint8, of one size: (height, width, C), uint8; six
    channels with `flows`, what `load_flows` returns, or None. flow_rows: see `optical_flow.limit_rows`."""
    small = deque()

    def watched(pool):
        for frame in frames:
            small.append(pool.submit(resized, frame, resolution))
            yield frame

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if flows is None:
            yield from in_order(pool, lambda frame: resized(frame, resolution), frames)
            return
        for colour in flow_images(watched(pool), flows, flow_rows):
            yield np.concatenate([small.popleft().result(), resized(colour, resolution)], axis=2)


def stream_windows(inputs, sequence_length, overlap, first=0, kept=0):
    """Yields (clip, position of its first frame, position of the first whose map is to be kept) as `inputs` come: the
    windows of `dataset.split_windows`, whose number of frames need not be known. clip: list of inputs.

    first: position of the first of the inputs; kept: up to where maps are there already, which has to be where a window
    ends, with first at most kept - sequence_length, or 0.
    """
    recent, count = deque(maxlen=sequence_length), first
    for here in inputs:
        recent.append(here)
        count += 1
        if count == (kept - overlap if kept else 0) + sequence_length:
            yield list(recent), count - len(recent), kept
            kept = count
    if kept < count:
        yield list(recent), count - len(recent), kept


def finished_windows(done, sequence_length, overlap):
    """The largest number of frames, at most `done`, with which a window ends: so many need not be predicted again."""
    if done < sequence_length:
        return 0
    return sequence_length + (done - sequence_length) // (sequence_length - overlap) * (sequence_length - overlap)


def model_input(frame):
    """What the model takes of a frame (H, W, C), uint8: (1, C, H, W) float32, in [0, 1]."""
    return frame.permute(2, 0, 1)[None].float().div_(255)


@torch.inference_mode()
def predict_clip(model, clip, device):
    """Saliency of a clip (T, H, W, C), uint8, from an empty state: (T, H, W) float32, in (-1, 1), NumPy. Step by step:
    a clip in float32 is 40 MB that nothing needs."""
    state, maps = None, []
    for frame in clip.to(device):
        saliency, state = model.step(model_input(frame), state)
        maps.append(saliency[0, 0])
    return torch.stack(maps).cpu().numpy()


def stream_maps(windows, model, device, wanted=lambda first, stop: True):
    """Yields (position, map) for each frame of the windows that is to be kept; map: (height, width) float32, in
    (-1, 1), or None for the frames of a window of which nothing is wanted, which is not predicted."""
    for clip, first, kept in windows:
        stop = first + len(clip)
        maps = None
        if wanted(kept, stop):
            maps = predict_clip(model, torch.from_numpy(np.stack(clip)), device)
        yield from ((position, None if maps is None else maps[position - first]) for position in range(kept, stop))


class SteppedWindows:
    """The maps of frames one at a time, as soon as each comes, for as long as they come: called with what the model
    reads of a frame, (height, width, C) uint8, it returns the map, (height, width) float32 in (-1, 1).

    They are the maps of `stream_windows` (but for a video's last window, which is moved back to end with it): a new
    window begins every sequence_length - overlap frames, and has been warmed up by the time the one before it ends. So
    the state is never older than a window, as in training, and memory does not grow.
    """

    def __init__(self, model, sequence_length, overlap, device):
        self.model, self.device = model, device
        self.sequence_length, self.stride = sequence_length, sequence_length - overlap
        self.states, self.count = deque(), 0  # of the windows that hold the next frame, oldest first; frames so far

    @torch.inference_mode()
    def __call__(self, inputs):
        frame = model_input(torch.from_numpy(inputs).to(self.device))
        if self.count % self.stride == 0:
            self.states.append(None)
        steps = [self.model.step(frame, state) for state in self.states]
        self.states = deque(state for _, state in steps)
        self.count += 1
        if self.count >= self.sequence_length and (self.count - self.sequence_length) % self.stride == 0:
            self.states.popleft()
        return steps[0][0][0, 0].cpu().numpy()
