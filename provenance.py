"""What a file was made from, compared by content and never by its time; and which folder is in use by which process.

A fingerprint is a file's size and a digest of its first and last megabyte. A `Ledger` beside a folder says what its
files were made from, and the digest of each that this program wrote: only those may be kept, or removed, by a later
run.
"""

import hashlib
import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from checks import is_plain_name
from errors import InputError
from files import HOST, fcntl, is_still, lock, read_json, replacing, write_text

ENDS = 2**20            # bytes at either end of a file that a fingerprint reads
ENDS_OF_MANY = 2**16    # the same of one of many files: at the end of a PNG are the checksums of its pixels

# -------------------------------------------------------------------------------------------------------- fingerprints


def digest(data):
    """A short digest of bytes, or of a value that JSON can express: hexadecimal."""
    data = data if isinstance(data, bytes) else json.dumps(data, sort_keys=True).encode()
    return hashlib.blake2b(data, digest_size=10).hexdigest()


def fingerprint(path, ends=ENDS):
    """{"bytes", "digest"} of a file: its size, and the digest of its first and last `ends` bytes."""
    size = Path(path).stat().st_size
    with Path(path).open("rb", buffering=0) as file:
        data = file.read(ends)
        if size > ends:
            file.seek(max(ends, size - ends))
            data += file.read(ends)
    return {"bytes": size, "digest": digest(data)}


def fingerprint_files(paths):
    """{"files", "bytes", "digest"} of several files: how many there are, their size, and a digest of their names and
    fingerprints. A file that does not exist counts as one."""
    def of_one(path):
        return path.name, fingerprint(path, ENDS_OF_MANY) if path.is_file() else {"bytes": 0, "digest": ""}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(of_one, paths))
    return {"files": len(found), "bytes": sum(one["bytes"] for _, one in found), "digest": digest(found)}


def is_unchanged(path, content):
    """Whether the file has the content of this digest."""
    return path.is_file() and digest(path.read_bytes()) == content


# -------------------------------------------------------------------------------------------------------------- ledger


class Ledger:
    """The record of the files that this program writes to `folder`: a text file `path` whose first line says what they
    are made from, a dict, and every other one the digest and the name of a file. A line is added just before its file
    is written: so a killed run can be continued, and a file without a line is somebody else's. Lines that are not whole
    do not count."""

    def __init__(self, path, folder):
        self.path, self.folder = Path(path), Path(folder)
        self.made_from, self.entries, self.file, self.writing = None, {}, None, threading.Lock()
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            self.made_from = json.loads(lines[0])
        except (OSError, ValueError, IndexError, RecursionError):
            return
        for line in lines[1:]:
            if found := re.fullmatch(r"([0-9a-f]{20}) ([^/\\]+)\n", line):
                self.entries[found[2]] = found[1]

    def begin(self, made_from, entries):
        """Starts the record anew, with the files in `entries`, {name: digest}, that are there already."""
        self.close()
        self.made_from, self.entries = made_from, dict(entries)
        lines = [json.dumps(made_from), *(f"{content} {name}" for name, content in entries.items())]
        write_text(self.path, "\n".join(lines) + "\n")
        self.file = self.path.open("a", encoding="utf-8")

    def write(self, name, data):
        """Writes a file, bytes, atomically, after its line in the record."""
        self.note(name, data)
        with replacing(self.folder / name) as partial:
            partial.write_bytes(data)

    def note(self, name, data):
        """Adds what `name` stands for, with its bytes."""
        content = digest(data)
        with self.writing:
            self.entries[name] = content
            self.file.write(f"{content} {name}\n")
            self.file.flush()

    def holds(self, name):
        """Whether the file is there, as it was written."""
        return name in self.entries and is_unchanged(self.folder / name, self.entries[name])

    def close(self):
        if self.file:
            self.file.close()
            self.file = None


def read_entries(value):
    """The {name: digest} in a record that was read from a file, without what is not such an entry."""
    entries = value.items() if isinstance(value, dict) else ()
    return {name: content for name, content in entries if isinstance(content, str) and is_plain_name(name)}


def remove_own(folder, entries):
    """Removes the files of `entries`, {name: digest}, from a folder, as far as they are what this program wrote."""
    for name, content in entries.items():
        path = Path(folder, name)
        if is_unchanged(path, content):
            path.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------------------- claims


@contextmanager
def claimed(folder, purpose, setting, part=""):
    """Within this block no other process may claim the folder, which is made, or the same part of it. A process with
    the same `purpose`, a value that JSON can express, waits for its turn; one with another purpose gets an InputError
    that names `setting`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not fcntl:
        yield
        return
    path, purpose, told = folder / f".{part}in-use", digest(purpose), False
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        if lock(descriptor):
            if is_still(descriptor, path):
                break
            os.close(descriptor)
            continue
        os.close(descriptor)
        holder = read_json(path)
        who = f"process {holder.get('pid')} on {holder.get('host')}"
        if holder and holder.get("purpose") != purpose:
            raise InputError(f"{folder / part} is in use by {who}, with other settings; wait for its end, or choose "
                             f"another {setting}")
        if holder and not told:
            tqdm.write(f"waiting for {who}, which writes to {folder}")
            told = True
        time.sleep(0.2)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"host": HOST, "pid": os.getpid(), "purpose": purpose}).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_claimed(folder, part=""):
    """Whether a living process has claimed the folder, or that part of it."""
    try:
        descriptor = os.open(Path(folder, f".{part}in-use"), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not lock(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------- inputs and outputs


def check_outputs(outputs, inputs, may_hold=(), alone=()):
    """Raises InputError if something would be written where something is read; symbolic links count as what they point
    to. outputs and inputs: {name of the setting: path, "" for none}. An output may lie inside the inputs named in
    `may_hold`. The outputs named in `alone` may not lie around an input either."""
    for output, written in outputs.items():
        for name, read in inputs.items():
            if not written or not read:
                continue
            target, source = Path(written).resolve(), Path(read).resolve()
            same = target == source or (target.exists() and source.exists() and target.samefile(source))
            inside = name not in may_hold and source in target.parents
            around = output in alone and target in source.parents
            if same or inside or around:
                relation = "the same as" if same else "inside" if inside else "around"
                raise InputError(f"{output} {written} is {relation} {name} {read}, which is read and would be "
                                 f"overwritten; choose another {output}")
