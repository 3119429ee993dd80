"""Tables with named columns, of this project and of others; the fixations that gaze.py writes are such a table.

Columns, in any order, of which the first line tells the names: `video`; `frame`, or `time` with its unit (time_ms);
`longitude` and `latitude` in degrees, east and north positive, or fractions `u` and `v` of the panorama from its left
and its top (or bottom); `user`; `kind` ("gaze" or "head"). 360AV-HM's `time`, `2dmu`, `2dmv` (head) are read, too.
"""

import re
from pathlib import Path

import numpy as np

from errors import InputError
from recordings.columns import delimiter_of, first_lines, read_columns, split_header
from recordings.samples import NO_SAMPLES, Options, Samples, split_videos

NAMES = {  # {column: what it may be called}
    "video": ("video", "video_id", "video_name", "clip"),
    "frame": ("frame", "frame_index", "frame_number", "frame_id"),
    "longitude": ("longitude", "lon", "lng"),
    "latitude": ("latitude", "lat"),
    "u": ("u", "2dmu", "gaze_u"),
    "v": ("v", "2dmv", "gaze_v"),
    "user": ("user", "user_id", "id", "participant", "participant_id", "subject", "observer"),
    "kind": ("kind",),
}
TIME = re.compile(r"(?:time|timestamp|t)(?:[ _(\[]+(s|sec|seconds?|ms|us|µs|ns)[)\]]?)?")
UNITS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
HEAD_COLUMNS = ("2dmu", "2dmv")
HEADER = "video,frame,longitude,latitude,user,kind"  # of this project's own tables


def find_columns(header):
    """({column: its position}, unit of the column `time` or None) of a list of names; columns as in NAMES, and
    "time"."""
    names = [re.sub(r"[ _]*[(\[]?deg(rees?)?[)\]]?$", "", name) for name in header]
    found = {column: position for column, known in NAMES.items()
             for position, name in enumerate(names) if name in known}
    times = [(position, match[1]) for position, name in enumerate(header) if (match := TIME.fullmatch(name))]
    if times:
        found["time"] = times[0][0]
    return found, times[0][1] if times else None


def missing_columns(found):
    """What a table with these columns lacks, as text; "" if nothing."""
    missing = [] if {"longitude", "latitude"} <= found.keys() or {"u", "v"} <= found.keys() else [
        "longitude and latitude (or u and v)"]
    missing += [] if {"frame", "time"} & found.keys() else ["frame (or time)"]
    return ", ".join(missing)


def recognises(path, lines):
    return path.suffix.lower() in (".csv", ".tsv", ".txt") and bool(lines) and not missing_columns(
        find_columns(split_header(lines[0]))[0])


def read(path, options):
    """(recordings, lines of rows skipped), a recording for each video and kind. Raises InputError naming the columns
    that the table lacks.

    Without a column `video`, the file is named after the video and its folder after the user, or the other way round:
    a name of `options.names` decides; otherwise it is the folder that is the video.
    """
    lines = first_lines(path)
    header = split_header(lines[0]) if lines else []
    found, unit = find_columns(header)
    if missing := missing_columns(found):
        raise InputError(f"{path} has no column {missing}; its first line must name the columns video, frame, "
                         "longitude, latitude and, where known, user")
    degrees = {"longitude", "latitude"} <= found.keys()
    numeric = ("longitude", "latitude") if degrees else ("u", "v")
    numeric += tuple(name for name in ("frame", "time") if name in found)
    textual = [name for name in ("video", "user", "kind") if name in found]
    rows = read_columns(path, delimiter_of(lines[0]), len(header), [found[name] for name in numeric],
                        [found[name] for name in textual], exact=True, header=True)
    table = {**dict(zip(numeric, rows.numbers.T)), **dict(zip(textual, rows.texts))}
    recordings, chosen = split_table(table, default_names(path, found, header, options), degrees,
                                     UNITS[unit or options.table_time], options)
    return recordings, rows.lines[~chosen]


def default_names(path, found, header, options):
    """{column: its value} where a table has no such column."""
    stem, folder = path.stem, path.parent.name
    file_is_video = "user" in found or (stem in options.names and folder not in options.names)
    video, user = (stem, folder) if file_is_video else (folder, stem)
    is_head = any(name in HEAD_COLUMNS for name in header)
    return {"video": video, "user": user if "video" not in found else "",
            "kind": "head" if is_head else options.kind or "gaze"}


def split_table(table, defaults, degrees, unit, options):
    """The recordings of a table, {column: (N,)}, and which rows are in them. defaults: {column: value} of columns
    that are not there; unit: of its times, seconds."""
    count = len(next(iter(table.values())))
    video, user, kind = (table.get(name, np.full(count, defaults[name], object)) for name in ("video", "user", "kind"))
    if degrees:
        longitude, latitude = table["longitude"], table["latitude"]
    else:
        up = 1 if options.table_origin == "bottom" else -1
        longitude, latitude = 360 * table["u"] - 180, up * (180 * table["v"] - 90)
    frame = table["frame"] - options.table_first_frame if "frame" in table else None
    time = table["time"] * unit if "time" in table else None
    recordings, chosen = [], np.zeros(count, bool)
    kind = np.where(np.isin(kind, ("gaze", "head")), kind, defaults["kind"])
    for name in dict.fromkeys(kind):
        rows = kind == name
        columns = (None if frame is None else frame[rows], longitude[rows], latitude[rows], user[rows])
        found, chosen[rows] = split_videos(video[rows], name, columns, None if time is None else time[rows])
        recordings += found
    return recordings, chosen


# ----------------------------------------------------------------------------------------------- this project's tables


def fixations_text(video, samples, kind="gaze"):
    """The samples of a video as the text of a table."""
    users = {user: csv_cell(user) for user in set(samples.user.tolist())}
    name = csv_cell(video)
    rows = [f"{name},{frame},{longitude:.4f},{latitude:.4f},{users[user]},{kind}\n"
            for frame, longitude, latitude, user in zip(*(column.tolist() for column in samples))]
    return f"{HEADER}\n" + "".join(rows)


def csv_cell(text):
    """The text as a cell of a table with commas: in quotation marks where that is needed."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def read_fixations(path, video):
    """(samples, kind) of a video in such a table; no samples and "" if there is no such file or the video is not in
    it."""
    recordings = read(path, Options())[0] if path.exists() else []
    chosen = [recording for recording in recordings if recording.video == video]
    if not chosen:
        return NO_SAMPLES, ""
    return Samples(*map(np.concatenate, zip(*(recording.samples for recording in chosen)))), chosen[0].kind


def fixations_file(fixations_dir, gt_dir, video):
    """The path of a video's table of fixations: in fixations_dir, or if that is "", in `fixations` beside gt_dir."""
    return Path(fixations_dir or Path(gt_dir).parent / "fixations", f"{video}.csv")


def settings_file(gt_dir):
    """The path of the file that says which settings the maps in gt_dir, and their fixations, were made with."""
    return Path(gt_dir, "gaze.json")
