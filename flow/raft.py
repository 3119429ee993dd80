"""Flow by torchvision's RAFT (Teed and Deng, ECCV 2020), in batches, with torchvision's weights or the authors'.

torchvision is imported only where a network or its weights are needed: it takes 160 MB of memory.
"""

import io
import re
import sys
import warnings
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from errors import InputError
from flow.seam import seam_padding

RAFT_UPDATES = 20            # refinements of a flow, as in RAFT's own demo
RAFT_SMALLEST = 128          # rows and columns; below that RAFT's correlation pyramid has fewer levels than it needs
RAFT_BATCH = 16              # pairs at most
CORRELATION_BYTES = 2**31    # at most, of a batch's correlation volume, RAFT's largest tensor; one pair may need more


class RaftFlows:
    """Flow by a RAFT network, as `flow.dis.DisFlows` is flow by DIS."""

    def __init__(self, network, device):
        self.network, self.device = network.to(device).eval(), device

    def __call__(self, pairs):
        """Yields the flow (H, W, 2), float32, of each pair of BGR frames (H, W, 3), uint8, all of one size."""
        batch = []
        for pair in pairs:
            batch.append(pair)
            if len(batch) == self.batch_size(*pair[0].shape[:2]):
                yield from self.flow(batch)
                batch = []
        if batch:
            yield from self.flow(batch)

    def of_pair(self, pair):
        """The flow of one pair."""
        return next(self([pair]))

    def batch_size(self, height, width):
        """The number of pairs in a batch, for frames of that size. RAFT computes features at every 8th row and column,
        and its correlation volume holds a float32 for every two feature pixels."""
        rows, cols = (sum(sides) + size for sides, size in zip(raft_padding(height, width), (height, width)))
        fitting = CORRELATION_BYTES // (4 * (rows // 8 * cols // 8) ** 2)
        return min(max(1, fitting), RAFT_BATCH)

    @torch.inference_mode()
    def flow(self, pairs):
        """The flows (B, H, W, 2), float32, of B pairs. Raises InputError if they do not fit into the memory."""
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
    """((top, bottom), (left, right)): rows and columns to add to a frame, up to multiples of 8 that suffice for RAFT,
    with no fewer columns than `seam_padding`."""
    rows = max(RAFT_SMALLEST, height + -height % 8)
    pad = seam_padding(width)
    cols = max(RAFT_SMALLEST, width + 2 * pad + -(width + 2 * pad) % 8)
    top, left = (rows - height) // 2, (cols - width) // 2
    return (top, rows - height - top), (left, cols - width - left)


# ------------------------------------------------------------------------------------------------------- RAFT's weights

# From the authors' names of RAFT's parameters to torchvision's: replacements to apply one after the other.
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
    """torchvision's name of one of RAFT's parameters. name: the authors' name, or torchvision's already."""
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    return name


def rename_original(state):
    """The state dict with torchvision's names, from one with the authors' names, or torchvision's already. The authors'
    holds the normalisation of a shortcut twice: norm3 of a residual block is also its downsample.1."""
    duplicate = re.compile(r"^(module\.)?[fc]net\.layer\d\.\d\.norm3\.")
    return {torchvision_name(name): value for name, value in state.items() if not duplicate.match(name)}


def read_weights(path):
    """The state dict of a RAFT network in a file, torchvision's or the authors', with torchvision's names. Raises
    InputError if the file does not exist or holds no weights."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"RAFT's weights {path} do not exist")
    content = io.BytesIO(path.read_bytes())
    try:
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(content, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file, or one that is not plain tensors, raises a dozen kinds of exception
        state = None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} is not a file of weights (a state dict of tensors), or was cut short")
    return rename_original(state)


def torchvision_weights(method):
    """(path, url) of torchvision's own weights for a method: where it keeps them, downloaded or not, and from where it
    downloads them."""
    import torchvision

    url = torchvision.models.get_model_weights(method).DEFAULT.url
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2]), url


def download_weights(method):
    """The path of torchvision's own weights for a method, after a download if they are not there yet. Raises InputError
    if they cannot be downloaded."""
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
    """`RaftFlows` with the network "raft_large" or "raft_small". weights: a file, or "" for torchvision's own. Raises
    InputError if the weights cannot be had or belong to another network."""
    import torchvision

    network = getattr(torchvision.models.optical_flow, method)(weights=None)
    path = weights or download_weights(method)
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError:
        raise InputError(f"{path} holds the weights of another network than {method}; of the files of RAFT's "
                         "authors, raft-small.pth is for raft_small, all others for raft_large") from None
    return RaftFlows(network, device)
