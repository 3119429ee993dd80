"""last.pt, from which a training run is resumed: a dict of plain types and tensors (`model.save_state` writes it).

It holds all that a run needs to go on as if it had never stopped, since every random draw depends on seed, epoch and
clip alone.
"""

import pickle
from pathlib import Path

import torch

from errors import InputError
from model_files import MAX_CHANNELS, check_archive

STATE = ("model", "optimizer", "progress", "history", "model_args", "config")


def new_epoch(number):
    """The progress of an epoch that is about to begin: clips trained on, by all processes, and the sum of their
    losses. number: from 0."""
    return {"epoch": number, "clips": 0, "loss": 0.0}


def model_args(model):
    """What must be the same for weights to fit a model and to mean the same in it."""
    return {name: getattr(model, name) for name in ("input_dim", "hidden_dim", "geometry", "latitude")}


def check_same(path, found, wanted):
    """Raises InputError if what the file holds differs from what the settings ask for, two dicts."""
    differences = [f"{name} {found[name]} instead of {value}" for name, value in wanted.items() if found[name] != value]
    if differences:
        raise InputError(f"{path} does not fit the settings: it has {', '.join(differences)}")


def make_state(model, optimizer, progress, history, settings):
    """The dict with the keys STATE. settings: a dict."""
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress, "history": history,
            "model_args": model_args(model), "config": settings}


def load_state(path):
    """The dict that `make_state` made. Raises InputError if the file holds no such dict."""
    try:
        if Path(path).is_dir():
            raise IsADirectoryError
        state = torch.load(path, map_location="cpu", weights_only=True) if check_archive(path) else None
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"there is no checkpoint file {path}; a run's last.pt lies in its folder") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise InputError(f"{path} is not a checkpoint, or was cut short") from None
    except InputError as problem:
        raise InputError(str(problem).replace("an SST-Sal model or checkpoint", "a checkpoint")) from None
    if not isinstance(state, dict) or not state.keys() >= set(STATE) or not isinstance(state["config"], dict):
        raise InputError(f"{path} is not a checkpoint to resume from; give a run's last.pt (init_from starts a new run "
                         "from a model's weights)")
    if not has_right_types(state):
        raise InputError(f"{path} was changed: its progress, history or model_args are not those of a run")
    return state


def has_right_types(state):
    """Whether progress, history and model_args are as `make_state` gets them."""
    progress, history, sizes = state["progress"], state["history"], state["model_args"]

    def is_count(value):
        return type(value) is int and 0 <= value <= 10**9

    return (isinstance(progress, dict) and is_count(progress.get("epoch")) and is_count(progress.get("clips"))
            and type(progress.get("loss")) in (int, float) and isinstance(history, list)
            and len(history) == progress["epoch"]
            and all(isinstance(line, dict) and type(line.get("train_loss")) is float and is_count(line.get("epoch"))
                    for line in history)
            and isinstance(sizes, dict) and sizes.keys() == {"input_dim", "hidden_dim", "geometry", "latitude"}
            and all(is_count(sizes[name]) and 1 <= sizes[name] <= MAX_CHANNELS for name in ("input_dim", "hidden_dim")))


def restore(path, state, model, optimizer):
    """Loads the state of the file `path` into model and optimizer. Returns the run's progress and history. Raises
    InputError if shapes differ."""
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as problem:
        raise InputError(f"{path} does not fit the model: {' '.join(str(problem).split())}") from None
    return state["progress"], state["history"]
