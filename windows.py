"""A long video in windows of the recurrent state: each window of sequence_length frames starts from an empty state and
shares `overlap` frames with the one before it, which only warm the state up (paper, section 4.3).

Beyond the published code, every frame gets a map: the first window keeps the maps of its warm-up frames, the last one
is moved back so that it ends with the last frame, and a video shorter than a window is one short window.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch

from devices import Captured, unit_interval, upload
from errors import InputError
from video.pipeline import in_order
from video.resize import resized

WINDOWS_AT_ONCE = {"cuda": 4}  # that are one batch; one window on other devices, whose caches hold no more

# ---------------------------------------------------------------------------------------------------------- the inputs


def model_inputs(frames, resolution, colours=None, first=0):
    """Yields what the model reads of each frame: uint8 (height, width, C), C = 3, or 6 with flow.

    frames: an iterable of BGR frames (H, W, 3), uint8, of one size; first: the position of the first of them. colours:
    a function (frames, first) that yields the colour images of their flow, such as `flow.folders.colours_in`; None: no
    flow. An `InputError` in place of a frame or of its flow is passed on in place of the input.
    """
    small = deque()  # the frames at the model's resolution, on their way; flow reads a few frames ahead

    def resize(image):
        return image if isinstance(image, InputError) else resized(image, resolution)

    def resizing(pool):
        for frame in frames:
            small.append(pool.submit(resize, frame))
            yield frame

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if colours is None:
            yield from in_order(pool, resize, frames)
            return
        for colour in colours(resizing(pool), first):
            parts = small.popleft().result(), resize(colour)
            bad = [part for part in parts if isinstance(part, InputError)]
            yield bad[0] if bad else np.concatenate(parts, axis=2)


def as_batch(inputs):
    """Inputs (B, height, width, C), uint8, as the model takes them: (B, C, height, width), float32, in [0, 1]."""
    return unit_interval(inputs.permute(0, 3, 1, 2))


# --------------------------------------------------------------------------------------------------------- the windows


def split_windows(inputs, sequence_length, overlap, first=0, kept=0):
    """Yields the windows of `inputs` as these come: (clip, position of its first frame, position of the first frame
    whose map is kept). clip: a list of inputs. How many inputs there are need not be known.

    first: position of the first of the inputs. kept: maps before this position are there already; it must be 0 or the
    end of a window, and first must be at most kept - sequence_length, or 0.
    """
    recent, count = deque(maxlen=sequence_length), first
    for frame in inputs:
        recent.append(frame)
        count += 1
        if count == (kept - overlap if kept else 0) + sequence_length:
            yield list(recent), count - len(recent), kept
            kept = count
    if kept < count:
        yield list(recent), count - len(recent), kept


def finished_windows(done, sequence_length, overlap):
    """How many of the first `done` frames lie in windows that are complete: these need not be predicted again."""
    if done < sequence_length:
        return 0
    stride = sequence_length - overlap
    return sequence_length + (done - sequence_length) // stride * stride


def next_maps(model, frames, state):
    """(maps (B, H, W), in (-1, 1), state) of frames (B, H, W, C), uint8. state: that of the frames before; None at the
    beginning."""
    saliency, state = model.step(as_batch(frames), state)
    return saliency[:, 0], state


def maps_in_turn(model, steps):
    """Yields the maps of each of `steps`, frames as `next_maps` takes them, from an empty state. The model runs step by
    step, so that a clip is never whole in float32, which would be 40 MB."""
    state = None
    for frames in steps:
        maps, state = next_maps(model, frames, state)
        yield maps


@Captured
def maps_of_clips(model, clips):
    """Maps (B, T, H, W), in (-1, 1), of clips (B, T, H, W, C), uint8."""
    return torch.stack(list(maps_in_turn(model, clips.unbind(dim=1))), dim=1)


@torch.inference_mode()
def predict_clips(model, clips, device):
    """Maps of clips of one length, lists of inputs: float32 (B, T, H, W), in (-1, 1), NumPy."""
    return maps_of_clips(model, upload(torch.from_numpy(np.stack(clips)), device)).cpu().numpy()


@torch.inference_mode()
def predict_one_by_one(model, clip):
    """Yields the maps of a clip on a CPU, float32 (H, W), each as soon as it is known: a frame waits for it."""
    for (saliency,) in maps_in_turn(model, (torch.from_numpy(frame)[None] for frame in clip)):
        yield saliency.numpy()


def substitute(clip, first, kept, is_wanted):
    """[what stands in place of each map of a window], or [] if the window is predicted."""
    if not is_wanted(kept, first + len(clip)):
        return [None]
    return [frame for frame in clip if isinstance(frame, InputError)][:1]


def window_maps(windows, model, device, is_wanted=lambda first, stop: True):
    """Yields (position, map) for each frame whose map a window keeps; map: float32 (height, width), in (-1, 1).

    is_wanted(first, stop): whether any map from position `first` to `stop` - 1 is wanted; where none is, the window is
    not predicted, and its maps are None. Where a frame of the window is an `InputError`, this stands in place of its
    maps.
    """
    windows = iter(windows)
    while group := list(islice(windows, WINDOWS_AT_ONCE.get(device.type, 1))):
        substitutes = [substitute(*window, is_wanted) for window in group]
        clips = [clip for (clip, _, _), other in zip(group, substitutes) if not other]
        if device.type == "cpu":
            predicted = (predict_one_by_one(model, clip) for clip in clips)
        else:
            predicted = iter(predict_clips(model, clips, device) if clips else ())
        for (clip, first, kept), other in zip(group, substitutes):
            maps = other * len(clip) or next(predicted)
            yield from zip(range(kept, first + len(clip)), islice(maps, kept - first, None))


class SteppedWindows:
    """The map of each frame as soon as it comes, without an end: called with an input (height, width, C), uint8, it
    returns the map, float32 (height, width), in (-1, 1).

    The maps are those of `window_maps`, but for a video's last window, which there is moved back. A new window starts
    every sequence_length - overlap frames and is warm when the one before it ends. So the state is never older than in
    training, and memory does not grow.
    """

    def __init__(self, model, sequence_length, overlap, device):
        self.model, self.device = model, device
        self.sequence_length, self.stride = sequence_length, sequence_length - overlap
        self.states, self.count = deque(), 0  # of the windows that hold the next frame, oldest first; frames so far

    @torch.inference_mode()
    def __call__(self, inputs):
        frame = as_batch(upload(torch.from_numpy(inputs)[None], self.device))
        if self.count % self.stride == 0:
            self.states.append(None)
        steps = [self.model.step(frame, state) for state in self.states]
        self.states = deque(state for _, state in steps)
        self.count += 1
        if self.count >= self.sequence_length and (self.count - self.sequence_length) % self.stride == 0:
            self.states.popleft()
        return steps[0][0][0, 0].cpu().numpy()
