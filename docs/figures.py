"""Makes the pictures of the documents, in docs/, from the sample clip.

    python docs/figures.py                           sample.jpg and pipeline.png
    python docs/figures.py --published=SST_Sal.pth   seam.png as well: the seam in the authors' maps, with their weights
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
from flow.dis import dis_flow
from inference import predict
from maps.levels import grey_levels
from model import load_model
from prediction import computed_colours
from video.decode import list_videos, sampled
from video.resize import resized
from viewer.overlay import overlay
from windows import model_inputs, split_windows, window_maps

DOCS = Path("docs")
SHOWN = 23                  # which of the sampled frames is shown: the walker in red crosses the seam
PANEL = 720, 360            # (width, height) of the parts of sample.jpg
INK, PAPER, TINT = "#1b1b21", "#ffffff", "#f3e6d0"


def read_sample():
    """The sampled frames of the sample clip up to the one after SHOWN, BGR uint8 (T, H, W, 3)."""
    return np.stack(list(islice(sampled(list_videos("data/videos")[0]), SHOWN + 2)))


def pair_of_maps(inputs, model):
    """Two maps of the frame SHOWN, both scaled in the same way, the first to the range [0, 1]. The second is made from
    inputs rolled by half a turn, and then rolled back. inputs: what the model reads, uint8 (T, height, width, 6). They
    are rolled, and not the video, since DIS finds slightly different flow in a rolled video."""
    half, maps = inputs.shape[2] // 2, []
    for shift in (0, half):
        windows = split_windows(np.roll(inputs, shift, axis=2), config.sequence_length, config.overlap)
        found = [saliency for _, saliency in window_maps(windows, model, torch.device("cpu"))]
        maps.append(np.roll(found[SHOWN], -shift, axis=1))
    least, largest = maps[0].min(), maps[0].max()
    return [(saliency - least) / (largest - least) for saliency in maps]


def draw_sample(frame, saliency):
    """Writes sample.jpg: a frame, BGR uint8, its map, uint8, and the overlay of both, one below the other."""
    image = resized(frame, PANEL[::-1])
    grey = cv2.cvtColor(cv2.resize(saliency, PANEL, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    write_image(DOCS / "sample.jpg", np.vstack([image, grey, overlay(image, saliency, image.shape[:2])]))


def rgb(image):
    """A BGR image with the channels in matplotlib's order."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def draw_image(axes, left, bottom, picture, text):
    """A picture of 2 x 1 units with a text below it."""
    axes.imshow(picture, extent=(left, left + 2, bottom, bottom + 1), aspect="auto", cmap="inferno", zorder=2)
    axes.text(left + 1, bottom - 0.08, text, ha="center", va="top", color=INK, fontsize=9)


def draw_box(axes, left, width, title, text):
    """A box that stands for a layer of the model."""
    axes.add_patch(matplotlib.patches.FancyBboxPatch((left, 1.25), width, 1.1, boxstyle="round,pad=0.02",
                                                     facecolor=TINT, edgecolor=INK))
    axes.text(left + width / 2, 2.02, title, ha="center", va="center", color=INK, fontsize=10, weight="bold")
    axes.text(left + width / 2, 1.58, text, ha="center", va="center", color=INK, fontsize=8)


def draw_arrow(axes, start, end, bend=0.0):
    axes.add_patch(matplotlib.patches.FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=12, color=INK, connectionstyle=f"arc3,rad={bend}", zorder=3))


def draw_pipeline(frames, saliency, model):
    """Writes pipeline.png: from frame and flow through the two recurrent layers to the map."""
    figure = Figure(figsize=(12, 3.2), dpi=110, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 12), ylim=(0.25, 3.45))
    axes.axis("off")
    frame, colour = (resized(image, (200, 400)) for image in (
        frames[SHOWN], flow_to_colour(dis_flow(frames[SHOWN : SHOWN + 2]))))
    draw_image(axes, 0.15, 2.2, rgb(frame), "frame")
    draw_image(axes, 0.15, 0.75, rgb(colour), "its optical flow to the next")
    draw_image(axes, 9.85, 1.3, saliency, "saliency map")
    hidden = model.encoder["lstm"].hidden_dim
    draw_box(axes, 2.75, 2.1, "encoder", f"spherical ConvLSTM\n{hidden} channels\nsees the latitude, too")
    draw_box(axes, 5.3, 1.3, "pooling", "spherical max\nhalf as high\nand wide")
    draw_box(axes, 7.05, 2.1, "decoder", "spherical ConvLSTM\n1 channel")
    for start, end in (((2.2, 2.6), (2.72, 2.0)), ((2.2, 1.3), (2.72, 1.6)), ((4.9, 1.8), (5.26, 1.8)),
                       ((6.65, 1.8), (7.01, 1.8)), ((9.2, 1.8), (9.82, 1.8))):
        draw_arrow(axes, start, end)
    axes.text(9.5, 1.9, "× 2", ha="center", color=INK, fontsize=9)
    for left in (2.75, 7.05):
        draw_arrow(axes, (left + 1.6, 2.4), (left + 0.5, 2.4), bend=0.9)
        axes.text(left + 1.05, 2.98, "state, to the next frame", ha="center", color=INK, fontsize=8)
    write_figure(DOCS / "pipeline.png", figure)


def draw_seam(frames, published):
    """Writes seam.png: for the authors' model and for ours the two maps of `pair_of_maps` and their difference, all
    with the seam in the middle."""
    ours = load_model("models/SST_Sal.pth", torch.device("cpu"))
    models = {"authors' weights, released": load_model(published, torch.device("cpu"), "released"),
              "authors' weights, released_wrap": load_model(published, torch.device("cpu"), "released_wrap"),
              f"ours, {ours.geometry}": ours}
    inputs = np.stack(list(model_inputs(frames, config.resolution, computed_colours(config, torch.device("cpu")))))
    figure = Figure(figsize=(10, 6.2), dpi=100, facecolor=PAPER)
    grid = figure.subplots(len(models), 3, squeeze=False)
    for row, (name, model) in zip(grid, models.items()):
        plain, rolled = (np.roll(saliency, saliency.shape[1] // 2, axis=1) for saliency in pair_of_maps(inputs, model))
        difference = np.abs(plain - rolled)
        for axes, picture, title in zip(row, (plain, rolled, difference), (
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
