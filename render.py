"""Renders the project's own material: its sample clip, a synthetic data set, training clips from stills.

    python render.py sample FILE.mp4               the clip in data/videos
    python render.py dataset FOLDER                small videos and gaze recordings, laid out as VR-EyeTracking
    python render.py material SOURCE... FOLDER     equirectangular stills and videos (or folders of them) -> short clips

The seed decides everything. An interrupted command continues where it stopped. Options: --help.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from files import list_images, write_text
from provenance import check_outputs
from synthetic.landscape import EYE
from synthetic.material import write_material
from synthetic.observers import write_dataset
from synthetic.scene import STILL, Scene, Thing, forest
from synthetic.shapes import PAINT, balloon, bird, house, runner, sailboat, walker
from video.decode import list_videos
from video.encode import write_video
from video.projection import PROJECTIONS
from video.unused import unused_files

SAMPLE_HEIGHT, SAMPLE_FPS, SAMPLE_SECONDS = 512, 24, 6


def sample_scene(height, width):
    """The scene of data/videos/sample.mp4: a meadow by a lake. The walker in red crosses the seam."""
    things = [Thing(balloon, (46, -14, 10), (0, 1.6, 0.5), 18, (PAINT.red, PAINT.white, PAINT.yellow)),
              Thing(balloon, (-36, -36, 24), (1.3, 1.3, 0.2), 17, (PAINT.blue, PAINT.yellow, PAINT.red)),
              Thing(balloon, (-24, 90, 28), (-2.5, 0, 0.2), 18, (PAINT.green, PAINT.white, PAINT.red)),
              Thing(walker, (-4.2, 4.4, -EYE), (0, -1.45, 0), 1.75, (PAINT.red, PAINT.denim, PAINT.brown)),
              Thing(runner, (5, -6.3, -EYE), (0.4, 2.2, 0), 1.75, (PAINT.yellow, PAINT.dark, PAINT.blond)),
              Thing(sailboat, (14, 40, -EYE), (-1.5, 0, 0), 9, (PAINT.white, PAINT.white, (0.20, 0.20, 0.65))),
              Thing(sailboat, (-40, 60, -EYE), (1.2, 0, 0), 9, (PAINT.orange, PAINT.white, PAINT.blue)),
              Thing(house, (44, -7, -EYE), STILL, 7, ((0.85, 0.90, 0.93), (0.20, 0.28, 0.62)))]
    for k in range(6):
        start = (15 - 2 * abs(k - 2.5), -26 + 3 * (k - 2.5), 13 + 0.5 * (k % 3))
        things.append(Thing(bird, start, (0.6, 5.5, 0.3), 1.7, (PAINT.dark,), phase=0.13 * k))
    things += forest(np.random.default_rng(4), 22)
    return Scene(height, width, (0.55, 0.8, 0.30), things, seed=7)


def sample(options):
    """Writes the sample clip."""
    if options.file.exists():
        raise InputError(f"{options.file} exists; delete it, or choose another file")
    scene = sample_scene(SAMPLE_HEIGHT, 2 * SAMPLE_HEIGHT)
    times = np.arange(SAMPLE_SECONDS * SAMPLE_FPS) / SAMPLE_FPS
    options.file.parent.mkdir(parents=True, exist_ok=True)
    write_video(options.file, (scene.render(time) for time in tqdm(times, desc="sample", unit="frame")), SAMPLE_FPS)


def claim(folder, made_with):
    """Makes the folder and writes into it what it is made with. Raises InputError if it was made with other options, or
    holds what was not made here."""
    folder.mkdir(parents=True, exist_ok=True)
    note, text = folder / "render.json", json.dumps(made_with, indent=1) + "\n"
    if not note.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files that were not rendered; choose a new folder")
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} was made with other options ({note}); choose another folder or delete this one")
    write_text(note, text)


def dataset(options):
    """Writes the synthetic data set."""
    if options.height % 2:
        raise InputError(f"--height must be even (H.264 videos are), got {options.height}")
    made_with = {name: getattr(options, name) for name in ("observers", "seconds", "height", "seed")}
    claim(options.folder, made_with)
    write_dataset(options.folder, options.videos, **made_with)


def material(options):
    """Writes training clips of a camera that moves through stills and videos."""
    sources = [source for path in options.sources
               for source in (list_images(path) + list_videos(path) if path.is_dir() else [path])]
    if not sources:
        raise InputError(f"there are no images (.png, .jpg) or videos in {' '.join(map(str, options.sources))}")
    if options.height % 2:
        raise InputError(f"--height must be even (H.264 videos are), got {options.height}")
    check_outputs({"the folder to write": options.folder},
                  {f"the source {path.name}": path for path in options.sources}, alone=["the folder to write"])
    made_with = {name: getattr(options, name) for name in ("frames", "height", "seed")}
    projection = {"projection": options.projection} if options.projection else {}
    claim(options.folder, {"sources": [source.name for source in sorted(sources)], **made_with, **projection})
    write_material(sources, options.folder, options.clips, **made_with, **projection)
    if unused := [line for path in options.sources if path.is_dir() for line in unused_files(path)]:
        raise InputError("\n".join(unused))


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every script of the project does: with an InputError."""

    def error(self, message):
        raise InputError(f"{message} (python render.py --help)")


def at_least(least, kind=int):
    """A type for `add_argument`: numbers that are finite and at least `least`."""
    def number(text):
        if not least <= (value := kind(text)) < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return value

    number.__name__ = kind.__name__
    return number


def main(argv):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="sample|dataset|material")
    formatting = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter}

    command = commands.add_parser("sample", **formatting)
    command.add_argument("file", type=Path, help="video to write")
    command.set_defaults(make=sample)

    command = commands.add_parser("dataset", **formatting)
    command.add_argument("folder", type=Path, help="where videos, Gaze_txt_files and the split files go")
    command.add_argument("--videos", type=at_least(2), default=24, help="how many; a quarter of them for testing")
    command.add_argument("--observers", type=at_least(1), default=16, help="recordings of each video")
    command.add_argument("--seconds", type=at_least(0.5, float), default=7.5, help="length of each video")
    command.add_argument("--height", type=at_least(16), default=128, help="rows of a frame; columns are twice as many")
    command.add_argument("--seed", type=at_least(0), default=0)
    command.set_defaults(make=dataset)

    command = commands.add_parser("material", **formatting)
    command.add_argument("sources", type=Path, nargs="+", help="equirectangular stills and videos, or folders of them")
    command.add_argument("folder", type=Path, help="where frames/CLIP/CLIP_NUMBER.png go")
    command.add_argument("--clips", type=at_least(1), default=200, help="number of clips")
    command.add_argument("--frames", type=at_least(1), default=22, help="frames of a clip, 8 a second")
    command.add_argument("--height", type=at_least(16), default=320, help="rows of a frame; columns are twice as many")
    command.add_argument("--projection", choices=("", *PROJECTIONS), default="", help="of the videos; '' = the file's")
    command.add_argument("--seed", type=at_least(0), default=0)
    command.set_defaults(make=material)

    options = parser.parse_args(argv)
    options.make(options)


if __name__ == "__main__":
    run(main)
