"""Makes a flat film of a 360° video, with its sound: a virtual camera looks where people look.

    python reframe.py --source=clips/walk.mp4          a video; its maps are taken from results_dir, or made there
    python reframe.py --source=results                 every video of a folder of results, by the maps that are there
    python reframe.py --source=results/000             one of them
    python reframe.py --source=clips/walk.mp4 --film_file=walk_flat.mp4 --field_of_view=75 --top_speed=20 --calm=2

Writes results_dir/ID_film.mp4, 1280 x 720, or film_file, and beside it FILE.json: what the film was made from, where
the video is cut, and where the camera looks in each frame. A film that is there already is kept if it was made from the
same maps with the same settings.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

import json
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from checks import printable
from distributed import choose_device
from files import clear_partials, read_json, write_text
from flow.folders import resolve_flow_dir
from model import load_fitting_model
from prediction import Output, colours_for_each, describe_run, list_sources, predict_sources, predictor_of
from provenance import check_outputs, claimed, fingerprint
from reframing.film import SIZE, cuts_of, write_film
from reframing.path import Camera, plan, reduced
from results import check_results, content_of, form_of, read_maps, read_record, read_row, read_rows, write_record
from settings import configure, merged, report_together, settings
from video.catalogue import title_of
from video.unused import why_unused

FORMAT = 1  # of FILE.json

# --------------------------------------------------------------------------------------------------- maps of one video


def predicted(path):
    """(the folder of results, the row of the video, its source), after its maps were made as inference.py makes them,
    unless they are there. Raises InputError where that is impossible."""
    if reason := why_unused(path):
        raise InputError(f"{printable(path)} {reason}")
    chosen = merged(config, {"videos_folder": str(path.parent)})
    frames_dir = path.parent / "frames"
    flow_dir = resolve_flow_dir(chosen.optical_flow_dir, frames_dir)
    check_outputs({"results_dir": chosen.results_dir},
                  {"the video's folder": path.parent, "its frames": frames_dir, "its optical flow": flow_dir,
                   "inference_model": chosen.inference_model}, may_hold=["the video's folder"], alone=["results_dir"])
    device = choose_device(chosen.device)
    model = load_fitting_model(chosen.inference_model, device, chosen.geometry, chosen.of_available)
    description = describe_run(model, chosen, device)
    with claimed(chosen.results_dir, description, "results_dir"):
        since = check_maps(path, chosen, description)
        clear_partials(chosen.results_dir)
        source = find_source(chosen, lambda source: path in (source.path, getattr(source.video, "path", None)))
        if source is None:
            raise InputError(f"{printable(path)} is not a video that can be read")
        colours, problems = colours_for_each([source], frames_dir, chosen, device)
        write_record(chosen.results_dir, description, since, settings(chosen))
        form = form_of(read_row(Path(chosen.results_dir, f"{source.id}.json"))) or chosen.save_maps
        output = Output(chosen.results_dir, description, since,
                        flow_dir=flow_dir if chosen.of_available else None, save_maps=form)
        start = time.perf_counter()
        for results, problem in predict_sources([source], colours, predictor_of(model, chosen, device), output):
            if not results.complete:
                raise InputError("\n".join([*problems, problem]))
            write_record(chosen.results_dir, description, since, settings(chosen), results.written,
                         time.perf_counter() - start)
            return Path(chosen.results_dir), results.row, source


def check_maps(path, chosen, description):
    """What `results.check_results` returns. Where it refuses, and there are maps of this video, it says how to use
    them."""
    try:
        return check_results(chosen.results_dir, description, chosen.overwrite)
    except InputError as problem:
        own = [identity for identity, row in read_rows(chosen.results_dir).items()
               if (row["video"], row.get("bytes")) == (title_of(path), path.stat().st_size)]
        hint = f"; --source={Path(chosen.results_dir, own[0])} takes the maps that are there" if own else ""
        raise InputError(f"{problem}{hint}") from None


def find_source(chosen, is_wanted):
    """The first source in videos_folder for which is_wanted(source), or None. chosen: settings."""
    sources = list_sources(chosen, True) if Path(chosen.videos_folder).is_dir() else []
    return next((source for source in sources if is_wanted(source)), None)


def recorded(results_dir, row):
    """(the folder of results, the row of a video in it, its source). Raises InputError where the video is no longer
    there, or is another one."""
    made_by, made_from = read_record(results_dir)["made_by"], row.get("made_from")
    content = made_from.get("source") if isinstance(made_from, dict) else None
    given = {name: made_by[name] for name in ("stereo_layout", "projection") if isinstance(made_by.get(name), str)}
    for folder in (made_by.get("videos_folder"), config.videos_folder):
        chosen = merged(config, {**given, "videos_folder": str(folder), "results_dir": str(results_dir)})
        with suppress(InputError):  # there are no videos any more; perhaps they were moved
            source = find_source(
                chosen, lambda source: source.title == row["video"] and content_of(source.path) == content)
            if source:
                return results_dir, row, source
    raise InputError(f"{row['video']}, which {results_dir / row['id']} was made from, is no longer in "
                     f"{made_by.get('videos_folder')}, or was changed; set videos_folder to where it is")


def list_tasks(source):
    """Functions that each give (folder of results, row, source) of a video, for the setting `source`."""
    path = Path(source)
    if (path / "run.json").is_file():
        if not read_record(path) or not (rows := read_rows(path)):
            raise InputError(f"{source} holds no maps that inference.py finished")
        return [partial(recorded, path, row) for row in rows.values()]
    for file in (path.parent / f"{path.name}.json", Path(config.results_dir, f"{path.name}.json")):
        if (row := read_row(file)) and read_record(file.parent) and (path.is_dir() or not path.exists()):
            return [partial(recorded, file.parent, row)]
    if not path.is_file():
        what = "is no folder of results: it has no run.json" if path.is_dir() else "does not exist"
        raise InputError(f"{printable(source)} {what}; source is a video file, a folder that inference.py wrote, or an "
                         "ID in it")
    return [partial(predicted, path)]


# ------------------------------------------------------------------------------------------------------------ one film


def record_of(path):
    """The file that says what a film was made from."""
    return path.with_name(f"{path.name}.json")


def is_there(path, made_from, overwrite):
    """Whether the film is there already, as it would be made now. Raises InputError if another file would be lost."""
    record, noted = read_json(record_of(path)), record_of(path).exists()
    if noted and "film" not in record:
        raise InputError(f"{record_of(path)} exists and is not of reframe.py; choose another film_file")
    if not path.exists():
        return False
    is_ours = path.is_file() and record.get("film") == fingerprint(path)
    if not is_ours and not overwrite:
        raise InputError(f"{path} exists and was not made by reframe.py, or was changed since; choose another "
                         "film_file, or --overwrite=True to replace it")
    return is_ours and not overwrite and record.get("made_from") == made_from


def make_film(task):
    """Makes the film of a video. Raises InputError where it cannot be made, or where the video is damaged, after it was
    made of what could be read."""
    results_dir, row, source = task()
    source = source.video or source     # all frames of the video, where its maps come from frames that were extracted
    path = Path(config.film_file or results_dir / f"{row['id']}_film.mp4")
    check_outputs({"film_file": path}, {"the video": source.path, "inference_model": config.inference_model})
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; film_file goes there")
    camera = Camera(SIZE, config.field_of_view, config.top_speed, config.calm)
    made_from = {"maps": row.get("made_from"), "content": content_of(source.path), "sound": config.sound,
                 **camera._asdict(), "size": list(SIZE)}
    if is_there(path, made_from, config.overwrite):
        print(f"{source.name}: the film {path} is there already")
    else:
        maps = np.stack([reduced(levels) for levels in read_maps(results_dir, row)])
        clear_partials(path.parent)
        start, count = time.perf_counter(), source.count
        with tqdm(total=count, unit="frame", desc=f"{row['id']} cuts") as bar:
            cuts = cuts_of(source, bar.update)
        shots = plan(maps, row["times"], row["end"], cuts, camera)
        with tqdm(total=count, unit="frame", desc=f"{row['id']} film") as bar:
            taken = write_film(path, source, shots, camera, config.sound, bar.update)
        record = {"format": FORMAT, "film": fingerprint(path), "made_from": made_from, "cuts": cuts,
                  "columns": ["time", "latitude", "longitude"], "camera": taken}
        write_text(record_of(path), json.dumps(record) + "\n")
        count, seconds = len(taken), time.perf_counter() - start
        print(f"{source.name}: film {path}, {count} frames in {seconds:.1f} s ({count / seconds:.1f} frames/s)")
    if row.get("problem"):
        raise InputError(row["problem"])


def main(argv):
    configure(config, argv)
    tasks = list_tasks(config.source)
    if config.film_file and len(tasks) > 1:
        raise InputError(f"{config.source} holds {len(tasks)} videos, and film_file is one file; choose one of them, "
                         f"with --source={config.source}/ID, or leave film_file out")
    report_together(partial(make_film, task) for task in tasks)


if __name__ == "__main__":
    run(main)
