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


def deciding_loss(line):
    """The loss in an epoch's line that is lowest in the best epoch: of validation, or if there is none, of training."""
    return line.get("validation_loss", line["train_loss"])


def best(history):
    """The line of the epoch whose weights are in best.pt: the first one with the lowest score."""
    return min(history, key=deciding_loss)


def sentence(history, epochs):
    """The last line of the log, as a sentence for the terminal."""
    line = history[-1]
    losses = ", ".join(f"{name.removesuffix('_loss')} {line[name]:.6g}" for name in line if name.endswith("_loss"))
    mark = " (best so far)" if line is best(history) else ""
    return (f"epoch {line['epoch']}/{epochs}: loss {losses}{mark}, {line['clips_per_s']:.2f} clips/s, "
            f"{line['waiting_share']:.0%} of the time waiting for data")


def draw_curves(history):
    """A figure of the losses over epochs. The best epoch is marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss per frame")
    epochs = [line["epoch"] for line in history]
    for name in ("train_loss", "validation_loss"):
        if name in history[0]:
            axes.plot(epochs, [line[name] for line in history], label=name.replace("_", " "), marker=".")
    marked = best(history)
    axes.plot(marked["epoch"], deciding_loss(marked), "o", markersize=10, fillstyle="none", color="black",
              label="best.pt")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def draw_pictures(rows):
    """A figure with a row for each of `rows`: (title, frame (3, H, W) BGR in [0, 1], target (H, W), predicted map
    (H, W)). Each map is shown from its own minimum to its own maximum."""
    figure = Figure(figsize=(12, 2.6 * len(rows)), layout="constrained")
    for row, (title, frame, target, pred) in zip(figure.subplots(len(rows), 3, squeeze=False), rows):
        images = (np.moveaxis(frame[::-1], 0, -1), target, pred)
        for axes, image, heading in zip(row, images, (title, "target", "prediction")):
            axes.imshow(image, cmap="inferno")
            axes.set_title(heading, fontsize=9)
            axes.set_axis_off()
    return figure


class RunFolder:
    """Writes into one run's folder, first of all the settings, a dict. first_epoch: the first epoch of this process,
    from 1; TensorBoard then drops older events of this epoch and later ones."""

    def __init__(self, path, settings, first_epoch):
        self.path = Path(path)
        write_text(self.path / "config.json", json.dumps(settings, indent=2) + "\n")
        self.events = SummaryWriter(self.path, purge_step=first_epoch)

    def write_history(self, history):
        """Writes log.jsonl, a JSON line for each epoch, and curves.png. Both are written whole, so that a resumed run
        has no line twice. The last line also goes to TensorBoard. history: a list of dicts."""
        write_text(self.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in history))
        for name, value in history[-1].items():
            self.events.add_scalar(name, value, history[-1]["epoch"])
        self.events.flush()
        write_figure(self.path / "curves.png", draw_curves(history))

    def write_pictures(self, epoch, rows):
        """Writes pictures/epoch_0010.png or the like. rows: as for `draw_pictures`."""
        (self.path / "pictures").mkdir(exist_ok=True)
        write_figure(self.path / "pictures" / f"epoch_{epoch:04d}.png", draw_pictures(rows))
