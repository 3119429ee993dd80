"""What a training run leaves behind for people to look at: its settings, one line an epoch, curves and pictures."""

import itertools
import json
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from files import write_figure, write_text


def new_path(runs_data_dir, model_name):
    """Makes and returns runs_data_dir/MODEL_NAME_DATE-TIME, with -2, -3... where another run began the same second."""
    stem = f"{model_name}_{datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        path = Path(runs_data_dir, stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue


def score(line):
    """What the best epoch has the lowest of: the validation loss, or without a validation set the training loss."""
    return line.get("validation_loss", line["train_loss"])


def best(history):
    """The line of the epoch whose weights are best.pt: the first of the lowest score."""
    return min(history, key=score)


def sentence(history, epochs):
    """The last epoch's line of the log, for a terminal."""
    line = history[-1]
    losses = ", ".join(f"{name.removesuffix('_loss')} {line[name]:.6g}" for name in line if name.endswith("_loss"))
    mark = " (best so far)" if line is best(history) else ""
    return (f"epoch {line['epoch']}/{epochs}: loss {losses}{mark}, {line['clips_per_s']:.2f} clips/s, "
            f"{line['waiting_share']:.0%} of the time waiting for data")


class RunFolder:
    """Writes into one run's folder, first of all its settings, a dict. first_epoch: where this process goes on;
    TensorBoard drops events from then on."""

    def __init__(self, path, settings, first_epoch):
        self.path = Path(path)
        write_text(self.path / "config.json", json.dumps(settings, indent=2) + "\n")
        self.events = SummaryWriter(self.path, purge_step=first_epoch)

    def write_history(self, history):
        """log.jsonl, one JSON line an epoch, and curves.png, both whole, so that a resumed run has no line twice; the
        last line also goes to TensorBoard. history: a list of dicts."""
        write_text(self.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in history))
        for name, value in history[-1].items():
            self.events.add_scalar(name, value, history[-1]["epoch"])
        self.events.flush()
        write_figure(self.path / "curves.png", draw_curves(history))

    def write_pictures(self, epoch, rows):
        """pictures/epoch_0010.png. rows: as for `draw_pictures`."""
        (self.path / "pictures").mkdir(exist_ok=True)
        write_figure(self.path / "pictures" / f"epoch_{epoch:04d}.png", draw_pictures(rows))


def draw_curves(history):
    """A figure of the losses over epochs, the best epoch marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss per frame")
    epochs = [line["epoch"] for line in history]
    for name in ("train_loss", "validation_loss"):
        if name in history[0]:
            axes.plot(epochs, [line[name] for line in history], label=name.replace("_", " "), marker=".")
    marked = best(history)
    axes.plot(marked["epoch"], score(marked), "o", markersize=10, fillstyle="none", color="black", label="best.pt")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def draw_pictures(rows):
    """A figure with a row for each of `rows`: (title, frame (3, H, W) BGR in [0, 1], target (H, W), predicted map
    (H, W)); each map is shown from its own minimum to its own maximum."""
    figure = Figure(figsize=(12, 2.6 * len(rows)), layout="constrained")
    for row, (title, frame, target, pred) in zip(figure.subplots(len(rows), 3, squeeze=False), rows):
        images = (np.moveaxis(frame[::-1], 0, -1), target, pred)
        for axes, image, heading in zip(row, images, (title, "target", "prediction")):
            axes.imshow(image, cmap="inferno")
            axes.set_title(heading, fontsize=9)
            axes.set_axis_off()
    return figure
