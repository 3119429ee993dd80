"""Which folder of frames belongs to which video of a data set, whose recordings, maps and split lists name videos as
its files are named. `frames_extraction` may call them otherwise, 000, 001, ...; its catalogue says which file each
folder is. """

from collections import defaultdict
from pathlib import Path

from errors import InputError
from files import list_folders
from video.catalogue import read_catalogue


def find_folders(names, folder, rows, frames_ids):
    """{name: its folder's name in `folder`} of those videos that have one.

    rows: {id: row}, what is known of the folders, with the file name `video` of each; frames_ids: "name": a name means
    the file, "number": the folder; "": the file, too, but it is an error where a folder of another file has that name.
    A folder that `rows` do not list is meant by its own name. Raises InputError naming all that one name could mean.
    """
    folders = {path.name for path in list_folders(folder)} if Path(folder).is_dir() else set()
    by_file = defaultdict(list)
    for identity in sorted(folders & rows.keys()):
        by_file[Path(rows[identity]["video"]).stem].append(identity)
    found, problems = {}, []
    for name in names:
        meant = [] if frames_ids == "number" else by_file.get(name, [])
        as_folder = [name] if name in folders and (frames_ids == "number" or name not in rows) else []
        clash = frames_ids == "" and meant and name in folders and name not in meant
        if len(meant) > 1 or clash:
            candidates = [*meant, *([name] if clash else [])]
            meanings = " or ".join(describe(each, folder, rows) for each in candidates)
            problems.append(f"video {name} could be {meanings}")
        elif meant or as_folder:
            found[name] = (meant or as_folder)[0]
    if problems:
        more = f" (so could {len(problems) - 1} more names)" * (len(problems) > 1)
        raise InputError(f"{problems[0]}{more}; --frames_ids=name takes names for files, --frames_ids=number for "
                         "folders")
    return found


def describe(identity, folder, rows):
    """A folder and the file that it was made of, as text."""
    path = Path(folder, identity)
    return f"{path} (of {rows[identity]['video']})" if identity in rows else str(path)


def explain_missing(name, folder, rows):
    """A line: that a folder has no frames of a video, and which file's a folder of this name has."""
    if name in rows:
        return (f"{folder} holds no frames of a file {name}.*: its folder {name} is of {rows[name]['video']} "
                "(--frames_ids=number takes names for folders)")
    known = f"; it holds {', '.join(sorted(Path(row['video']).stem for row in rows.values())[:3])}, ..." if rows else ""
    return f"{Path(folder, name)} holds no frames (NAME_NUMBER.png) of video {name}{known}"


def require_folders(names, frames_dir, frames_ids):
    """{name: its folder's name in frames_dir}. Raises InputError naming each video that has no folder there."""
    rows = read_catalogue(frames_dir)
    found = find_folders(names, frames_dir, rows, frames_ids)
    if missing := [name for name in names if name not in found]:
        raise InputError("\n".join(explain_missing(name, frames_dir, rows) for name in missing))
    return found
