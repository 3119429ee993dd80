"""Makes ground truth from gaze recordings: a saliency map for every extracted frame, and the fixations of every video.

    python gaze.py --gaze_dir=GAZE_FOLDER

Reads VR-EyeTracking's own files, GAZE_FOLDER/Gaze_txt_files/USER/VIDEO.txt (no header; columns from 0: 1 the frame's
index in the source video, 6 and 7 where the eye looks as fractions of the panorama from its bottom-left corner), and
tables GAZE_FOLDER/*.csv with the columns video, frame, longitude, latitude (degrees, east and north positive) and,
where known, user. A frame gathers the samples from its own index up to the next extracted frame.

Writes gt_dir/VIDEO/FRAME.png and fixations_dir/VIDEO.csv, which is such a table. Each sample spreads as a Gaussian of
great-circle distance: it crosses the seam and the poles as the sphere does and widens in pixels toward the poles. (The
authors blur in the image instead, with sigma in pixels and a width that depends on the row.)
"""

import csv
import math
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import config
from files import InputError, list_folders, number_images, replacing, write_image
from spherical_conv import pixel_to_sphere, sphere_to_pixel
from utils import configure, run

COLUMNS = ("video", "frame", "longitude", "latitude")  # of a table; `user` may follow
FRAME, GAZE_X, GAZE_Y = 1, 6, 7                        # columns of a VR-EyeTracking file
REACH = 5               # sigmas after which a Gaussian ends, at 4e-6 of its height
FRAMES_AT_A_TIME = 64   # bounds the memory of maps that are not yet written
SAMPLES_AT_A_TIME = 64  # keeps their Gaussians in cache


class Samples(NamedTuple):
    """Gaze samples of one video, each array (N,)."""

    frame: np.ndarray      # index of a frame of the source video
    longitude: np.ndarray  # degrees, [-180, 180], 0 in the middle of the panorama, east positive
    latitude: np.ndarray   # degrees, [-90, 90], north positive
    user: np.ndarray       # names, "" where not known

    def where(self, chosen):
        return Samples(*(column[chosen] for column in self))


NO_SAMPLES = Samples(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, object))


# ------------------------------------------------------------------------------------------------------------- reading


def find_recordings(gaze_dir):
    """({video: [VR-EyeTracking files]}, [tables]) of a folder. Raises InputError where there are neither."""
    folder = Path(gaze_dir)
    if not folder.is_dir():
        raise InputError(f"gaze_dir {folder} is not a folder; it holds Gaze_txt_files/USER/VIDEO.txt, or tables *.csv")
    users = folder / "Gaze_txt_files" if (folder / "Gaze_txt_files").is_dir() else folder
    files = defaultdict(list)
    for user in list_folders(users):
        for path in sorted(user.glob("*.txt")):
            files[path.stem].append(path)
    tables = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if not files and not tables:
        raise InputError(f"gaze_dir {folder} holds neither Gaze_txt_files/USER/VIDEO.txt nor tables *.csv")
    return files, tables


def read_recording(path):
    """(samples, number skipped) of a VR-EyeTracking file; the user is its folder. Skipped are samples that are not
    numbers or lie outside the panorama. Raises InputError where no line has all columns."""
    lines = [line.split(",") for line in _read_text(path).splitlines() if line.strip()]
    whole = [line for line in lines if len(line) > GAZE_Y]
    if lines and not whole:
        raise InputError(f"{path} has {len(lines[0])} columns separated by commas, but the gaze is read from columns "
                         f"{GAZE_X} and {GAZE_Y}, counted from 0; it must be a file of VR-EyeTracking's format")
    frame, x, y = (_numbers(whole, column) for column in (FRAME, GAZE_X, GAZE_Y))
    samples = _valid(Samples(frame, 360 * x - 180, 180 * y - 90, np.full(len(whole), path.parent.name, object)))
    return samples, len(lines) - len(samples.frame)


def read_table(path):
    """({video: samples}, number skipped) of a CSV table, its columns in any order. Raises InputError naming columns
    that are missing."""
    lines = [line for line in csv.reader(_read_text(path).splitlines()) if any(map(str.strip, line))]
    header = [name.strip().lower() for name in lines[0]] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; its first line must name the columns "
                         f"{', '.join(COLUMNS)} and, where known, user")
    whole = [line for line in lines[1:] if len(line) == len(header)]
    video, frame, longitude, latitude = (header.index(name) for name in COLUMNS)
    names = _names(whole, video)
    users = _names(whole, header.index("user")) if "user" in header else np.full(len(whole), "", object)
    samples = Samples(*(_numbers(whole, column) for column in (frame, longitude, latitude)), users)
    videos = {name: _valid(samples.where(names == name)) for name in dict.fromkeys(names)}
    return videos, len(lines) - 1 - sum(len(part.frame) for part in videos.values())


def _read_text(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8") from None


def _names(lines, column):
    return np.array([line[column].strip() for line in lines], object)


def _numbers(lines, column):
    """A column as floats, NaN for what is no number."""
    values = np.full(len(lines), np.nan)
    for position, line in enumerate(lines):
        try:
            values[position] = float(line[column])
        except ValueError:
            continue
    return values


def _valid(samples):
    """The samples whose frame and place exist. (Comparisons with NaN are false.)"""
    samples = samples.where((samples.frame >= 0) & (samples.frame < 2**31)
                            & (np.abs(samples.longitude) <= 180) & (np.abs(samples.latitude) <= 90))
    return samples._replace(frame=samples.frame.astype(np.int64))


def assign_frames(samples, numbers):
    """The samples with each one's frame replaced by the extracted frame that gathers it; without those that none does.

    numbers: ascending indices of the extracted frames. Each gathers what lies from its own index up to the next one's;
    the last gathers as many indices as the one before it.
    """
    numbers = np.asarray(numbers)
    end = 2 * numbers[-1] - numbers[-2] if len(numbers) > 1 else np.inf
    samples = samples.where((samples.frame >= numbers[0]) & (samples.frame < end))
    return samples._replace(frame=numbers[np.searchsorted(numbers, samples.frame, side="right") - 1])


# ---------------------------------------------------------------------------------------------------------------- maps


def saliency_maps(positions, longitude, latitude, count, sigma, height, width):
    """`count` maps (count, H, W), float32, each the sum of its samples' Gaussians exp(-distance^2 / (2 sigma^2)).

    positions (N,): which map each sample belongs to, in [0, count); longitude, latitude, sigma: radians. The distance
    is taken from the sample itself, not from its pixel. Samples in one image row reach the same rows and as many
    columns, so their Gaussians are computed together, then added each at its own column.
    """
    row_latitude, _ = pixel_to_sphere(np.arange(height), 0, height, width)
    rows, columns = holding_pixels(longitude, latitude, height, width)
    sums = np.zeros((count, height, 2 * width), np.float32)  # column c stands at c + width // 2: windows need no wrap
    reach = math.ceil(REACH * sigma * height / math.pi) + 1
    for row in np.unique(rows):
        band = slice(max(0, row - reach), row + reach + 1)
        window = window_columns(abs(row_latitude[row]) + math.pi / height / 2, REACH * sigma, width)
        here = np.flatnonzero(rows == row)
        for part in np.split(here, range(SAMPLES_AT_A_TIME, len(here), SAMPLES_AT_A_TIME)):
            _, column_longitude = pixel_to_sphere(0, columns[part, None] + window, height, width)
            patches = gaussians(longitude[part], latitude[part], row_latitude[band], column_longitude, sigma)
            for position, start, patch in zip(positions[part], columns[part] + window[0] + width // 2, patches):
                sums[position, band, start:start + len(window)] += patch
    return np.roll(sums[..., :width] + sums[..., width:], -(width // 2), axis=-1)


def window_columns(latitude, radius, width):
    """Columns, relative to that of a point, that a cap of `radius` about it can reach: all of them where the cap holds
    a pole. latitude: its distance from the equator at most, radians."""
    half = width // 2
    if latitude + radius < math.pi / 2:
        half = min(half, math.ceil(math.asin(math.sin(radius) / math.cos(latitude)) * width / (2 * math.pi)) + 1)
    return np.arange(-half, min(half + 1, width - half))


def gaussians(longitude, latitude, row_latitude, column_longitude, sigma):
    """Gaussians (N, h, w), float32, about N samples, in rows at latitudes (h,) and columns at longitudes (N, w)."""
    parts = (np.sin(latitude[:, None]) * np.sin(row_latitude), np.cos(latitude[:, None]) * np.cos(row_latitude),
             np.cos(column_longitude - longitude[:, None]))
    along, across, turn = (part.astype(np.float32) for part in parts)
    cosine = along[:, :, None] + across[:, :, None] * turn[:, None, :]
    distance = np.arccos(np.clip(cosine, -1, 1, out=cosine), out=cosine)
    return np.exp(np.float32(-0.5 / sigma**2) * distance**2)


def to_bytes(maps):
    """Maps (T, H, W) as 8 bits, each scaled to a maximum of 255; zero where there is nothing."""
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.rint(maps * (255 / np.where(highest > 0, highest, 1))).astype(np.uint8)


def holding_pixels(longitude, latitude, height, width):
    """Rows and columns, int64, of the pixels that hold directions given in radians."""
    rows, columns = (np.floor(place + 0.5).astype(np.int64)
                     for place in sphere_to_pixel(latitude, longitude, height, width))
    return rows.clip(0, height - 1), columns % width


def count_maps(samples, numbers, height, width):
    """Number of samples in each pixel of the frames `numbers` (ascending, with every sample's frame): (T, H, W)."""
    rows, columns = holding_pixels(np.radians(samples.longitude), np.radians(samples.latitude), height, width)
    counts = np.zeros((len(numbers), height, width), np.float32)
    np.add.at(counts, (np.searchsorted(numbers, samples.frame), rows, columns), 1)
    return counts


# -------------------------------------------------------------------------------------------------------------- script


def write_ground_truth(video, frames, samples, gt_dir, fixations_file, sigma, resolution, bar):
    """Writes the maps of the frames that gather samples, as 8 bits up to each one's maximum, and last, as the mark that
    all is there, the fixations. Returns how many frames gather none: they get no map.

    frames: {number: path}; samples: as `assign_frames` returns them; sigma: radians; bar moves on by one a frame.
    """
    names = {number: path.stem.removeprefix(f"{video}_") for number, path in frames.items()}
    folder = Path(gt_dir, video)
    folder.mkdir(parents=True, exist_ok=True)
    looked_at, positions = np.unique(samples.frame, return_inverse=True)
    longitude, latitude = np.radians(samples.longitude), np.radians(samples.latitude)
    for first in range(0, len(looked_at), FRAMES_AT_A_TIME):
        numbers = looked_at[first:first + FRAMES_AT_A_TIME].tolist()
        here = (positions >= first) & (positions < first + len(numbers))
        maps = to_bytes(saliency_maps(positions[here] - first, longitude[here], latitude[here], len(numbers), sigma,
                                      *resolution))
        for number, image in zip(numbers, maps):
            write_image(folder / f"{names[number]}.png", image)
            bar.update()
    without = names.keys() - set(looked_at.tolist())
    for number in without:
        (folder / f"{names[number]}.png").unlink(missing_ok=True)  # of an earlier run
    bar.update(len(without))
    write_fixations(fixations_file, video, samples)
    return len(without)


def write_fixations(path, video, samples):
    """Writes samples as a table that `read_table` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, "user"))
        writer.writerows((video, frame, f"{longitude:.4f}", f"{latitude:.4f}", user)
                         for frame, longitude, latitude, user in zip(*samples))


def fixations_file(fixations_dir, gt_dir, video):
    """Where a video's fixations are: in fixations_dir, or where that is "", in `fixations` beside gt_dir."""
    return Path(fixations_dir or Path(gt_dir).parent / "fixations", f"{video}.csv")


def is_current(result, sources):
    """Whether the file was written after every one of its sources."""
    return result.exists() and all(result.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)


def main(argv):
    configure(config, argv)
    files, tables = find_recordings(config.gaze_dir)
    if not Path(config.frames_dir).is_dir():
        raise InputError(f"frames_dir {config.frames_dir} is not a folder; it holds the extracted frames as "
                         "VIDEO/VIDEO_FRAME.png, and maps are made for those")
    extracted = {folder.name: number_images(folder) for folder in list_folders(config.frames_dir)}

    in_tables = defaultdict(list)
    for table in tables:
        videos, skipped = read_table(table)
        report_skipped(table, skipped, sum(len(samples.frame) for samples in videos.values()))
        for video, samples in videos.items():
            in_tables[video].append(samples)

    recorded = files.keys() | in_tables.keys()
    videos = sorted(video for video in recorded if extracted.get(video))
    if not videos:
        raise InputError(f"no video has both gaze in {config.gaze_dir} (such as {min(recorded, default='none')}) and "
                         f"frames in {config.frames_dir} (such as {min(extracted, default='none')})")
    if others := sorted(recorded - set(videos)):
        print(f"no frames in {config.frames_dir}, so left out: {', '.join(others)}")

    done, unseen, outside = 0, 0, 0
    with tqdm(total=sum(len(extracted[video]) for video in videos), desc="maps", unit="frame") as bar:
        for video in videos:
            target = fixations_file(config.fixations_dir, config.gt_dir, video)
            sources = [*files[video], *(tables if video in in_tables else []), Path(config.frames_dir, video)]
            if not config.overwrite and Path(config.gt_dir, video).is_dir() and is_current(target, sources):
                done += 1
                bar.update(len(extracted[video]))
                continue
            parts = list(in_tables[video])
            for path in files[video]:
                samples, skipped = read_recording(path)
                report_skipped(path, skipped, len(samples.frame))
                parts.append(samples)
            samples = Samples(*map(np.concatenate, zip(*parts)))
            gathered = assign_frames(samples, sorted(extracted[video]))
            outside += len(samples.frame) - len(gathered.frame)
            unseen += write_ground_truth(video, extracted[video], gathered, config.gt_dir, target,
                                         math.radians(config.gaze_sigma), config.resolution, bar)
    print(f"{len(videos) - done} videos made in {config.gt_dir}, {done} were there (--overwrite=True makes them again)")
    print(f"{unseen} frames without gaze got no map; {outside} samples lie before or after the extracted frames")


def report_skipped(path, skipped, kept):
    if skipped:
        tqdm.write(f"{path}: {skipped} of {skipped + kept} samples skipped, not numbers or outside the panorama")


if __name__ == "__main__":
    run(main)
