"""The formats of recordings: which one a file has, and what a folder of files holds.

A format is a module with two functions: recognises(path, its first lines), and read(path, options) -> (recordings,
numbers of the lines that were skipped).
"""

import os
from collections import defaultdict
from pathlib import Path

from errors import InputError
from recordings import d_sav360, em_360, nasrabadi2019, opensal360, pvs_hm, salient360, tables, vr_eyetracking
from recordings.columns import first_lines
from recordings.unread import what_a_table_lacks, what_is_not_known

FORMATS = {"vr_eyetracking": vr_eyetracking, "d_sav360": d_sav360, "salient360": salient360, "360_em": em_360,
           "pvs_hm": pvs_hm, "opensal360": opensal360, "nasrabadi2019": nasrabadi2019, "table": tables}
SUFFIXES = (".txt", ".csv", ".tsv", ".arff", ".mat")
PICKLES = (".pkl", ".pickle")
INCOMPLETE = (".json",)     # may be a recording that cannot be read; see `unread`


def list_files(folder, excluded):
    """The paths of the files below a folder, sorted, that may be recordings or pickles; without hidden files, those of
    macOS's archives, and the folders in `excluded`."""
    excluded = {Path(path).resolve() for path in excluded}
    found = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"
                      and Path(root, name).resolve() not in excluded]
        found += [Path(root, name) for name in names
                  if not name.startswith(".") and Path(name).suffix.lower() in (*SUFFIXES, *PICKLES, *INCOMPLETE)]
    return sorted(found)


def lines_of(path):
    """The first lines of a file, none if it cannot be opened."""
    try:
        return first_lines(path)
    except OSError:
        return []


def recognise(path):
    """The name of a file's format, "" if it has none of FORMATS."""
    lines = lines_of(path)
    return next((name for name, module in FORMATS.items() if module.recognises(path, lines)), "")


def find_recordings(folder, gaze_format, excluded):
    """({path: name of its format}, [problems], [paths that are no recordings]) of the files below a folder.
    gaze_format: one that all its files are said to have, or "". Raises InputError if there is no recording."""
    folder = Path(folder)
    wanted = "recordings as docs/recordings.md lists them, such as Gaze_txt_files/USER/VIDEO.txt or tables *.csv"
    if not folder.is_dir():
        raise InputError(f"gaze_dir {folder} is not a folder; it holds {wanted}")
    formats, problems, others, incomplete = {}, [], [], defaultdict(list)
    for path in list_files(folder, excluded):
        if path.suffix.lower() in PICKLES:
            problems.append(f"{path} is a pickle, a program that could do anything, and is not opened; write what it "
                            "holds into a table with the columns video, frame, u, v")
        elif gaze_format and path.suffix.lower() in SUFFIXES:
            formats[path] = gaze_format
        elif why := what_is_not_known(path, lines_of(path)):
            incomplete[why].append(path)
        elif name := recognise(path):
            formats[path] = name
        elif why := what_a_table_lacks(lines_of(path)):
            incomplete[why].append(path)
        elif path.suffix.lower() in SUFFIXES:
            others.append(path)
    for why, paths in incomplete.items():
        more = f" and {len(paths) - 1} more files like it" * (len(paths) > 1)
        problems.append(f"{paths[0]}{more} cannot be read: {why}")
    if not formats:
        raise InputError("\n".join([f"gaze_dir {folder} holds no {wanted}", *problems]))
    return formats, problems, others
