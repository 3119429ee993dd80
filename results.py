"""A folder of results: which maps it holds, how they were made, and where an interrupted run goes on.

    results_dir/run.json            how the maps are made, and what the latest run took
    results_dir/ID.json             which video ID is; its size, rate and length
    results_dir/ID/ID_FRAME.png     its maps
    results_dir/ID.mp4, ID.html     what shows them
"""

import json
import time
from pathlib import Path

import cv2

from errors import InputError
from files import checksum, read_image, write_image, write_text

# ---------------------------------------------------------------------------------------------------------- the record


def describe(model, settings):
    """What the maps depend on beside the frames: runs of one description give the same maps of the same frames.
    settings: the config module, or a namespace of its names."""
    return {"inference_model": settings.inference_model, "sha256": checksum(settings.inference_model),
            "geometry": model.geometry, "videos_folder": str(Path(settings.videos_folder).resolve()),
            "stereo_layout": settings.stereo_layout, "optical_flow_dir": settings.optical_flow_dir,
            "resolution": list(settings.resolution), "sequence_length": settings.sequence_length,
            "overlap": settings.overlap}


def read_record(results_dir):
    """What `write_record` wrote, or {} where there is no such file."""
    try:
        record = json.loads(Path(results_dir, "run.json").read_text(encoding="utf-8"))
        return record if {"made_by", "since"} <= record.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def check_results(results_dir, description, overwrite):
    """Since when maps of this description have been written to results_dir, seconds since 1970; now, where there are
    none or they are to be overwritten. Raises InputError where the folder holds maps of another description."""
    since = time.time()
    if not overwrite and any(Path(results_dir).glob("*/*.png")):
        remedy = "choose another results_dir, or --overwrite=True to replace them"
        record = read_record(results_dir)
        if not record:
            raise InputError(f"{results_dir} holds maps, but no run.json that says how they were made; {remedy}")
        made_by, since = record["made_by"], record["since"]
        ways = [f"{name}={made_by.get(name)} (now {value})" for name, value in description.items()
                if made_by.get(name) != value]
        if ways:
            raise InputError(f"{results_dir} holds maps made with {', '.join(ways)}; {remedy}")
    return since


def write_record(results_dir, description, since, settings, frames=0, seconds=0.0):
    """Writes results_dir/run.json: how the maps are made, all settings (a dict), and how many frames the latest run
    predicted in how much time. A run writes it before its first map, too, so that no map is ever without it."""
    Path(results_dir).mkdir(parents=True, exist_ok=True)
    record = {"made_by": description, "since": since, "settings": settings, "frames": frames,
              "seconds": round(seconds, 2), "frames_per_second": round(frames / seconds, 2) if seconds else 0.0}
    write_text(Path(results_dir, "run.json"), json.dumps(record, indent=2) + "\n")


def read_rows(results_dir):
    """The rows that `VideoResults.write_row` wrote, by id: which video each id is."""
    return {path.stem: row for path in Path(results_dir).glob("*.json") if (row := read_row(path))}


def read_row(path):
    """The row in results_dir/ID.json; {} where there is no such file, or something else in it."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return row if isinstance(row, dict) and row.get("id") == path.stem else {}


# ----------------------------------------------------------------------------------------------------------- one video


class VideoResults:
    """What a folder of results holds of one source of frames (see `video.sources`).

    since: maps that were made before that time, seconds since 1970, do not count. After `prepare`, leading: how many
    maps there are from the first frame on, without a gap; finished: whether these are all maps of this very source, as
    an earlier run wrote down at its end.
    """

    def __init__(self, results_dir, source, since):
        self.folder, self.source, self.since = Path(results_dir), source, since
        self.row = read_row(self.path(".json"))
        self.written, self.complete = 0, False  # maps written by this object; whether all are there

    def path(self, suffix):
        """results_dir/ID and a suffix."""
        return self.folder / f"{self.source.id}{suffix}"

    def map_path(self, position):
        return self.folder / self.source.id / f"{self.source.stem(position)}.png"

    def has_map(self, position):
        """Whether there is a map of that frame which is newer than the frame."""
        return self.is_current(self.map_path(position), self.source.files(position))

    def is_current(self, path, sources):
        """Whether a file was made after all of its sources, and after `since`."""
        made = path.stat().st_mtime if path.is_file() else -1.0
        return made >= self.since and all(made >= source.stat().st_mtime for source in sources)

    def read_map(self, position):
        return read_image(self.map_path(position), cv2.IMREAD_GRAYSCALE)

    def write_map(self, position, levels):
        write_image(self.map_path(position), levels)
        self.written += 1

    def prepare(self):
        """Makes the folder of the maps and finds out where to go on. Removes maps of another source of this id: the
        file may have been replaced by one that is older than they are."""
        if self.row.get("bytes", self.source.bytes) != self.source.bytes:
            for outdated in self.path("").glob("*.png"):
                outdated.unlink()
        self.leading = 0
        while self.leading < self.source.limit and self.has_map(self.leading):
            self.leading += 1
        finished_as = tuple(self.row.get(name) for name in ("samples", "bytes", "stereo_layout"))
        self.finished = finished_as == (self.leading, self.source.bytes, self.source.stereo_layout)
        self.complete = self.finished
        self.path("").mkdir(exist_ok=True)

    def claim(self):
        """Writes down whose maps these are, before the first of them: a run that goes on must know."""
        self.write_row({"id": self.source.id, "video": self.source.title, "bytes": self.source.bytes})

    def finish(self):
        """Writes the row of the source, whose frames have all been read."""
        self.write_row(self.source.describe())
        self.complete = True

    def write_row(self, row):
        self.row = row
        write_text(self.path(".json"), json.dumps(row, indent=2) + "\n")
