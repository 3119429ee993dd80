"""A long video in windows of the recurrent state: each window of sequence_length frames starts from an empty state and
shares `overlap` frames with the one before it, which only warm the state up (paper, section 4.3).

Beyond the published code, every frame gets a map: the first window keeps the maps of its warm-up frames, the last one
is moved back so that it ends with the last frame, and a video shorter than a window is one short window.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from errors import InputError
from video.pipeline import in_order
from video.resize import resized

# ---------------------------------------------------------------------------------------------------------- the inputs


def model_inputs(frames, resolution, colours=None):
    """Yields what the model reads of each frame: uint8 (height, width, C), C = 3, or 6 with flow.

    frames: an iterable of BGR frames (H, W, 3), uint8, of one size. colours: a function that yields the colour images
    of the flow of an iterable of frames, such as `flow.methods.flow_images`; None: no flow. An `InputError` in place of
    a frame or of its flow is passed on in place of the input.
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
        for colour in colours(resizing(pool)):
            parts = small.popleft().result(), resize(colour)
            bad = [part for part in parts if isinstance(part, InputError)]
            yield bad[0] if bad else np.concatenate(parts, axis=2)


def as_batch(frame):
    """An input (height, width, C), uint8, as the model takes it: (1, C, height, width), float32, in [0, 1]."""
    return frame.permute(2, 0, 1)[None].float().div_(255)


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


@torch.inference_mode()
def predict_clip(model, clip, device):
    """Maps of a clip (T, H, W, C), uint8, from an empty state: float32 (T, H, W), in (-1, 1), NumPy. The model runs
    step by step, so that the clip is never whole in float32, which would be 40 MB."""
    state, maps = None, []
    for frame in clip.to(device):
        saliency, state = model.step(as_batch(frame), state)
        maps.append(saliency[0, 0])
    return torch.stack(maps).cpu().numpy()


def window_maps(windows, model, device, is_wanted=lambda first, stop: True):
    """Yields (position, map) for each frame whose map a window keeps; map: float32 (height, width), in (-1, 1).

    is_wanted(first, stop): whether any map from position `first` to `stop` - 1 is wanted; where none is, the window is
    not predicted, and its maps are None. Where a frame of the window is an `InputError`, this stands in place of its
    maps.
    """
    for clip, first, kept in windows:
        stop = first + len(clip)
        bad = [frame for frame in clip if isinstance(frame, InputError)]
        if not is_wanted(kept, stop):
            yield from ((position, None) for position in range(kept, stop))
        elif bad:
            yield from ((position, bad[0]) for position in range(kept, stop))
        else:
            maps = predict_clip(model, torch.from_numpy(np.stack(clip)), device)
            yield from ((position, maps[position - first]) for position in range(kept, stop))


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
        frame = as_batch(torch.from_numpy(inputs).to(self.device))
        if self.count % self.stride == 0:
            self.states.append(None)
        steps = [self.model.step(frame, state) for state in self.states]
        self.states = deque(state for _, state in steps)
        self.count += 1
        if self.count >= self.sequence_length and (self.count - self.sequence_length) % self.stride == 0:
            self.states.popleft()
        return steps[0][0][0, 0].cpu().numpy()
