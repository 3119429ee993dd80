"""The film: every frame of a video as the virtual camera sees it, flat, at its own time, with the video's sound."""

import math
from typing import NamedTuple

from reframing.path import look_at
from reframing.view import View
from video.cuts import find_cuts
from video.encode import video_writer
from video.pipeline import read_ahead

SIZE = 720, 1280    # (height, width) of the film, pixels
FRAMES_AHEAD = 2    # frames that each stage is ahead of the next


class Clock(NamedTuple):
    """What `video_writer` asks a source of frames, of all its frames and not only of those that have maps."""

    rate: float
    end: float
    sound: object
    sound_start: float


def cuts_of(source, progress):
    """When the video of a source (`video.sources`) is cut, seconds. progress() is called after each frame."""
    def glances():
        for glance in source.glances():
            yield glance
            progress()

    return find_cuts(glances())


def seen(frames, shots, camera):
    """Yields (time, direction, picture) of each (time, frame). direction: latitude and longitude, degrees."""
    view = View(camera.size, camera.field_of_view)
    for time, frame in frames:
        lat, lon = look_at(shots, [time])[:, 0]
        yield time, (lat, lon), view(frame, math.radians(lon), math.radians(lat))


def write_film(path, source, shots, camera, sound, progress):
    """Writes the film of a source. shots: the camera's path, of `path.plan`; sound: whether to keep the video's;
    progress(): see `cuts_of`. Returns (time, latitude, longitude), seconds and degrees, of each frame."""
    clock = Clock(source.full_rate, source.end, source.sound, source.sound_start if source.sound else 0.0)
    taken = []
    with (read_ahead(source.every_frame(), FRAMES_AHEAD) as frames,
          read_ahead(seen(frames, shots, camera), FRAMES_AHEAD) as pictures,
          video_writer(path, camera.size, clock, sound=sound) as write):
        for time, (lat, lon), picture in pictures:
            write(picture, time)
            taken.append((round(time, 4), round(float(lat), 3), round(float(lon), 3)))
            progress()
    return taken
