"""Flow between pairs of equirectangular frames: OpenCV's DIS on all cores, or torchvision's RAFT in batches.

An ERP frame has no left and no right edge: it is padded by wrapping before flow, and flow is cropped after, so motion
across the seam is as short as anywhere else. A flow is (H, W, 2), float32: to the right and down, in pixels.
"""

import io
import re
import sys
import warnings
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torchvision

from errors import InputError
from flow.seam import seam_padding

RAFT_UPDATES = 20            # as RAFT's own demo
RAFT_SMALLEST = 128          # rows and columns below which RAFT's correlation pyramid has no top
RAFT_BATCH = 16              # pairs at most
CORRELATION_BYTES = 2**31    # of a batch's correlation volume, RAFT's largest tensor, unless a single pair needs more


class RaftFlows:
    """Flow by torchvision's RAFT (Teed and Deng, ECCV 2020), in batches: called like `dis_flows`."""

    def __init__(self, network, device):
        self.network, self.device = network.to(device).eval(), device

    def __call__(self, pairs):
        """Yields the flow of each pair of BGR frames, all of one size."""
        batch = []
        for pair in pairs:
            batch.append(pair)
            if len(batch) == self.batch_size(*pair[0].shape[:2]):
                yield from self.flow(batch)
                batch = []
        if batch:
            yield from self.flow(batch)

    def batch_size(self, height, width):
        """Pairs that a batch of frames of that size takes. The correlation volume has a number for every two
        feature pixels, of which there is one in 8 x 8 pixels."""
        rows, cols = (sum(sides) + size for sides, size in zip(raft_padding(height, width), (height, width)))
        fitting = CORRELATION_BYTES // (4 * (rows // 8 * cols // 8) ** 2)
        return min(max(1, fitting), RAFT_BATCH)

    @torch.inference_mode()
    def flow(self, pairs):
        """Flows (B, H, W, 2) of B pairs of BGR frames of one size. Raises InputError if they do not fit the memory."""
        frames = np.stack([frame[..., ::-1] for pair in pairs for frame in pair])  # (2 B, H, W, 3), RGB
        _, H, W, _ = frames.shape
        (top, bottom), (left, right) = raft_padding(H, W)
        frames = np.pad(frames, ((0, 0), (top, bottom), (0, 0), (0, 0)), mode="edge")
        frames = np.pad(frames, ((0, 0), (0, 0), (left, right), (0, 0)), mode="wrap")
        try:
            inputs = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2) / 127.5 - 1
            flow = self.network(inputs[::2], inputs[1::2], num_flow_updates=RAFT_UPDATES)[-1]  # (B, 2, rows, cols)
        except torch.OutOfMemoryError:
            raise InputError(f"RAFT needs more memory than {self.device} has free for {H} rows; set flow_resolution to "
                             "fewer rows, or flow_method=dis") from None
        return flow[:, :, top : top + H, left : left + W].permute(0, 2, 3, 1).cpu().numpy()


def raft_padding(height, width):
    """((top, bottom), (left, right)): rows and columns to add, to multiples of 8 and no fewer than RAFT needs."""
    rows = max(RAFT_SMALLEST, height + -height % 8)
    pad = seam_padding(width)
    cols = max(RAFT_SMALLEST, width + 2 * pad + -(width + 2 * pad) % 8)
    top, left = (rows - height) // 2, (cols - width) // 2
    return (top, rows - height - top), (left, cols - width - left)


# ------------------------------------------------------------------------------------------------------- RAFT's weights

# The original authors' names of RAFT's parameters, and torchvision's. To be applied one after the other.
RENAMED = [(re.compile(pattern), name) for pattern, name in (
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"^(\w+_encoder\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"^(\w+_encoder\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)]


def torchvision_name(name):
    """torchvision's name for one of RAFT's parameters as the original authors call it; torchvision's own stay."""
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    return name


def rename_original(state):
    """A state dict with torchvision's names, from one with the original authors' (or torchvision's already). Theirs
    holds the normalisation of a shortcut twice: norm3 of a residual block is also downsample.1."""
    second = re.compile(r"^(module\.)?[fc]net\.layer\d\.\d\.norm3\.")
    return {torchvision_name(name): value for name, value in state.items() if not second.match(name)}


def read_weights(path):
    """The state dict in a file, of torchvision's RAFT or the original authors'. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"RAFT's weights {path} do not exist")
    content = io.BytesIO(path.read_bytes())
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # damaged, or not plain tensors: a dozen kinds of exception
        state = None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} is not a file of weights (a state dict of tensors), or was cut short")
    return rename_original(state)


def torchvision_weights(method):
    """Where torchvision keeps its own weights for a method, there or not yet; and from where it downloads them."""

    url = torchvision.models.get_model_weights(method).DEFAULT.url
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2]), url


def download_weights(method):
    """The file of torchvision's own weights, which is downloaded if it is not there yet. Raises InputError."""
    path, url = torchvision_weights(method)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            checksum = path.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(path), checksum, progress=sys.stderr.isatty())
        except (OSError, RuntimeError, HTTPException) as problem:
            raise InputError(f"cannot download RAFT's weights ({problem}): put {url} into {path.parent}, or let "
                             "flow_weights name a file of them, or set flow_method=dis, which needs none") from None
    return path


def load_raft(method, weights, device):
    """`RaftFlows` of "raft_large" or "raft_small". weights: a file, or "" for torchvision's own. Raises InputError."""

    network = getattr(torchvision.models.optical_flow, method)(weights=None)
    path = weights or download_weights(method)
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError:
        raise InputError(f"{path} holds the weights of another network than {method}; of the files of RAFT's "
                         "authors, raft-small.pth is for raft_small, all others for raft_large") from None
    return RaftFlows(network, device)
