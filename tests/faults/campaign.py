"""Random faults and what must hold after each: the result is that of a run without the fault, byte for byte, or the run
is refused in clear lines; there is no traceback and no hang, and nothing of the user's is lost."""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import torch
from processes import Script

from files import list_images, write_image
from kernels import cpu
from model import SST_Sal, save_model
from video.encode import write_video

LIMIT = 60      # seconds that a run may take
SMALL = ["--resolution=(12, 16)", "--num_workers=0", "--sequence_length=3", "--overlap=1", "--device=cpu"]
ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Failure(Exception):
    """What must hold did not."""


# -------------------------------------------------------------------------------------------------------------- running


def run(script, folder, arguments, end=None, after=0.0, limit=LIMIT):
    """Runs a script in `folder`: (exit code, what it printed). end: a signal that it gets after so many seconds. Raises
    Failure for a hang or a traceback."""
    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    process = Script(f"{script}.py", *arguments, cwd=folder, log=log)
    while not log.exists() and process.poll() is None:  # until the script begins
        time.sleep(0.002)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after if end else limit)
    if end:
        process.send_signal(end)
        with suppress(subprocess.TimeoutExpired):
            process.wait(limit)
    if process.poll() is None:
        process.send_signal(signal.SIGUSR1)  # it prints where its threads are
        time.sleep(1)
        process.kill()
        process.wait()
        raise Failure(f"{script} hangs: {log.read_text(errors='replace')[-4000:]}")
    code, text = process.returncode, log.read_text(errors="replace")
    if "Traceback" in text or code not in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        raise Failure(f"{script} {arguments} ended with {code}: {text[-1500:]}")
    if code == 1 and "error: " not in text:
        raise Failure(f"{script} {arguments} does not say what is wrong: {text[-500:]}")
    return code, text


# ------------------------------------------------------------------------------------------------------------- material


def frames_of(count, seed):
    """Frames (32, 64, 3), smooth noise that drifts."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 256, (8, 16, 3), np.uint8), (64, 32))
    return [np.roll(scene, 2 * k, axis=1) for k in range(count)]


def new_video(path, rng):
    write_video(path, frames_of(rng.randint(6, 30), rng.randrange(10**6)), 8)


def make_videos(folder, rng):
    (folder / "videos").mkdir()
    for name in ("a", "b"):
        new_video(folder / "videos" / f"{name}.mp4", rng)
    torch.manual_seed(0)
    for channels in (3, 6):
        save_model(SST_Sal(channels, 2, "exact", latitude=True), folder / f"model{channels}.pth", {})


def ways(rng):
    """The arguments of a random way to predict."""
    flow = rng.random() < 0.4
    return [*SMALL, "--videos_folder=videos", f"--of_available={flow}", "--flow_method=dis", "--viewer=False",
            f"--inference_model=model{6 if flow else 3}.pth", f"--save_frames={rng.random() < 0.4}",
            f"--overlay={rng.random() < 0.5}", f"--save_maps={rng.choice(('png', 'png', 'npy', 'both'))}"]


def maps_by_video(results, form):
    """{video: the bytes of its maps} of a folder of results, in the form that save_maps says."""
    found = {}
    for row in results.glob("*.json"):
        if row.name != "run.json":
            images = list_images(results / row.stem) if (results / row.stem).is_dir() and form != "npy" else []
            exact = [results / f"{row.stem}_maps.npy"] if form != "png" else []
            found[json.loads(row.read_text())["video"]] = [
                path.read_bytes() for path in images + exact if path.exists()]
    return found


def require_equal(folder, arguments):
    """Raises Failure unless results/ holds what a fresh run of the same arguments gives."""
    shutil.rmtree(folder / "fresh", ignore_errors=True)
    code, text = run("inference", folder, [*arguments, "--results_dir=fresh"])
    form = next(argument for argument in arguments if argument.startswith("--save_maps=")).partition("=")[2]
    expected, ours = maps_by_video(folder / "fresh", form), maps_by_video(folder / "results", form)
    for video in sorted(expected):
        if ours.get(video) != expected[video]:
            same = sum(a == b for a, b in zip(ours.get(video, []), expected[video]))
            raise Failure(f"{video}: {same} of {len(expected[video])} maps are those of a fresh run, of "
                          f"{len(ours.get(video, []))} there; {arguments} {text[-300:]}")
    if left := [path for path in folder.rglob("*.partial") if "fresh" not in path.parts]:
        raise Failure(f"partial files are left: {left}")


# ----------------------------------------------------------------------------------------------------------- the groups


def kills(folder, rng):
    """Inference is ended once or more at random moments, and started again."""
    make_videos(folder, rng)
    arguments = ways(rng)
    for _ in range(rng.randint(1, 3)):
        run("inference", folder, arguments, rng.choice(ENDS), rng.uniform(0.0, 1.5))
    code, text = run("inference", folder, arguments)
    if code:
        raise Failure(f"{arguments} is refused after a kill: {text[-500:]}")
    require_equal(folder, arguments)


def edit_videos(folder, rng):
    """One random edit of what the user has, or of what a run left."""
    videos = sorted((folder / "videos").glob("*.mp4"))
    path, other = rng.choice(videos), rng.choice(videos)
    results, frames = folder / "results", folder / "videos" / "frames"
    kept = [*results.glob("*.json"), *results.glob("*/*.png"), *results.glob("*_maps.npy"), *frames.glob("*/*.png"),
            *frames.glob("*.csv"), *(folder / "videos" / "optical_flow").glob("*/*.png")]
    choice = rng.randrange(11)
    if choice == 0:
        new_video(path, rng)
    elif choice == 1:
        path.rename(path.with_name(f"{rng.choice('0cz')}.mp4"))
    elif choice == 2 and path != other:
        path.rename(folder / "swap.mp4")
        other.rename(path)
        (folder / "swap.mp4").rename(other)
    elif choice == 3 and len(videos) > 1:
        path.unlink()
    elif choice == 4:
        new_video(folder / "videos" / f"{rng.choice('0cz')}.mp4", rng)
    elif choice == 5:
        stat = path.stat()
        new_video(path, rng)
        os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    elif choice == 6:
        when = rng.choice([0, 2**32 + 10**8])
        for each in [path, *kept]:
            os.utime(each, (when, when))
    elif choice == 7 and kept:
        rng.choice(kept).unlink()
    elif choice == 8:
        written = [each for each in kept if results in each.parents]
        if len(written) > 1:
            first, second = rng.sample(written, 2)
            first.write_bytes(second.read_bytes())
    elif choice == 9:
        maps = [*results.glob("*/*.png"), *results.glob("*_maps.npy")]
        if maps:
            chosen = rng.choice(maps)
            chosen.write_bytes(chosen.read_bytes()[:rng.randrange(60)])
    return choice


def edits(folder, rng):
    """Between two runs something is replaced, renamed, swapped, deleted, cut short, dated or set otherwise."""
    make_videos(folder, rng)
    arguments = ways(rng)
    run("inference", folder, arguments, *((rng.choice(ENDS), rng.uniform(0.2, 1.0)) if rng.random() < 0.3 else ()))
    for _ in range(rng.randint(1, 2)):
        edit_videos(folder, rng)
        if rng.random() < 0.25:
            arguments = ways(rng)
    code, _ = run("inference", folder, arguments)
    if code == 0:
        require_equal(folder, arguments)


def mutated(data, rng):
    """The bytes with a few of them changed, cut or repeated."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        position = rng.randrange(len(data) + 1)
        choice = rng.randrange(4)
        if choice == 0 and data:
            data[position % len(data)] = rng.randrange(256)
        elif choice == 1:
            del data[position:]
        elif choice == 2:
            odd = [b"..", b"/", b"-1", b"9" * 30, b"\x00", b"\xff", b"[" * 3000, b"NaN"]
            data[position:position] = rng.choice(odd)
        else:
            data[position:position + 3] = b""
    return bytes(data)


def mutated_field(text, rng):
    """A JSON text in which one value is another one, or missing."""
    value = json.loads(text)
    name = rng.choice(sorted(value))
    if rng.random() < 0.3:
        del value[name]
    else:
        odd = [None, [], {}, "..", "../../x", -1, 10**30, 1.5, True, "", "é" * 300, [[[]]], {"a": 1}]
        value[name] = rng.choice(odd)
    return json.dumps(value).encode()


def mutations(folder, rng):
    """A file that is read is damaged."""
    make_videos(folder, rng)
    (folder / "precious").mkdir()
    (folder / "precious" / "a.txt").write_text("keep me")
    arguments = ways(rng)
    run("inference", folder, arguments)
    videos, results = folder / "videos", folder / "results"
    files = [*results.glob("*.json"), *videos.glob("frames/*.csv"), *videos.glob("frames/*.json"),
             *videos.glob("*.mp4"), *folder.glob("model*.pth"), *videos.glob("*/*/*.png"),
             *videos.glob("optical_flow/.*.made")]
    path = rng.choice(files)
    whole = path.read_bytes()
    damaged = mutated_field(whole, rng) if path.suffix == ".json" and rng.random() < 0.6 else mutated(whole, rng)
    path.write_bytes(damaged)
    code, text = run("inference", folder, arguments)
    if (folder / "precious" / "a.txt").read_text() != "keep me":
        raise Failure("a file of the user is lost")
    if path.suffix == ".pth" and path.name in str(arguments) and code == 0 and whole != damaged:
        require_equal(folder, arguments)


def make_training(folder, rng):
    """A data set of two videos, with gaze."""
    for video in ("000", "001"):
        for number, frame in enumerate(frames_of(8, rng.randrange(10**6))):
            path = folder / "data" / "frames" / video / f"{video}_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, frame)
    lines = ["video,frame,longitude,latitude"]
    lines += [f"{video},{frame},{rng.uniform(-180, 180):.2f},{rng.uniform(-60, 60):.2f}"
              for video in ("000", "001") for frame in range(8) for _ in range(3)]
    (folder / "data" / "gaze").mkdir()
    (folder / "data" / "gaze" / "table.csv").write_text("\n".join(lines) + "\n")
    (folder / "split.txt").write_text("000,001\n")


TRAIN = ["--of_available=False", "--videos_train_file=split.txt", "--resolution=(12, 16)", "--sequence_length=3",
         "--overlap=1",
         "--skip_frames=0", "--epochs=3", "--hidden_dim=2", "--optimizer=adam", "--lr=0.01", "--num_workers=0",
         "--picture_interval=0", "--device=cpu", "--validation_split=0.5"]


def training(folder, rng):
    """Gaze, training and evaluation are ended at random moments and started again: the model is the same."""
    make_training(folder, rng)
    if rng.random() < 0.5:
        run("gaze", folder, ["--resolution=(12, 16)"], rng.choice(ENDS), rng.uniform(0, 0.5))
    code, text = run("gaze", folder, ["--resolution=(12, 16)"])
    if code:
        raise Failure(f"gaze.py: {text[-500:]}")
    run("train", folder, [*TRAIN, "--models_dir=expected", "--runs_data_dir=other"])
    arguments = TRAIN
    for _ in range(rng.randint(1, 3)):
        run("train", folder, arguments, rng.choice(ENDS), rng.uniform(0.1, 3))
        if saved := sorted(folder.glob("runs/*/last.pt")):
            arguments = [f"--resume={saved[-1].relative_to(folder)}"]
    code, text = run("train", folder, arguments)
    ours, expected = folder / "models" / "SST-Sal.pth", folder / "expected" / "SST-Sal.pth"
    if code or not ours.is_file():
        raise Failure(f"train.py {arguments}: {text[-800:]}")
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (ours, expected)]
    if not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1]):
        raise Failure(f"the model is not that of an uninterrupted run: {arguments}")
    table = ["--videos_test_file=split.txt", *SMALL, "--of_available=False", "--inference_model=models/SST-Sal.pth"]
    if rng.random() < 0.5:
        run("evaluate", folder, table, rng.choice(ENDS), rng.uniform(0, 2))
    code, text = run("evaluate", folder, table)
    if code:
        raise Failure(f"evaluate.py: {text[-500:]}")


def warm_up():
    """Compiles the kernels, if they have not been, so that no run waits for them."""
    cpu.are_compiled(True) or cpu.compile_ahead(True)


GROUPS = {"kills of inference": kills, "edits between runs": edits, "damaged files": mutations,
          "kills of gaze, training, evaluation": training}


def attempt(group, seed):
    """One fault of a group: what was wrong, or None."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        GROUPS[group](folder, random.Random(f"{group} {seed}"))
    except Failure as failure:
        return str(failure)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None
