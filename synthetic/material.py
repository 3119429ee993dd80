"""Training clips from stills and videos: a camera turns, drifts, shakes and moves inside an equirectangular photograph
or a running video, and things are pasted on the sphere that move along great circles."""

import io
import shutil
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
from tqdm import tqdm

from errors import InputError
from files import read_image, write_image
from sphere import directions
from synthetic.camera import camera_path, dolly, look_up, near_equator, rotation
from synthetic.noise import fractal_noise
from synthetic.scene import paint, shape_plane
from synthetic.shapes import PAINT, ball, balloon, bird, disc, runner, sailboat, walker
from video.decode import SAMPLES_PER_SECOND, is_video, sampled
from video.encode import Encoder

PALETTE = tuple(vars(PAINT).values())
RATES = (5, 6, 7.5, 10, 12, 15, 24, 25, 30, 60)  # frames a second of the files that clips stand for


def patch(rng, still):
    """A shape as in shapes.py: a crop of a still with a ragged outline."""
    centre = rotation((0, 0, 1), rng.uniform(-np.pi, np.pi)) @ rotation((0, 1, 0), rng.uniform(-0.9, 0.9)) @ (1, 0, 0)
    view, aspect, seed = np.tan(rng.uniform(0.05, 0.35)), rng.uniform(0.4, 1.6), int(rng.integers(1 << 20))
    east = np.cross((0, 0, 1), centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)

    def shape(u, v, time, colours):
        vectors = centre + 2 * view * (u[..., None] * east + (v[..., None] - 0.5) * north)
        edge = fractal_noise(np.stack([u, v, 0 * u], -1) * 4, 3, seed)
        return [(disc(u / aspect, v, (0, 0.5), 0.42) + 0.12 * edge, look_up(still, vectors.astype(np.float32)))]

    return shape


def blob(rng):
    """A shape as in shapes.py: a shaded blob of one colour, which may be light or dark."""
    colour, seed = rng.uniform(0.05, 0.95, 3), int(rng.integers(1 << 20))

    def shape(u, v, time, colours):
        noise = fractal_noise(np.stack([u, v, 0 * u + 0.4 * time], -1) * 3, 3, seed)
        shade = np.clip(0.8 + 0.5 * (v - 0.5) + 0.3 * noise, 0.2, 1.3)[..., None]
        return [(disc(u, v, (0, 0.5), 0.4) + 0.15 * noise, np.clip(colour * shade, 0, 1))]

    return shape


class Sticker:
    """A shape that moves along a great circle of a still, grows or shrinks, and may rest for a while first."""

    def __init__(self, rng, stills):
        kind, self.phase = rng.random(), rng.uniform(0, 10)
        self.colours = tuple(PALETTE[index] for index in rng.integers(len(PALETTE), size=3))
        if kind < 0.45:
            self.shape = patch(rng, stills[rng.integers(len(stills))])
        elif kind < 0.6:
            self.shape = blob(rng)
        else:
            self.shape = [walker, runner, walker, runner, ball, balloon, bird, sailboat][rng.integers(8)]
        lon = rng.uniform(-np.pi, np.pi)
        self.start = near_equator(rng, [lon], np.radians(14))[0]
        along = np.radians(25) * rng.standard_normal()                     # angle of the course from the horizontal
        east = np.array([-np.sin(lon), np.cos(lon), 0])
        self.course = np.cos(along) * east + np.sin(along) * np.cross(self.start, east)
        self.speed = np.radians(rng.gamma(1.5, 10)) * rng.choice([-1, 1])
        self.rests = rng.uniform(0, 2) if rng.random() < 0.3 else 0.0
        self.size = 2 * np.tan(np.radians(np.exp(rng.uniform(np.log(3), np.log(30)))) / 2)
        self.growth = 0.12 * rng.standard_normal()
        self.softness = rng.uniform(0.0, 0.12)

    def middle(self, time):
        """The unit vector of its middle in the still, `time` seconds after the shot began."""
        return rotation(np.cross(self.start, self.course), self.speed * max(0.0, time - self.rests)) @ self.start

    def draw(self, frame, middle, time):
        """Paints it on the frame, in place, with its middle in the direction `middle`."""
        size = self.size * np.exp(self.growth * time)
        box, u, v, in_front, pixel = shape_plane(middle, size, self.speed < 0, *frame.shape[:2])
        parts = self.shape(u, v, self.phase + time, self.colours)
        frame[box], _ = paint(frame[box], parts, max(self.softness, pixel), in_front)


class Grade:
    """The saturation, contrast, white balance and exposure of a shot; the exposure may drift."""

    def __init__(self, rng):
        self.gain, self.gamma = np.exp(0.15 * rng.standard_normal()), np.exp(0.15 * rng.standard_normal())
        self.balance = np.exp(0.06 * rng.standard_normal(3)).astype(np.float32)
        self.saturation = 0.0 if rng.random() < 0.03 else rng.uniform(0.5, 1.4)
        self.drift = 0.08 * rng.standard_normal() if rng.random() < 0.3 else 0.0

    def __call__(self, frame, time):
        grey = frame.mean(axis=-1, keepdims=True)
        frame = np.clip(grey + (frame - grey) * np.float32(self.saturation), 0, 1) ** np.float32(self.gamma)
        frame = frame * self.balance * np.float32(self.gain * np.exp(self.drift * time))
        return np.uint8(np.clip(frame, 0, 1) * 255 + 0.5)


def shot(rng, stills, videos, times, height):
    """Yields the frames, (height, 2 height, 3) uint8, at `times` seconds, of one camera that moves through one still or
    through a running video, with things pasted on. A video begins at a random frame and runs at its own speed or twice
    as fast; at its end it stands still."""
    times = times - times[0]
    if videos and (not stills or rng.random() < 0.5):
        video = videos[rng.integers(len(videos))]
        pace = int(rng.integers(1, 3))
        start = int(rng.integers(max(1, len(video) - pace * len(times) + 1)))
        indices = start + pace * np.rint(SAMPLES_PER_SECOND * times).astype(int)
        scenes = [np.float32(video[min(index, len(video) - 1)]) / 255 for index in indices]
    else:
        scenes = [stills[rng.integers(len(stills))]] * len(times)
    tripod, upright, tilt = rng.random() < 0.35, rng.random(), rng.uniform(-1, 1, 3)
    if upright < 0.5 or tripod:
        angle = 0.0
    elif upright < 0.9:
        angle = np.radians(8) * rng.standard_normal()
    else:
        angle = rng.uniform(0, np.pi)
    start = rotation(tilt, angle) @ rotation((0, 0, 1), rng.uniform(-np.pi, np.pi))
    speed = np.radians(rng.gamma(1.2, 9)) * rng.choice([-1, 1]) if rng.random() < 0.6 else 0.0
    axis = (0, 0, 1) if rng.random() < 0.6 else rng.standard_normal(3)
    shake = np.radians(rng.gamma(1.5, 1.5)) if rng.random() < 0.5 else 0.0
    advance = 0.12 * rng.standard_normal() if rng.random() < 0.5 else 0.0
    if tripod:
        speed = shake = advance = 0.0
    cameras = camera_path(rng, times, start, axis, speed, shake)
    towards = near_equator(rng, rng.uniform(-np.pi, np.pi, 1), np.radians(10))[0]
    stickers = [Sticker(rng, stills or scenes[:1]) for _ in range(rng.choice([0, 1, 2, 3, 4, 6]))]
    grade = Grade(rng)
    lens = 0.5 * rng.standard_normal() if rng.random() < 0.6 else 0.0  # makes one side larger, the other one smaller

    view = directions(height, 2 * height)
    for scene, camera, time in zip(scenes, cameras, times):
        beta = np.tanh(lens + advance * (time + 0.5))
        frame = look_up(scene, dolly(view @ camera.astype(np.float32), towards, -beta))
        for sticker in stickers:
            sticker.draw(frame, camera @ dolly(sticker.middle(time), towards, beta), time)
        yield grade(frame, time)


def source_times(rng, frames):
    """When the frames of a clip were taken, seconds: (frames,). They are sampled 8 times a second from a file with one
    of RATES, so their steps vary, and a frame of a slow file comes again."""
    rate = rng.choice(RATES)
    return np.floor(np.arange(frames) / SAMPLES_PER_SECOND * rate + rng.random()) / rate


def recorded(rng, frames, times):
    """Yields the frames, BGR uint8 of one even size, taken at `times` seconds, as a camera's file holds them: with the
    sensor's noise, encoded with H.264 in a random quality and decoded. Both leave traces in the flow, above all of a
    camera at rest."""
    noise, quality, file = max(0.0, rng.uniform(-3, 6)), int(rng.integers(15, 38)), io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        encoder = Encoder(container, frames[0].shape[:2], SAMPLES_PER_SECOND, crf=str(quality), bf="3", threads="1")
        for number, (frame, is_new) in enumerate(zip(frames, np.diff(times, prepend=-1) > 0)):
            if is_new:  # a frame that comes again has the same noise
                noisy = frame + noise * rng.standard_normal(frame.shape, np.float32)
            encoder.write(np.clip(noisy + 0.5, 0, 255).astype(np.uint8), number / SAMPLES_PER_SECOND)
        encoder.finish(len(frames) / SAMPLES_PER_SECOND)
    file.seek(0)
    with av.open(file) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


def write_clip(folder, name, stills, videos, rng, frames, height):
    """Writes frames/NAME/NAME_0000.png, ..., 8 frames a second. One clip in five has a cut."""
    times = source_times(rng, frames)
    cut = int(rng.integers(3, frames - 3)) if frames > 7 and rng.random() < 0.2 else frames
    partial_folder = folder / "frames" / f".{name}.partial"
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir()
    shots = chain(*(shot(rng, stills, videos, part, height) for part in (times[:cut], times[cut:]) if len(part)))
    for number, frame in enumerate(recorded(rng, list(shots), times)):
        write_image(partial_folder / f"{name}_{number:04d}.png", frame)
    partial_folder.rename(folder / "frames" / name)


def read_still(path, height):
    """An equirectangular still, float32 BGR in [0, 1], with at most 1.5 times the rows of frames of that height. Raises
    InputError if it is not twice as wide as high."""
    image = read_image(path)
    rows, width = image.shape[:2]
    if width != 2 * rows:
        raise InputError(f"{path} must be equirectangular (twice as wide as high), got {width} x {rows}")
    rows = min(rows, height * 3 // 2)
    return cv2.resize(image, (2 * rows, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def read_frames(path, height, projection):
    """The frames of a video in this projection (see config.py) as equirectangular ones, 8 a second, (H, 2 H, 3) uint8
    BGR, with as many rows as `read_still`."""
    frames = list(sampled(path, projection=projection))
    rows = min(frames[0].shape[0], height * 3 // 2)
    return [cv2.resize(frame, (2 * rows, rows), interpolation=cv2.INTER_AREA) for frame in frames]


def write_material(sources, folder, clips, frames, height, seed, projection=""):
    """Writes `clips` clips of `frames` frames each, height x 2 height pixels, of cameras that move through the sources,
    which are paths of stills and videos. If there are both, half of the shots are in a video. Clips that are there
    already are kept."""
    folder = Path(folder)
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    names = [f"{clip:04d}" for clip in range(clips)]
    stills = [read_still(path, height) for path in sorted(sources) if not is_video(path)]
    videos = [read_frames(path, height, projection) for path in sorted(sources) if is_video(path)]
    for clip, name in enumerate(tqdm(names, desc="material", unit="clip")):
        if not (folder / "frames" / name).exists():
            write_clip(folder, name, stills, videos, np.random.default_rng((seed, clip)), frames, height)
