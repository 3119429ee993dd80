"""Gaze samples: which frame gathers which, fixations, the maps that are made from them. Formats have their own file."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import InputError
from recordings.clock import Clock, times_between
from recordings.fixations import ivt, once_a_frame, sample_times, unit_vectors
from recordings.ground_truth import (
    SAMPLES_AT_A_TIME,
    blurred_in_image,
    circular_gaussian,
    count_maps,
    saliency_maps,
)
from recordings.samples import FRAMES, Options, Samples, assign_frames, frames_at
from recordings.tables import fixations_text, read, read_fixations
from recordings.vr_eyetracking import read as read_recording


def unit(latitude, longitude):
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude),
                     np.sin(latitude) + 0 * longitude], axis=-1)


def brute_force_map(longitude, latitude, sigma, height, width):
    rows = np.pi / 2 - (np.arange(height) + 0.5)[:, None] * np.pi / height
    pixels = unit(rows, (np.arange(width) + 0.5) * 2 * np.pi / width - np.pi)
    total = np.zeros((height, width))
    for direction in unit(latitude, longitude):
        distance = np.arctan2(np.linalg.norm(np.cross(pixels, direction), axis=-1), pixels @ direction)
        total += np.exp(-(distance**2) / (2 * sigma**2))
    return total


def samples(frame, longitude, latitude, user=""):
    return Samples(np.array(frame), np.array(longitude, float), np.array(latitude, float),
                   np.full(len(frame), user, object))


@given(st.integers(3, 30), st.integers(4, 41), st.floats(2, 70), st.integers(0, 10**6))
@settings(max_examples=40)
def test_maps_are_gaussians_of_great_circle_distance(height, width, sigma, seed):
    rng = np.random.default_rng(seed)
    longitude, latitude = rng.uniform(-180, 180, 9), np.degrees(np.arcsin(rng.uniform(-1, 1, 9)))
    longitude[:3], latitude[3:5] = (-180, 180, 0), (90, -90)  # seam and poles
    frames, sigma = np.arange(9) % 2 * 3 + 4, math.radians(sigma)
    maps = saliency_maps(samples(frames, longitude, latitude), [4, 7], sigma, height, width)
    for position, frame in enumerate((4, 7)):
        angles = np.radians(longitude[frames == frame]), np.radians(latitude[frames == frame])
        np.testing.assert_allclose(maps[position], brute_force_map(*angles, sigma, height, width), atol=1e-4)


def test_maps_turn_with_the_gaze_and_stay_at_their_pole():
    def maps_of(longitude, latitude):
        return saliency_maps(samples([0] * len(longitude), longitude, latitude), [0], math.radians(5), 20, 40)

    step, longitude, latitude = 360 / 40, np.array([17.0, 57.0]), [80, 12]
    maps, turned = maps_of(longitude, latitude), maps_of(longitude + 17 * step - 360, latitude)
    np.testing.assert_allclose(turned, np.roll(maps, 17, axis=-1), atol=1e-6)
    assert not maps[0, 13:].any()  # more than 25 degrees south of both
    north = maps_of([115], [90])
    assert np.ptp(north[0, 0]) < 1e-6 < 0.1 < north[0, 0].min()  # as wide as the image
    np.testing.assert_array_equal(north[0, 10:], 0)


def test_more_samples_than_are_drawn_at_a_time():
    count = SAMPLES_AT_A_TIME + 3
    maps, one = (saliency_maps(samples([0] * n, [0] * n, [0] * n), [0], 0.1, 9, 14) for n in (count, 1))
    np.testing.assert_allclose(maps, count * one, rtol=1e-5)


def test_a_frame_gathers_up_to_the_next_extracted_one():
    numbers = [4, 7, 10]
    recorded = samples(range(16), np.arange(16), np.arange(16), "ann")
    gathered = assign_frames(recorded, numbers)
    assert gathered.frame.tolist() == [4, 4, 4, 7, 7, 7, 10, 10, 10]
    assert gathered.longitude.tolist() == list(range(4, 13))
    assert assign_frames(recorded, [9]).frame.tolist() == [9] * 7


def test_counts_in_pixels():
    recorded = samples([2, 2, 5, 5, 5], [-180, 180, 0, -0.1, 179.9], [90, 90, -90, 0, 0.1])
    counts = count_maps(recorded, np.array([2, 5]), 4, 6)
    assert counts.shape == (2, 4, 6)
    assert counts[0, 0, 0] == 2  # both sides of the seam are one pixel
    assert counts[1, 3, 3] == counts[1, 2, 2] == counts[1, 1, 5] == 1
    assert counts.sum() == 5


@pytest.mark.parametrize("sigma", [0.3, 2, 5, 11, 12, 40])
@pytest.mark.parametrize("latitude", [0, 66, 89.9, -90])
def test_maps_are_as_exact_for_every_width(sigma, latitude):
    """Narrow and wide Gaussians are computed in two ways; and far from the middle of a pixel."""
    maps = saliency_maps(samples([0], [33.3], [latitude]), [0], math.radians(sigma), 60, 120)
    expected = brute_force_map(np.radians([33.3]), np.radians([latitude]), math.radians(sigma), 60, 120)
    np.testing.assert_allclose(maps[0], expected, atol=5e-6)


def test_the_authors_blur_in_the_image():
    """By its own definition, a slow loop: blur down the columns, then along each row with a width of its own."""
    height, width, sigma = 12, 20, 0.3
    recorded = samples([5, 5, 9], [-30, 170, 12], [10, -60, 33])
    maps = blurred_in_image(recorded, np.array([5, 9]), sigma, height, width)
    for position, number in enumerate((5, 9)):
        here = recorded.where(recorded.frame == number)
        total = np.zeros((height, width))
        for longitude, latitude in zip(here.longitude, here.latitude):
            x = round((longitude + 180) / 360 * width) % (width - 1)
            y = round((90 - latitude) / 180 * height) % (height - 1)
            for row, down in enumerate(np.roll(circular_gaussian(sigma * height / np.pi, height), y)):
                wider = sigma * height / np.pi / (np.cos((row / height - 0.5) * np.pi) + 1e-3)
                total[row] += down * np.roll(circular_gaussian(wider, width), x)
        np.testing.assert_allclose(maps[position], total, atol=1e-6)
    assert abs(circular_gaussian(2.0, 9).sum() - 1) < 1e-12


# ----------------------------------------------------------------------------------------------------------- fixations


def test_fixations_by_velocity():
    """Rest at one place, a jump, rest for too short a time, a jump, and a slow drift; another user's samples
    between."""
    time = np.arange(30) / 60
    longitude = np.concatenate([np.full(10, 5.0), np.full(4, 40.0), 80 + np.arange(16) * 0.1])
    longitude[3] = 5.2
    ann = samples(range(30), longitude, np.zeros(30), "ann")
    bob = samples(range(30), np.arange(30) * 9.0 - 90, [1] * 30, "bob")
    both = Samples(*(np.stack(pair, -1).ravel() for pair in zip(ann, bob)))
    found = ivt(both, np.repeat(time, 2), 30, 0.1)
    assert set(found.user) == {"ann"}
    assert found.frame.tolist() == [*range(10), *range(14, 30)]
    np.testing.assert_allclose(found.longitude, [5.02] * 10 + [80.75] * 16, atol=1e-6)


STEPS = st.lists(st.tuples(st.sampled_from([0.01, 0.02, 0.05, 0.2]), st.floats(-2, 2), st.floats(-2, 2)), min_size=1,
                 max_size=40)


@given(STEPS, st.floats(5, 100), st.floats(0, 0.2))
@settings(max_examples=60)
def test_fixations_by_a_loop(steps, velocity, duration):
    time, longitude, latitude = np.cumsum(np.array(steps), axis=0).T
    longitude, latitude = longitude + 170, np.clip(latitude * 2, -89, 89)
    longitude = (longitude + 180) % 360 - 180
    vectors = unit(np.radians(latitude), np.radians(longitude))
    groups = [[0]]
    for k in range(1, len(time)):
        angle = math.degrees(math.acos(min(1, max(-1, vectors[k] @ vectors[k - 1]))))
        if angle < velocity * (time[k] - time[k - 1]) and time[k] - time[k - 1] <= 0.1 + 1e-9:
            groups[-1].append(k)
        else:
            groups.append([k])
    expected = []
    for group in groups:
        if time[group[-1]] - time[group[0]] >= duration - 1e-9:
            mean = vectors[group].sum(0) / np.linalg.norm(vectors[group].sum(0))
            expected += [(k, *mean) for k in group]
    found = ivt(samples(range(len(time)), longitude, latitude), time, velocity, duration)
    assert found.frame.tolist() == [k for k, *_ in expected]
    np.testing.assert_allclose(unit_vectors(found.longitude, found.latitude), [mean for _, *mean in expected] or
                               np.zeros((0, 3)), atol=1e-6)


def test_fixations_across_the_seam_and_gaps():
    found = ivt(samples(range(8), [179.9, -179.9] * 4, [0] * 8), np.arange(8) / 60, 30, 0.1)
    np.testing.assert_allclose(np.abs(found.longitude), 180, atol=1e-6)
    time = np.array([0, 0.05, 0.1, 0.3, 0.35])  # a gap of 0.2 s ends it, and what follows is too short
    assert ivt(samples(range(5), [0] * 5, [0] * 5), time, 30, 0.1).frame.tolist() == [0, 1, 2]
    assert len(ivt(samples([], [], []), np.zeros(0), 30, 0.1).frame) == 0
    assert sample_times(np.array([3, 4, 4, 5]), Clock(10)).tolist() == [0.3, 0.4, 0.45, 0.5]
    kept = once_a_frame(samples([3, 3, 3, 4], [1, 1, 2, 1], [0] * 4, "ann"))
    assert (kept.frame.tolist(), kept.longitude.tolist()) == ([3, 3, 4], [1, 2, 1])
    np.testing.assert_allclose(unit_vectors([0, 90], [0, 0]), [[1, 0, 0], [0, 1, 0]], atol=1e-12)


# --------------------------------------------------------------------------------------------------------------- clocks


@given(st.integers(1, 8000), st.sampled_from([24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60]))
@settings(max_examples=60)
def test_a_time_stamp_belongs_to_its_frame_at_every_rate(frame, fps):
    """The catalogue keeps six digits of a rate: 23.976."""
    rounded = float(f"{fps:.6g}")
    shown = np.array([frame / fps, (frame + 0.99) / fps])
    assert frames_at(shown, rounded).tolist() == Clock(rounded).frames_at(shown).tolist() == [frame, frame]
    assert frames_at(np.array([1.0]), 23.5).tolist() == [23]


def test_clocks_of_videos_whose_rate_varies():
    times = np.array([0, 0.1, 0.3, 0.35, 0.9, 1.0])  # the last one ends at 1
    clock = Clock(5, times)
    assert clock.frames_at(np.array([0, 0.0999, 0.1, 0.29, 0.35, 0.9, 0.99, 1, 7])).tolist() == [
        0, 0, 1, 1, 3, 4, 4, FRAMES, FRAMES]
    np.testing.assert_allclose(clock.starts(np.array([0, 2, 4, 5, 7])), [0, 0.3, 0.9, 1, 1.4])
    np.testing.assert_allclose(times_between([0, 3], [0, 0.6], 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_allclose(sample_times(np.array([1, 1, 3]), clock), [0.1, 0.2, 0.35])
    assert clock.known and Clock(5).known and not Clock(0).known


# -------------------------------------------------------------------------------------------- VR-EyeTracking and tables


def write_recording(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def line(frame, x, y):
    return f"0.04,{frame},forward,0.1,0.2,eye,{x},{y}"


def test_reads_the_data_sets_files(tmp_path):
    path = tmp_path / "p07/012._2017-10-13-10-28_ori_0.txt"
    write_recording(path, ["\ufeff" + line(1, 0.5, 0.5), "", line(4, 0, 0), line(7, 1, 1), "  ", line(10, 0.75, 0.25)])
    (recording,), skipped = read_recording(path, Options())
    found = recording.samples
    assert (recording.video, recording.kind, len(skipped)) == ("012", "gaze", 0)
    assert found.frame.tolist() == [0, 3, 6, 9]             # the files count from 1
    assert found.longitude.tolist() == [0, -180, 180, 90]   # from the left
    assert found.latitude.tolist() == [0, -90, 90, -45]     # from the bottom
    assert found.user.tolist() == ["p07"] * 4


def test_skips_and_counts_what_is_no_direction(tmp_path):
    path = tmp_path / "p07/012.txt"
    write_recording(path, [line(1, "nan", 0.5), line(1, 0.5, 1.01), line(2, -0.01, 0.5), line("?", 0.5, 0.5),
                           "0.1,4,for", line(0, 0.5, 0.5), line(5, "inf", 0.5), line(1e300, 0.5, 0.5),
                           line(6, "", 0.5), line(8, 0.25, 0.5)])
    (recording,), skipped = read_recording(path, Options())
    assert skipped.tolist() == list(range(1, 10))
    assert (recording.samples.frame.tolist(), recording.samples.longitude.tolist()) == ([7], [-90])


def test_reads_tables_with_columns_in_any_order(tmp_path):
    path = tmp_path / "gaze.csv"
    path.write_text('\ufeffLatitude, frame,video,user,longitude\r\n10,3,"a, b",ann,-20\r\n\r\n5,4,012,bob,30\r\n'
                    "91,4,012,bob,30\r\nNaN,4,012,bob,30\r\n1,2\r\n", encoding="utf-8")
    recordings, skipped = read(path, Options())
    assert skipped.tolist() == [5, 6, 7]
    assert [recording.video for recording in recordings] == ["012", "a, b"]
    assert [column.tolist() for column in recordings[0].samples] == [[4], [30], [5], ["bob"]]
    path.write_text("video,frame,longitude,latitude\n7,1,2,3\n", encoding="utf-8")
    assert read(path, Options())[0][0].samples.user.tolist() == [""]


def test_tables_written_are_read_back(tmp_path):
    written = samples([3, 3, 7], [-180, 12.3456, 0], [90, -1.25, 0], "p01")
    written.user[0] = 'a "b", c'
    (tmp_path / "012.csv").write_text(fixations_text("012", written, "head"), encoding="utf-8")
    found, kind = read_fixations(tmp_path / "012.csv", "012")
    assert kind == "head"
    for column, original in zip(found, written):
        np.testing.assert_array_equal(column, original)
    assert read_fixations(tmp_path / "013.csv", "013")[1] == ""
    assert len(read_fixations(tmp_path / "012.csv", "013")[0].frame) == 0


def test_wrong_files_are_one_clear_line(tmp_path):
    path = tmp_path / "p07/012.txt"
    write_recording(path, ["0.1,3,0.5,0.5"])
    with pytest.raises(InputError, match=r"012.txt has 4 columns, .* columns 6 and 7"):
        read_recording(path, Options())
    with pytest.raises(InputError, match=r"has no column longitude and latitude \(or u and v\), frame \(or time\)"):
        read(path, Options())
    path.write_text("video,frame,lat\n")
    with pytest.raises(InputError, match=r"no column longitude and latitude .* its first line"):
        read(path, Options())
    path.write_text("")
    with pytest.raises(InputError, match="no column longitude and latitude"):
        read(path, Options())
    path.write_bytes(b"\xff\xfe0\x001\x00")
    with pytest.raises(InputError, match=r"012\.txt, line 1: this is not a text file in UTF-8"):
        read_recording(path, Options())
