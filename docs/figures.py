"""Makes the pictures of README.md, in docs/, out of the sample clip.

    python docs/figures.py                           sample.jpg and pipeline.png
    python docs/figures.py --published=SST_Sal.pth   and seam.png: the seam in the authors' maps, made with their file
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

import cv2
import matplotlib.patches
import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import config
from errors import run
from files import write_figure, write_image
from flow.colours import flow_to_colour
from flow.dis import dis_flow, dis_flows
from inference import grey_levels, predict
from model import load_model
from video.decode import list_videos, sampled
from viewer.overlay import overlay
from windows import model_inputs, stream_maps, stream_windows

DOCS = Path("docs")
SHOWN = 23                  # which of the sampled frames is shown: the walker in red crosses the seam
PANEL = 720, 360            # (width, height) of the parts of sample.jpg
INK, PAPER, TINT = "#1b1b21", "#ffffff", "#f3e6d0"


def read_sample():
    """The frames of the sample clip up to the one after the one shown, (T, H, W, 3) BGR uint8."""
    return np.stack(list(islice(sampled(list_videos("data/videos")[0]), SHOWN + 2)))


def pair_of_maps(inputs, model):
    """Two maps of the frame shown, the second of the video rolled half a turn, and rolled back: both scaled as one, so
    that the first has the range [0, 1]. inputs: what the model reads, frames and flow (T, height, width, 6) uint8; it
    is this that is rolled, since DIS finds a slightly other flow in a rolled video."""
    half, maps = inputs.shape[2] // 2, []
    for shift in (0, half):
        windows = stream_windows(np.roll(inputs, shift, axis=2), config.sequence_length, config.overlap)
        found = [saliency for _, saliency in stream_maps(windows, model, torch.device("cpu"))]
        maps.append(np.roll(found[SHOWN], -shift, axis=1))
    least, largest = maps[0].min(), maps[0].max()
    return [(saliency - least) / (largest - least) for saliency in maps]


def draw_sample(frame, saliency):
    """sample.jpg: a frame, its map, and the map over the frame, one below the other."""
    image = cv2.resize(frame, PANEL, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(cv2.resize(saliency, PANEL, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    write_image(DOCS / "sample.jpg", np.vstack([image, grey, overlay(image, saliency, image.shape[:2])]))


def rgb(image):
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def draw_pipeline(frames, saliency, model):
    """pipeline.png: from frame and flow through the two recurrent layers to the map."""
    figure = Figure(figsize=(12, 3.2), dpi=110, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 12), ylim=(0.25, 3.45))
    axes.axis("off")

    def image(left, bottom, picture, text):
        axes.imshow(picture, extent=(left, left + 2, bottom, bottom + 1), aspect="auto", cmap="inferno", zorder=2)
        axes.text(left + 1, bottom - 0.08, text, ha="center", va="top", color=INK, fontsize=9)

    def box(left, width, title, text):
        axes.add_patch(matplotlib.patches.FancyBboxPatch((left, 1.25), width, 1.1, boxstyle="round,pad=0.02",
                                                         facecolor=TINT, edgecolor=INK))
        axes.text(left + width / 2, 2.02, title, ha="center", va="center", color=INK, fontsize=10, weight="bold")
        axes.text(left + width / 2, 1.58, text, ha="center", va="center", color=INK, fontsize=8)

    def arrow(start, end, bend=0.0):
        axes.add_patch(matplotlib.patches.FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=12, color=INK, connectionstyle=f"arc3,rad={bend}", zorder=3))

    small = cv2.resize(frames[SHOWN], (400, 200), interpolation=cv2.INTER_AREA)
    colour = cv2.resize(flow_to_colour(dis_flow(frames[SHOWN : SHOWN + 2])), (400, 200), interpolation=cv2.INTER_AREA)
    image(0.15, 2.2, rgb(small), "frame")
    image(0.15, 0.75, rgb(colour), "its optical flow to the next")
    hidden = model.encoder["lstm"].hidden_dim
    box(2.75, 2.1, "encoder", f"spherical ConvLSTM\n{hidden} channels\nsees the latitude, too")
    box(5.3, 1.3, "pooling", "spherical max\nhalf as high\nand wide")
    box(7.05, 2.1, "decoder", "spherical ConvLSTM\n1 channel")
    image(9.85, 1.3, saliency, "saliency map")
    arrow((2.2, 2.6), (2.72, 2.0))
    arrow((2.2, 1.3), (2.72, 1.6))
    arrow((4.9, 1.8), (5.26, 1.8))
    arrow((6.65, 1.8), (7.01, 1.8))
    arrow((9.2, 1.8), (9.82, 1.8))
    axes.text(9.5, 1.9, "× 2", ha="center", color=INK, fontsize=9)
    for left in (2.75, 7.05):
        arrow((left + 1.6, 2.4), (left + 0.5, 2.4), bend=0.9)
        axes.text(left + 1.05, 2.98, "state, to the next frame", ha="center", color=INK, fontsize=8)
    write_figure(DOCS / "pipeline.png", figure)


def draw_seam(frames, published):
    """seam.png: for the authors' model and ours the map, the map of the video rolled half a turn (rolled back), and
    the difference; all with the seam in the middle."""
    models = {"authors' weights, released": load_model(published, torch.device("cpu"), "released"),
              "authors' weights, released_wrap": load_model(published, torch.device("cpu"), "released_wrap"),
              "ours, exact": load_model("models/SST_Sal.pth", torch.device("cpu"))}
    inputs = np.stack(list(model_inputs(frames, config.resolution, dis_flows, config.flow_resolution)))
    figure = Figure(figsize=(10, 6.2), dpi=100, facecolor=PAPER)
    grid = figure.subplots(len(models), 3, squeeze=False)
    for row, (name, model) in zip(grid, models.items()):
        one, other = pair_of_maps(inputs, model)
        one, other = (np.roll(saliency, saliency.shape[1] // 2, axis=1) for saliency in (one, other))
        difference = np.abs(one - other)
        for axes, picture, title in zip(row, (one, other, difference), (
                f"{name}: the map", "of the video rolled half a turn",
                f"difference, at most {difference.max():.2f} of the range")):
            axes.imshow(picture, cmap="inferno", vmin=0, vmax=1, aspect=0.66)
            axes.set_title(title, fontsize=9, color=INK)
            axes.axis("off")
    figure.tight_layout()
    write_figure(DOCS / "seam.png", figure)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, help="the authors' SST_Sal.pth")
    options = parser.parse_args(argv)
    DOCS.mkdir(exist_ok=True)
    frames, model = read_sample(), load_model("models/SST_Sal.pth", torch.device("cpu"))
    saliency = grey_levels(list(predict(frames, model))[SHOWN])
    draw_sample(frames[SHOWN], saliency)
    draw_pipeline(frames, saliency, model)
    if options.published:
        draw_seam(frames, options.published)


if __name__ == "__main__":
    run(main)
