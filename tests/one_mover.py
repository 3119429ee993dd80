"""A rendered clip of a meadow with one mover, for the virtual camera to follow; and how much of it is seen.

    python -m tests.one_mover FOLDER [--top_speed=40 ...]

renders the clip into FOLDER, makes the film with the model and the settings of config.py, or those given, and prints
how long the mover is in view.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reframing.view import half_extents  # noqa: E402
from synthetic.landscape import EYE  # noqa: E402
from synthetic.scene import Scene, Thing  # noqa: E402
from synthetic.shapes import PAINT, runner  # noqa: E402
from video.encode import write_video  # noqa: E402

# Runs past the camera and across the seam: up to 33 degrees a second, and more slowly at the beginning and at the end.
MOVER = Thing(runner, (-6, -12, -EYE), (0.2, 3.0, 0), 1.9, (PAINT.magenta, PAINT.magenta, PAINT.magenta))


def write_clip(path, height=512, fps=24, seconds=8):
    """Writes the clip, 2 height x height pixels."""
    scene = Scene(height, 2 * height, (0.55, 0.8, 0.30), [MOVER], seed=7)
    write_video(path, (scene.render(number / fps) for number in range(seconds * fps)), fps)


def seconds_in_view(record, field_of_view, size=(720, 1280)):
    """(the share of the film's frames in which the middle of the mover is in view, the camera's top speed, degrees a
    second). record: the file beside a film."""
    camera = np.array(json.loads(Path(record).read_text(encoding="utf-8"))["camera"])
    times, (lat, lon) = camera[:, 0], np.radians(camera[:, 1:].T)
    ahead = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    east = np.stack([-np.sin(lon), np.cos(lon), 0 * lon], axis=1)
    towards = np.stack([MOVER.middle(time) for time in times])
    depth, x, y = ((towards * axis).sum(axis=1) for axis in (ahead, east, np.cross(ahead, east)))
    up, right = half_extents(field_of_view, size)
    seen = (depth > 0) & (np.abs(x) < right * depth) & (np.abs(y) < up * depth)
    return seen.mean(), (np.hypot(*np.diff(camera[:, 1:], axis=0).T) / np.diff(times)).max()


def main(folder, *arguments):
    import config
    from settings import configure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder / "mover.mp4")
    configure(config, list(arguments))
    subprocess.run([sys.executable, str(ROOT / "reframe.py"), f"--source={folder / 'mover.mp4'}",
                    f"--results_dir={folder / 'results'}", *arguments], check=True)
    share, speed = seconds_in_view(folder / "results" / "000_film.mp4.json", config.field_of_view)
    print(f"in view {100 * share:.1f} % of the time; top speed {speed:.1f} degrees/s, set to {config.top_speed:g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
