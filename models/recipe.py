"""Makes the two models of this folder, from material of your own to the weights (models/README.md, models/LOG.md).

    python models/recipe.py STILLS VIDEOS SST_Sal.pth SST_Sal_wo_OF.pth FOLDER               the whole recipe
    python models/recipe.py STILLS VIDEOS SST_Sal.pth SST_Sal_wo_OF.pth FOLDER --scale=0.01  a trial with few clips

STILLS: a folder of equirectangular photographs; VIDEOS: one of 360° videos, which the training uses in full at
every scale; then the authors' two models, the teachers. All that is made goes to FOLDER, in the end SST_Sal.pth and
SST_Sal_wo_OF.pth. What is there already is kept: started again, an interrupted run goes on where it stopped.
"""

import argparse
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from errors import run  # noqa: E402
from files import list_folders, list_images, read_image, replacing, write_image, write_text  # noqa: E402
from model import load_model, save_model  # noqa: E402
from models import distillation  # noqa: E402
from video import image_cache  # noqa: E402
from video.decode import list_videos  # noqa: E402

CLIPS, FINE_CLIPS = 1360, 540  # rendered; of them and the videos, for the stages at full size
DISTILLED_CLIPS = 206          # rendered ones that the model with flow is trained on, beside the videos
FRAMES = 20                    # of a clip: one window, which teacher and student begin from an empty state
ROWS = 256                     # of rendered frames
SMALL, MIDDLE, FULL = (60, 80), (120, 160), (240, 320)   # (height, width) of frames as the models take them


class Stage(NamedTuple):
    """One run of train.py, for the model without flow; models/distillation.py makes the other."""

    name: str
    size: tuple                 # (height, width) of frames and maps
    lr: float
    init_from: str              # the stage whose weights it starts from; "" = random weights
    epochs: int = 1
    lr_schedule: str = "cosine"
    validation_split: float = 0
    targets: str = "flow"       # "flow": the maps of the teacher with flow; or one of MIXED
    seed: int = 0


# A map depends on a pixel's neighbourhood, in pixels, and on its latitude, so small frames teach nearly the same
# function as large ones at a sixteenth of the cost: training begins there. Seconds are for one clip and one epoch, in
# November 2026, on one core of an AMD EPYC (Zen 5), or of an Intel Xeon (Sapphire Rapids).
WITHOUT_FLOW = (Stage("a", SMALL, 0.005, "", 2, "constant", 0.02),      # 0.3 s, EPYC
                Stage("b", MIDDLE, 0.004, "a", validation_split=0.02),  # 1 s, EPYC
                Stage("c", FULL, 0.002, "b"),                           # 3.5 s, EPYC
                Stage("d", MIDDLE, 0.004, "c", 2, validation_split=0.02, targets="both"),   # 1.7 s, EPYC, two at a time
                Stage("i", MIDDLE, 0.003, "d", targets="sharpened"),                        # i to m: 1.1 to 1.5 s, Xeon
                Stage("j", MIDDLE, 0.004, "i", targets="sharpened", seed=4),
                Stage("k", MIDDLE, 0.004, "j", targets="sharpened", seed=31),
                Stage("l", MIDDLE, 0.004, "k", targets="sharpened", seed=41),
                Stage("m", MIDDLE, 0.004, "k", targets="sharpened", seed=42))
MIXED = {"both": (0.5, 1.0), "sharpened": (1.0, 1.15)}  # targets: (share of the teacher with flow, power)
AVERAGED = "dlm"  # the model without flow is the mean of these stages' weights


# ---------------------------------------------------------------------------------------------------------- arithmetic


def mixed_map(of_flow, of_frames, share, power):
    """A target: `share` of the first map and the rest of the second, each with the sum 1, to a power, with the maximum
    255. Maps are (H, W) uint8."""
    one, other = (saliency / max(1, saliency.sum(dtype=np.int64)) for saliency in (of_flow, of_frames))
    mixed = share * one + (1 - share) * other
    return np.uint8(255 * (mixed / max(mixed.max(), 1e-12)) ** power + 0.5)


def mean_model(models):
    """The first model with the mean of all the models' weights."""
    weights = [model.state_dict() for model in models]
    models[0].load_state_dict({name: sum(each[name] for each in weights) / len(weights) for name in weights[0]})
    return models[0]


# --------------------------------------------------------------------------------------------------------------- steps


def call(script, *settings):
    """Runs one of the project's scripts. Where it fails, this process ends with its exit code."""
    print(f"\n$ python {script}", *settings, flush=True)
    with subprocess.Popen([sys.executable, str(ROOT / script), *map(str, settings)]) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:  # the script hears it, too: it saves what it has and ends
                continue
    if process.returncode:
        sys.exit(process.returncode)


def make_material(stills, videos, folder, scale):
    """Makes frames and flow of rendered clips and of the videos, and the lists of them."""
    call("render.py", "material", stills, videos, folder, f"--clips={max(4, round(scale * CLIPS))}",
         f"--frames={FRAMES}", f"--height={ROWS}", "--seed=31")
    for video in list_videos(videos):
        if not (folder / video.name).exists():
            with replacing(folder / video.name) as partial:
                shutil.copyfile(video, partial)
    call("utils.py", "frames_extraction", folder)
    call("optical_flow.py", f"--videos_folder={folder}")
    names = [path.name for path in list_folders(folder / "frames")]
    random.Random(0).shuffle(names)
    write_text(folder / "all.txt", ",".join(names) + "\n")
    write_text(folder / "fine.txt", ",".join(names[:max(2, round(scale * FINE_CLIPS))]) + "\n")


def maps_folder(folder, targets, size):
    return folder / f"maps_{targets}_{size[0]}x{size[1]}"


def teach(folder, teacher, targets, size):
    """Makes a teacher's maps of all clips, without the seam of its published ones."""
    call("inference.py", f"--videos_folder={folder}", f"--inference_model={teacher}", "--geometry=released_wrap",
         f"--of_available={targets == 'flow'}", f"--resolution={size}", f"--sequence_length={FRAMES}", "--overlap=0",
         f"--results_dir={maps_folder(folder, targets, size)}", "--overlay=False", "--viewer=False")


def mix(folder, targets, size):
    """Makes targets of both teachers' maps: those of the teacher without flow know real videos, and what it makes of a
    frame can be learnt from any frame."""
    of_flow, of_frames, mixed = (maps_folder(folder, kind, size) for kind in ("flow", "frames", targets))
    for clip in list_folders(of_flow):
        (mixed / clip.name).mkdir(parents=True, exist_ok=True)
        for path in list_images(clip):
            target = mixed / clip.name / path.name
            if not target.exists():
                maps = (read_image(each / clip.name / path.name, cv2.IMREAD_GRAYSCALE) for each in (of_flow, of_frames))
                write_image(target, mixed_map(*maps, *MIXED[targets]))


def stage_settings(stage, folder):
    """What train.py is told in a stage of the model without flow."""
    start = folder / "models" / f"without_flow_{stage.init_from}.pth"
    return [f"--frames_dir={folder / 'frames'}", f"--gt_dir={maps_folder(folder, stage.targets, stage.size)}",
            f"--videos_train_file={folder / ('fine.txt' if stage.size == FULL else 'all.txt')}",
            "--of_available=False", f"--init_from={start if stage.init_from else ''}",
            f"--resolution={stage.size}", f"--sequence_length={FRAMES}", "--overlap=0", "--skip_frames=0",
            "--loss=proper_cc", "--optimizer=muon", "--clip_grad=10.0", f"--lr={stage.lr}", f"--epochs={stage.epochs}",
            f"--lr_schedule={stage.lr_schedule}", f"--validation_split={stage.validation_split}",
            f"--seed={stage.seed}", f"--model_name=without_flow_{stage.name}", f"--models_dir={folder / 'models'}",
            f"--runs_data_dir={folder / 'runs'}", f"--cache_dir={folder / 'cache'}"]


def train(stage, folder):
    """One stage, continued where it was interrupted; passed over when its model is there."""
    name = f"without_flow_{stage.name}"
    if not (folder / "models" / f"{name}.pth").exists():
        begun = sorted(folder.glob(f"runs/{name}_*/last.pt"))
        call("train.py", *([f"--resume={begun[-1]}"] if begun else stage_settings(stage, folder)))


def clips_to_distil(folder, scale):
    """(frames, flow) of the first rendered clips and of the videos: (T, H, W, 3) uint8 at full size, in files."""
    passed_over = {f"{number:04d}" for number in range(max(1, round(scale * DISTILLED_CLIPS)), CLIPS)}
    images = [(list_images(folder / kind / clip.name), cv2.IMREAD_COLOR) for clip in list_folders(folder / "frames")
              if clip.name not in passed_over for kind in ("frames", "optical_flow")]
    arrays = [image_cache.open_array(path) for path in image_cache.build(images, FULL, folder / "cache", 2)]
    return list(zip(arrays[::2], arrays[1::2]))


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("stills", "videos", "teacher", "teacher_without_flow", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recipe's clips and steps")
    options = parser.parse_args(argv)
    folder = options.folder
    make_material(options.stills, options.videos, folder, options.scale)
    clips = clips_to_distil(folder, options.scale)
    teacher = load_model(options.teacher, "cpu", distillation.GEOMETRY)
    save_model(distillation.distilled(teacher, clips, folder, options.scale), folder / "SST_Sal.pth", {})
    for size in (SMALL, MIDDLE, FULL):
        teach(folder, options.teacher, "flow", size)
    teach(folder, options.teacher_without_flow, "frames", MIDDLE)
    for targets in MIXED:
        mix(folder, targets, MIDDLE)
    for stage in WITHOUT_FLOW:
        train(stage, folder)
    models = [load_model(folder / "models" / f"without_flow_{name}.pth", "cpu") for name in AVERAGED]
    save_model(mean_model(models), folder / "SST_Sal_wo_OF.pth", {})
    print(f"\nthe models are {folder / 'SST_Sal.pth'} and {folder / 'SST_Sal_wo_OF.pth'}")


if __name__ == "__main__":
    run(main)
