"""last.pt, from which a training run is resumed: a dict of plain types and tensors (`model.save_state` writes it).

It holds all that a run needs to go on as if it had never stopped, since every random draw depends on seed, epoch and
clip alone.
"""

import pickle

import torch

from errors import InputError

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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"there is no checkpoint file {path}; a run's last.pt lies in its folder") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise InputError(f"{path} is not a checkpoint, or was cut short") from None
    if not isinstance(state, dict) or not state.keys() >= set(STATE) or not isinstance(state["config"], dict):
        raise InputError(f"{path} is not a checkpoint to resume from; give a run's last.pt (init_from starts a new run "
                         "from a model's weights)")
    return state


def restore(path, state, model, optimizer):
    """Loads the state of the file `path` into model and optimizer. Returns the run's progress and history. Raises
    InputError if shapes differ."""
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as problem:
        raise InputError(f"{path} does not fit the model: {' '.join(str(problem).split())}") from None
    return state["progress"], state["history"]
