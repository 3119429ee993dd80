"""A folder of results: which maps it holds, how they were made, and where an interrupted run goes on.

    results_dir/run.json            how the maps are made, and what the latest run took
    results_dir/ID.json             which video ID is; its size, rate and length; what its maps and what shows them were
                                    made from, and the digest of each
    results_dir/.ID.maps            the same while the maps are being made: see `provenance.Ledger`
    results_dir/ID/ID_FRAME.png     its maps, of which each one is scaled to 255
    results_dir/ID_maps.npy         its maps with their own scale: see `maps.exact`
    results_dir/ID.mp4, ID.html     what shows them; ID_regions.csv: see `maps.regions`
"""

import json
import re
import time
from pathlib import Path

import cv2
from tqdm import tqdm

from checks import is_plain_name
from errors import InputError
from files import (
    checksum,
    clear_partials,
    encoded,
    frame_number,
    list_images,
    number_images,
    read_image,
    read_json,
    write_text,
)
from maps.exact import ExactMaps
from maps.levels import grey_levels
from provenance import Ledger, digest, fingerprint, fingerprint_files, is_unchanged, read_entries, remove_own
from video.resize import resized
from video.sources import are_times
from video.stored_maps import StoredMap, open_maps

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


def holds_maps(results_dir):
    """Whether there are maps in the folder, of any video and in any form."""
    return any(next(Path(results_dir).glob(pattern), None) for pattern in ("*/*.png", "*_maps.npy", ".*_maps.npy"))


def check_results(results_dir, description, overwrite):
    """Since when maps of this description have been written to results_dir, seconds since 1970; now, where there are
    none or they are to be overwritten. Raises InputError where the folder holds maps of another description."""
    since = time.time()
    if not overwrite and holds_maps(results_dir):
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
    return row if row.get("id") == path.stem and is_plain_name(row["id"]) and isinstance(row.get("video"), str) else {}


def content_of(path):
    """What identifies the content of a source, a video or a folder of frames."""
    return fingerprint_files(list_images(path)) if path.is_dir() else fingerprint(path)


class ExactMap(StoredMap):
    """A map of results_dir/ID_maps.npy; it stands where the path of its image could be."""

    def read(self, resolution):
        """What the image would hold, at `resolution` (height, width): uint8."""
        return resized(grey_levels(open_maps(self.path)[self.index]), resolution)


def find_maps(results_dir, identity):
    """{frame number: path or ExactMap} of the maps of a video, in order; {} if there are none."""
    if images := number_images(Path(results_dir, identity)):
        return images
    path = Path(results_dir, f"{identity}_maps.npy")
    numbers = read_row(Path(results_dir, f"{identity}.json")).get("indices")
    if not path.is_file() or not isinstance(numbers, list):
        return {}
    if len(open_maps(path)) != len(numbers) or not all(type(number) is int for number in numbers):
        raise InputError(f"{path} does not hold the {len(numbers)} maps that {identity}.json lists")
    return {number: ExactMap(path, position, path) for position, number in enumerate(numbers)}


def read_maps(results_dir, row):
    """Yields the maps of a row, uint8 (height, width), in order of time. Raises InputError where some are missing, or
    are not as they were written."""
    folder, entries, count = Path(results_dir, row["id"]), read_entries(row.get("maps")), row.get("samples")
    images = sorted((name for name in entries if not is_exact(name)), key=lambda name: frame_number(name) or 0)
    if (not count or count not in (len(images), len(entries) - len(images))
            or not are_times(row.get("times"), row.get("end"), count)):
        raise InputError(f"{folder}: some maps are missing; inference.py makes them")
    if len(images) == count:
        for name in images:
            if not is_unchanged(folder / name, entries[name]):
                raise changed(folder / name)
            yield read_image(folder / name, cv2.IMREAD_GRAYSCALE)
        return
    path = Path(results_dir, f"{row['id']}_maps.npy")
    if not path.is_file() or len(open_maps(path)) < count:
        raise changed(path)
    for position, saliency in enumerate(open_maps(path)[:count]):
        if digest(saliency.tobytes()) != entries.get(f"{path.name}[{position}]"):
            raise changed(path)
        yield grey_levels(saliency)


def changed(path):
    """The InputError for a file of maps that is not as it was written."""
    return InputError(f"{path} is missing, or was changed; inference.py makes it again")


def form_of(row):
    """In which form the maps of a row are there, "png" or "npy"; "" where there are none."""
    entries = read_entries(row.get("maps"))
    return "" if not entries else "npy" if all(map(is_exact, entries)) else "png"


def is_exact(name):
    """Whether an entry of a record is one of the maps in ID_maps.npy, and not a file."""
    return name.endswith("]")


# ----------------------------------------------------------------------------------------------------------- one video


class VideoResults:
    """What a folder of results holds of one source of frames (see `video.sources`).

    made_by: what `describe` returned, and since: what `check_results` returned: maps count if they were made that way,
    since then, from this very source. save_maps: "png", "npy" or "both", the forms that they are wanted in. flow_dir:
    the folder of the flow images, if these are read from there.

    After `prepare`, leading: how many maps there are from the first frame on, without a gap; finished: whether these
    are all maps, as an earlier run wrote down at its end.
    """

    def __init__(self, results_dir, source, made_by, since, save_maps, flow_dir=None):
        self.folder, self.source, self.flow_dir = Path(results_dir), source, flow_dir
        self.run = digest([made_by, since])
        self.row = read_row(self.path(".json"))
        self.ledger = Ledger(self.folder / f".{source.id}.maps", self.path(""))
        self.exact, self.save_maps = ExactMaps(self.path("_maps.npy"), *made_by["resolution"]), save_maps
        self.written, self.complete = 0, False  # maps written by this object; whether all are there

    def path(self, suffix):
        """results_dir/ID and a suffix."""
        return self.folder / f"{self.source.id}{suffix}"

    def map_path(self, position):
        return self.path("") / f"{self.source.stem(position)}.png"

    def exact_name(self, position):
        """What an exact map is called in records."""
        return f"{self.exact.path.name}[{position}]"

    def has_map(self, position):
        """Whether the map of that frame is there in the forms that are wanted, as it was written."""
        return ((self.save_maps == "npy" or self.ledger.holds(self.map_path(position).name))
                and (self.save_maps == "png" or self.ledger.entries.get(self.exact_name(position)) == digest(
                    self.exact.read_bytes(position))))

    def read_map(self, position):
        """The grey levels of a map that is there: uint8 (height, width)."""
        if self.save_maps == "npy":
            return grey_levels(self.exact.read(position))
        return read_image(self.map_path(position), cv2.IMREAD_GRAYSCALE)

    def write_map(self, position, saliency):
        """Writes a map, float32 (height, width), and returns its grey levels, uint8."""
        levels, path = grey_levels(saliency), self.map_path(position)
        if self.save_maps != "npy":
            self.ledger.write(path.name, encoded(path.suffix, levels))
        if self.save_maps != "png":
            self.ledger.note(self.exact_name(position), self.exact.write(position, saliency))
        self.written += 1
        return levels

    def identify(self):
        """What the maps are made from: the run, and the content of the source and of its flow images."""
        path = self.source.path
        made_from = {"run": self.run, "stereo_layout": self.source.stereo_layout,
                     "projection": self.source.projection, "source": content_of(path)}
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
        exact_count = sum(map(is_exact, current))
        if not exact_count:
            self.exact.remove()
        self.ledger.made_from, self.ledger.entries = self.made_from, current
        self.shown, self.leading = shown, 0
        while self.leading < self.source.limit and self.has_map(self.leading):
            self.leading += 1
        counts = {"png": [len(current) - exact_count], "npy": [exact_count]}
        counts["both"] = counts["png"] + counts["npy"]
        self.finished = self.complete = (0 < self.leading == self.row.get("samples")
                                         and set(counts[self.save_maps]) == {self.leading}
                                         and self.row.get("made_from") == self.made_from
                                         and (self.save_maps == "png" or self.exact.path.exists()))
        if self.finished:
            self.ledger.path.unlink(missing_ok=True)
            return
        self.ledger.begin(self.made_from, current)
        if self.save_maps != "png":
            self.exact.begin()

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
        row = self.source.describe()
        if self.save_maps != "png":
            self.exact.finish(row["samples"])
        self.write_row({**row, "made_from": self.made_from, "maps": self.ledger.entries})
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
                if is_plain_name(name) and name.startswith(self.source.id)]

    def remove_shown(self, shown):
        for noted in shown.values():
            for path, content in self.noted_files(noted):
                if path.is_file() and fingerprint(path) == content:
                    path.unlink()

    def note_shown(self, suffix, how, paths):
        """Writes down that these files were just written to show the maps."""
        self.shown[suffix] = {"how": how, "files": {path.name: fingerprint(path) for path in paths}}
        self.write_row({**self.row, "shown": self.shown})
