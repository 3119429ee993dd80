"""Checks of a model file or checkpoint before torch reads it: the sizes that it declares, its checksums, and that its
pickle builds no more than what fits into the file. Nothing in the file is executed, and no memory is taken for it."""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

from errors import InputError

MAX_CHANNELS = 512      # of input and state: far more than any model has
MODEL_LIMIT = 2**31     # bytes of a file
PICKLE_LIMIT = 2**22    # bytes of a pickle: that of a model has 2 thousand, that of last.pt some 150 more an epoch
STEPS_LIMIT = 500_000   # of a pickle: it takes under a second to check so many
NESTING_LIMIT = 100     # lists, dicts and objects inside each other
STORAGES = {"FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
            "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1}  # bytes a number


def check_archive(path):
    """Checks that a file is a whole torch archive: a zip file of uncompressed entries that are no larger than the file,
    whose checksums are right and whose pickles pass `check_pickle`. Returns whether it holds only plain types and
    tensors that lie within their storages, as our files do. Raises InputError."""
    path = Path(path)
    size = path.stat().st_size
    if size > MODEL_LIMIT:
        raise InputError(f"{path} has {size} bytes, more than any SST-Sal model")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise InputError(f"{path} is a compressed zip file, which no model file is")
            if sum(entry.file_size for entry in entries) > size:
                raise InputError(f"{path} is damaged: it declares more bytes than it has")
            if wrong := archive.testzip():
                raise InputError(f"{path} is damaged: the checksum of {wrong[:60]!r} in it is wrong")
            pickled = [entry for entry in entries if entry.filename.endswith(".pkl")]
            if len(pickled) != 1 or pickled[0].file_size > PICKLE_LIMIT:
                raise InputError(f"{path} is not an SST-Sal model or checkpoint")
            data = archive.read(pickled[0])
            check_pickle(data, path)
            folder = pickled[0].filename.rpartition("/")[0]
            sizes = {entry.filename.removeprefix(f"{folder}/data/"): entry.file_size for entry in entries}
        Inspector(data, sizes).load()
    except InputError:
        raise
    except pickle.UnpicklingError:  # other names than those of plain types
        return False
    except Exception:  # whatever a damaged file may raise
        raise InputError(f"{path} is not an SST-Sal model or checkpoint, or was cut short") from None
    return True


def check_pickle(data, path):
    """Raises InputError if reading the pickle could take much more memory than its size, or a deep stack. data: bytes,
    or an open file, of which one pickle is read."""
    stack, memo = [], {}  # of how deeply each value is nested; None is a mark
    for count, (code, argument, _) in enumerate(pickletools.genops(data)):
        if count > STEPS_LIMIT:
            raise InputError(f"{path} holds a pickle of more steps than any SST-Sal model")
        if code.name == "MARK":
            stack.append(None)
        elif "PUT" in code.name or code.name == "MEMOIZE":
            if argument is not None and argument > count:
                raise InputError(f"{path} is damaged: its pickle numbers more values than it has")
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif "GET" in code.name:
            stack.append(memo[argument])
        else:
            apply_code(code, stack)
        if stack and (stack[-1] or 0) > NESTING_LIMIT:
            raise InputError(f"{path} holds values that are nested too deeply")


def apply_code(code, stack):
    """Applies a pickle's opcode to the stack of `check_pickle`."""
    used = []
    for kind in reversed(code.stack_before):
        if kind is pickletools.stackslice:
            continue
        value = stack.pop()
        while kind is pickletools.markobject and value is not None:
            used.append(value)
            value = stack.pop()
        used.append(value or 0)
    if not code.stack_after:
        return
    if code.name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"):
        stack.append(max(used[-1], 1 + max(used[:-1], default=0)))
    else:
        stack += [1 + max(used, default=0) if code.stack_before else 0] * len(code.stack_after)


class Inspector(pickle.Unpickler):
    """Goes through a pickle of plain types and tensors without making any tensor. Raises UnpicklingError for any name
    that such a pickle does not need, and ValueError for a tensor that does not lie within its storage, or a storage
    that is larger than its entry. sizes: bytes of each entry, by its key."""

    def __init__(self, data, sizes):
        super().__init__(io.BytesIO(data))
        self.sizes = sizes

    def find_class(self, module, name):
        if module == "torch" and name in STORAGES:
            return name
        known = {("collections", "OrderedDict"): OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): check_tensor,
                 ("torch._utils", "_rebuild_parameter"): check_tensor}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, identity):
        _, kind, key, _, count = identity
        if not 0 <= count * STORAGES[kind] <= self.sizes[key]:
            raise ValueError(f"the storage {key} is larger than its entry")
        return count


def check_tensor(count, offset=0, size=(), stride=(), *_):
    """Raises ValueError if the tensor does not lie within its storage of so many numbers."""
    if isinstance(count, int) and isinstance(size, tuple) and 0 not in size:
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        values = 1
        for length in size:
            values *= length
        if offset < 0 or min((*size, *stride), default=0) < 0 or last >= count or values > max(count, 1):
            raise ValueError("a tensor does not lie within its storage")
