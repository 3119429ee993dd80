"""The authors' two published files, read without running anything from them.

They are whole modules, pickled: the pickle names classes of the authors' code, which a plain `torch.load` would import
and build. Here an unpickler admits exactly those names, as empty classes, and tensors; any other name is refused.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from contextlib import suppress

import torch

from errors import InputError
from model_files import PICKLE_LIMIT, check_pickle

INERT = {("models", "SST_Sal"), ("Modules", "SpherConvLSTM_EncoderCell"), ("Modules", "SpherConvLSTM_DecoderCell"),
         ("Modules", "SpherConvLSTMCell"), ("spherenet.sphere_cnn", "SphereConv2D"),
         ("spherenet.sphere_cnn", "SphereMaxPool2D"), ("torch.nn.modules.pooling", "MaxPool2d"),
         ("torch.nn.modules.upsampling", "Upsample"), ("torch", "FloatStorage")}


def rebuild_tensor(storage, offset, size, stride, *_):
    return storage.as_strided(size, stride, offset)


def rebuild_parameter(tensor, *_):
    return tensor


ADMITTED = {("collections", "OrderedDict"): OrderedDict, ("builtins", "set"): set, ("__builtin__", "set"): set,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): rebuild_parameter}


class PublishedUnpickler(pickle.Unpickler):
    """Unpickles the authors' modules as empty objects with attributes, and their tensors. Any other name is refused
    before it is imported, so that nothing of the file's choosing ever runs."""

    def __init__(self, file, archive):
        super().__init__(file)
        self.archive = archive  # the zip file and the folder in it, or None for a bare pickle

    def find_class(self, module, name):
        if (module, name) in INERT:
            return type(name, (), {})
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        raise InputError(f"it tries to load {module}.{name}, which no SST-Sal model needs; refused, nothing was run")

    def persistent_load(self, identity):
        """A storage: ("storage", FloatStorage, key, location, count)."""
        if self.archive is None:
            raise pickle.UnpicklingError("tensors outside a torch archive")
        archive, folder = self.archive
        return torch.frombuffer(bytearray(archive.read(f"{folder}/data/{identity[2]}")), dtype=torch.float32)


def read_published(path):
    """One of the authors' two files as a checkpoint dict. Raises InputError for any other file."""
    try:
        if not zipfile.is_zipfile(path):
            file = io.BytesIO(path.open("rb").read(PICKLE_LIMIT))
            while True:  # bare pickles are no model, but the user should hear what they tried
                start = file.tell()
                with suppress(ValueError, KeyError, IndexError):  # damaged: what is before that has been checked
                    check_pickle(file, path)
                file.seek(start)
                PublishedUnpickler(file, None).load()
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(pickled) as file:
                module = PublishedUnpickler(file, (archive, pickled.removesuffix("/data.pkl"))).load()
        cells = {part: module._modules[part]._modules["lstm"] for part in ("encoder", "decoder")}
        weights = {f"{part}.lstm.conv.{kind}": cell._modules["conv"]._parameters[kind]
                   for part, cell in cells.items() for kind in ("weight", "bias")}
        gates, channels = weights["encoder.lstm.conv.weight"].shape[:2]
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from None
    except Exception:  # whatever a damaged pickle or zip file may raise
        raise InputError(f"{path} is not an SST-Sal model, or was cut short") from None
    return {"state_dict": weights, "input_dim": channels - gates // 4, "hidden_dim": gates // 4,
            "geometry": "released", "latitude": False}
