"""A folder of results: which maps it holds, how they were made, and where an interrupted run goes on.

    results_dir/run.json            how the maps are made, and what the latest run took
    results_dir/ID.json             which video ID is; its size, rate and length; what its maps and what shows them were
                                    made from, and the digest of each
    results_dir/.ID.maps            the same while the maps are being made: see `provenance.Ledger`
    results_dir/ID/ID_FRAME.png     its maps
    results_dir/ID.mp4, ID.html     what shows them
"""

import json
import re
import time
from pathlib import Path

import cv2
from tqdm import tqdm

from errors import InputError
from files import checksum, clear_partials, list_images, read_image, read_json, write_image, write_text
from provenance import Ledger, digest, fingerprint, fingerprint_files, is_plain, read_entries, remove_own

FORMAT = 2  # of run.json and ID.json

# ---------------------------------------------------------------------------------------------------------- the record


def describe(model, settings):
    """What the maps depend on beside the frames: runs of one description give the same maps of the same frames.
    settings: the config module, or a namespace of its names."""
    return {"inference_model": settings.inference_model, "sha256": checksum(settings.inference_model),
            "geometry": model.geometry, "videos_folder": str(Path(settings.videos_folder).resolve()),
            "stereo_layout": settings.stereo_layout, "projection": settings.projection,
            "optical_flow_dir": settings.optical_flow_dir, "resolution": list(settings.resolution),
            "sequence_length": settings.sequence_length, "overlap": settings.overlap}


def read_record(results_dir):
    """What `write_record` wrote, or {} where there is no such file."""
    record = read_json(Path(results_dir, "run.json"))
    whole = isinstance(record.get("made_by"), dict) and type(record.get("since")) in (int, float)
    return record if whole else {}


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
                if name in made_by and made_by[name] != value]
        if ways:
            raise InputError(f"{results_dir} holds maps made with {', '.join(ways)}; {remedy}")
        if record.get("format") != FORMAT or made_by != description:
            raise InputError(f"{results_dir} holds maps of an earlier version, which did not write down what they were "
                             f"made from; to keep them, choose another results_dir; --overwrite=True replaces them")
    return since


def write_record(results_dir, description, since, settings, frames=0, seconds=0.0):
    """Writes results_dir/run.json: how the maps are made, all settings (a dict), and how many frames the latest run
    predicted in how much time. A run writes it before its first map, too, so that no map is ever without it."""
    Path(results_dir).mkdir(parents=True, exist_ok=True)
    record = {"format": FORMAT, "made_by": description, "since": since, "settings": settings, "frames": frames,
              "seconds": round(seconds, 2), "frames_per_second": round(frames / seconds, 2) if seconds else 0.0}
    write_text(Path(results_dir, "run.json"), json.dumps(record, indent=2) + "\n", durable=True)


def read_rows(results_dir):
    """The rows that `VideoResults.write_row` wrote, by id: which video each id is."""
    return {path.stem: row for path in Path(results_dir).glob("*.json") if (row := read_row(path))}


def read_row(path):
    """The row in results_dir/ID.json; {} where there is no such file, or something else in it."""
    row = read_json(path)
    return row if row.get("id") == path.stem and is_plain(row["id"]) and isinstance(row.get("video"), str) else {}


# ----------------------------------------------------------------------------------------------------------- one video


class VideoResults:
    """What a folder of results holds of one source of frames (see `video.sources`).

    made_by: what `describe` returned, and since: what `check_results` returned: maps count if they were made that way,
    since then, from this very source. flow_dir: the folder of its flow images, if these are read from there.

    After `prepare`, leading: how many maps there are from the first frame on, without a gap; finished: whether these
    are all maps, as an earlier run wrote down at its end.
    """

    def __init__(self, results_dir, source, made_by, since, flow_dir=None):
        self.folder, self.source, self.flow_dir = Path(results_dir), source, flow_dir
        self.run = digest([made_by, since])
        self.row = read_row(self.path(".json"))
        self.ledger = Ledger(self.folder / f".{source.id}.maps", self.path(""))
        self.written, self.complete = 0, False  # maps written by this object; whether all are there

    def path(self, suffix):
        """results_dir/ID and a suffix."""
        return self.folder / f"{self.source.id}{suffix}"

    def map_path(self, position):
        return self.path("") / f"{self.source.stem(position)}.png"

    def has_map(self, position):
        """Whether the map of that frame is there, as it was written."""
        return self.ledger.holds(self.map_path(position).name)

    def read_map(self, position):
        return read_image(self.map_path(position), cv2.IMREAD_GRAYSCALE)

    def write_map(self, position, levels):
        path = self.map_path(position)
        write_image(path, levels)
        self.ledger.note(path.name)
        self.written += 1

    def identify(self):
        """What the maps are made from: the run, and the content of the source and of its flow images."""
        path = self.source.path
        made_from = {"run": self.run, "stereo_layout": self.source.stereo_layout,
                     "projection": self.source.projection,
                     "source": fingerprint_files(list_images(path)) if path.is_dir() else fingerprint(path)}
        if self.flow_dir:
            made_from["flow"] = fingerprint_files(list_images(self.flow_dir))
        return made_from

    def prepare(self):
        """Makes the folder of the maps, removes what an earlier run made of another source or in another way, and
        finds out where to go on."""
        self.path("").mkdir(exist_ok=True)
        clear_partials(self.path(""))
        self.made_from = self.identify()
        recorded = read_entries(self.row.get("maps"))
        current, shown = {}, self.row.get("shown") if isinstance(self.row.get("shown"), dict) else {}
        for made_from, entries in ((self.row.get("made_from"), recorded),
                                   (self.ledger.made_from, self.ledger.entries)):
            if made_from == self.made_from:
                current |= entries
            else:
                remove_own(self.path(""), entries)
        if self.row.get("made_from") != self.made_from:
            self.remove_shown(shown)
            shown = {}
        self.remove_numbered(current)
        self.ledger.made_from, self.ledger.entries = self.made_from, current
        self.shown, self.leading = shown, 0
        while self.leading < self.source.limit and self.has_map(self.leading):
            self.leading += 1
        self.finished = self.complete = (0 < self.leading == self.row.get("samples") == len(current)
                                         and self.row.get("made_from") == self.made_from)
        if self.finished:
            self.ledger.path.unlink(missing_ok=True)
        else:
            self.ledger.begin(self.made_from, current)

    def remove_numbered(self, current):
        """Removes maps ID_NUMBER.png that no record names. (The folder is one of results: its run.json says so.)"""
        others = []
        for path in list_images(self.path("")):
            if path.name not in current:
                if re.fullmatch(rf"{re.escape(self.source.id)}_\d{{4,}}\.png", path.name):
                    path.unlink()
                else:
                    others.append(path.name)
        if others:
            tqdm.write(f"{self.path('')} holds images that are not of this run: {', '.join(sorted(others)[:3])}")

    def claim(self):
        """Writes down whose maps these are, before the first of them: a run that goes on must know."""
        self.write_row({"id": self.source.id, "video": self.source.title, "bytes": self.source.bytes})

    def finish(self):
        """Writes the row of the source, whose frames have all been read. Raises InputError if it was changed
        meanwhile."""
        if self.identify() != self.made_from:
            raise InputError(f"{self.source.path} was changed while it was read; start again")
        self.write_row({**self.source.describe(), "made_from": self.made_from, "maps": self.ledger.entries})
        self.ledger.close()
        self.ledger.path.unlink(missing_ok=True)
        self.complete = True

    def write_row(self, row):
        self.row = {"format": FORMAT, **row}
        write_text(self.path(".json"), json.dumps(self.row, indent=2) + "\n", durable=True)

    # what shows the maps: files by their names, with how they were made and their fingerprints

    def shows(self, suffix, how):
        """Whether the overlay or the page with that suffix is there, as it was written for these maps in this way."""
        noted = self.shown.get(suffix)
        return (self.finished and isinstance(noted, dict) and noted.get("how") == how and bool(noted.get("files"))
                and all(path.is_file() and fingerprint(path) == content for path, content in self.noted_files(noted)))

    def noted_files(self, noted):
        files = noted.get("files") if isinstance(noted, dict) else None
        return [(self.folder / name, content) for name, content in (files.items() if isinstance(files, dict) else ())
                if is_plain(name) and name.startswith(self.source.id)]

    def remove_shown(self, shown):
        for noted in shown.values():
            for path, content in self.noted_files(noted):
                if path.is_file() and fingerprint(path) == content:
                    path.unlink()

    def note_shown(self, suffix, how, paths):
        """Writes down that these files were just written to show the maps."""
        self.shown[suffix] = {"how": how, "files": {path.name: fingerprint(path) for path in paths}}
        self.write_row({**self.row, "shown": self.shown})
