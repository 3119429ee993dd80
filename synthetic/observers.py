"""A synthetic data set, laid out as VR-EyeTracking: small videos, and the gaze of observers who follow what moves.

Observers are attracted by things that move *and* are colourful. There are also grey things that move and colourful
things at rest, so a model has to use frames and flow. At times observers look around near the equator.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from files import write_text
from synthetic.camera import camera_path, near_equator, rotation, turn
from synthetic.landscape import EYE
from synthetic.scene import Scene, Thing, forest
from synthetic.shapes import PAINT, ball, balloon, runner, walker
from video.encode import write_video

FPS = 24
FIRST_NAME, NAME_STEP = 501, 2  # of the videos: no name is the number that frames_extraction would give another video
DATE = "_2017-10-13-10-28"      # in the names of recordings, where VR-EyeTracking has the time of recording
EQUATOR_BIAS = np.radians(10)                                            # of observers who look around
COLOURFUL = (PAINT.red, PAINT.orange, PAINT.yellow, PAINT.magenta)


def random_scene(rng, height, width):
    """A landscape with two or three things that attract observers (colourful and moving), and two to four that do not
    (moving but grey, or colourful but at rest)."""
    things = forest(rng, rng.integers(5, 14))
    attractors, distractors = rng.integers(2, 4), rng.integers(2, 5)
    for number in range(attractors + distractors):
        attracts = number < attractors
        moves = attracts or number % 2 == 0
        colour, other = (COLOURFUL[rng.integers(4)], PAINT.white) if attracts or not moves else (PAINT.grey, PAINT.dark)
        kind = [walker, runner, ball, balloon][rng.integers(4)]
        lon, side = rng.uniform(-np.pi, 0), rng.choice([-1, 1])             # on the land side, passing the camera
        outward, sideways = np.array([np.cos(lon), np.sin(lon), 0]), np.array([-np.sin(lon), np.cos(lon), 0])
        if kind is balloon:
            distance, base, size, speed = rng.uniform(26, 45), rng.uniform(3, 14), 18, rng.uniform(2.5, 5)
            colours = (colour, other, colour)
        else:
            distance, base, speed = rng.uniform(2.8, 5), -EYE, rng.uniform(0.7, 1.6)
            size, colours = (1.2, (colour, other)) if kind is ball else (1.75, (colour, PAINT.dark, PAINT.brown))
        velocity = side * speed * sideways * moves
        position = distance * outward - 4 * velocity + (0, 0, base)
        things.append(Thing(kind, tuple(position), tuple(velocity), size, colours, phase=rng.uniform(0, 1),
                            attracts=attracts))
    sun = (np.cos(azimuth := rng.uniform(-np.pi, np.pi)), np.sin(azimuth), rng.uniform(0.15, 0.9))
    return Scene(height, width, sun, things, seed=int(rng.integers(1 << 20)))


def approach(vectors, goals, step):
    """The unit vectors (..., 3), moved along great circles towards `goals` by at most `step` radians (number or
    (...))."""
    angle = np.arccos(np.clip((vectors * goals).sum(-1), -1, 1))
    fraction = np.minimum(1, step / np.maximum(angle, 1e-9))
    sine = np.maximum(np.sin(angle), 1e-9)[..., None]
    moved = (np.sin((1 - fraction) * angle)[..., None] * vectors + np.sin(fraction * angle)[..., None] * goals) / sine
    moved = np.where(angle[..., None] < 1e-6, goals, moved)
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)


def watch(rng, targets, observers):
    """The gaze and head directions, (T, O, 3) each, of O observers of moving targets (T, N, 3), all unit vectors.

    Each observer follows one target, 0.1 to 0.3 s late. Every 1.5 s on average, the observer turns to another target,
    rather to a near one, or looks around near the equator. The gaze moves at most 300 degrees per second and wanders by
    1.5 degrees; the head follows it slowly.
    """
    T, N = targets.shape[:2]
    lag = np.round(rng.uniform(0.1, 0.3, observers) * FPS).astype(int)
    gaze = head = near_equator(rng, rng.uniform(-np.pi, np.pi, observers), EQUATOR_BIAS)
    around, choice, drift = gaze.copy(), np.full(observers, N), np.zeros((observers, 3))
    gazes, heads = [], []
    for t in range(T):
        seen = targets[np.maximum(t - lag, 0)]                                                     # (O, N, 3)
        for observer in np.flatnonzero(rng.random(observers) < (1 if t == 0 else 1 / (1.5 * FPS))):
            far = np.arccos(np.clip(seen[observer] @ gaze[observer], -1, 1))
            appeal = np.append(np.exp(-far / np.radians(60)), 0)
            appeal[N] = 0.15 * appeal.sum() + 1e-3                                                 # looking around
            choice[observer] = rng.choice(N + 1, p=appeal / appeal.sum())
            lon = np.arctan2(gaze[observer, 1], gaze[observer, 0]) + np.radians(60) * rng.standard_normal(1)
            around[observer] = near_equator(rng, lon, EQUATOR_BIAS)[0]
        candidates = np.concatenate([seen, around[:, None]], axis=1)
        gaze = approach(gaze, candidates[np.arange(observers), choice], np.radians(300) / FPS)
        drift = 0.8 * drift + 0.6 * np.radians(1.5) * rng.standard_normal((observers, 3))
        head = approach(head, gaze, np.arccos(np.clip((head * gaze).sum(-1), -1, 1)) * 3 / FPS)
        recorded = gaze + drift
        gazes.append(recorded / np.linalg.norm(recorded, axis=-1, keepdims=True))
        heads.append(head)
    return np.array(gazes), np.array(heads)


def gaze_lines(gaze, head):
    """One observer's recording, directions (T, 3) each, as text in VR-EyeTracking's format. Its columns: a label, the
    frame's number from 1, a label, head x and y, a label, gaze x and y; x and y are fractions of the panorama from its
    bottom-left corner."""
    def fractions(vectors):
        lat = np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1]))
        return np.arctan2(vectors[:, 1], vectors[:, 0]) / (2 * np.pi) + 0.5, lat / np.pi + 0.5

    rows = zip(*fractions(head), *fractions(gaze))
    return "".join(f"frame,{number},forward,{head_x:.7f},{head_y:.7f},eye,{gaze_x:.7f},{gaze_y:.7f}\n"
                   for number, (head_x, head_y, gaze_x, gaze_y) in enumerate(rows, start=1))


def write_recording(folder, name, rng, observers, seconds, height):
    """Writes Gaze_txt_files/pNNN/NAME._DATE_ori_0.txt for every observer, and last videos/NAME.mp4."""
    times = np.arange(round(seconds * FPS)) / FPS
    scene = random_scene(rng, height, 2 * height)
    moving_camera = rng.random() < 0.5
    cameras = camera_path(rng, times, rotation((0, 0, 1), rng.uniform(-np.pi, np.pi)), (0, 0, 1),
                          moving_camera * np.radians(rng.uniform(-8, 8)), moving_camera * np.radians(1.5))
    targets = np.array([[camera @ thing.middle(time) for thing in scene.things if thing.attracts]
                        for camera, time in zip(cameras, times)])
    targets /= np.linalg.norm(targets, axis=-1, keepdims=True)
    gaze, head = watch(rng, targets, observers)
    for observer in range(observers):
        path = folder / "Gaze_txt_files" / f"p{observer + 1:03d}" / f"{name}.{DATE}_ori_0.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, gaze_lines(gaze[:, observer], head[:, observer]))
    frames = (turn(scene.render(time), camera) for camera, time in zip(cameras, times))
    write_video(folder / "videos" / f"{name}.mp4", frames, FPS)


def write_dataset(folder, videos, observers, seconds, height, seed):
    """Writes as many videos of `seconds`, height x 2 height pixels, 24 frames a second, with recordings, and the split
    files train.txt and test.txt (the last quarter). Names are 501, 503, ..., with gaps as VR-EyeTracking's have. Videos
    that are there already are kept."""
    folder = Path(folder)
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    names = [f"{FIRST_NAME + NAME_STEP * number:03d}" for number in range(videos)]
    for number, name in enumerate(tqdm(names, desc="dataset", unit="video")):
        if not (folder / "videos" / f"{name}.mp4").exists():
            write_recording(folder, name, np.random.default_rng((seed, number)), observers, seconds, height)
    held_out = max(1, videos // 4)
    write_text(folder / "train.txt", ",".join(names[:-held_out]) + "\n")
    write_text(folder / "test.txt", ",".join(names[-held_out:]) + "\n")
