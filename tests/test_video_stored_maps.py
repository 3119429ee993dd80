"""Ground-truth maps that come ready: images in any numbering, .npy, Salient360!'s .bin; and nothing is unpickled."""

import pickle

import cv2
import numpy as np
import pytest

from dataset import TrainingWindows, find_videos
from errors import InputError
from files import write_image
from video import image_cache
from video.stored_maps import StoredMap, find_maps, last_number, open_maps

rng = np.random.default_rng(0)


def peak(maps):
    """(row, column) of the largest value."""
    return np.unravel_index(np.argmax(maps), maps.shape)


def one_peak(row, column, height=4, width=8):
    image = np.zeros((height, width), np.float32)
    image[row, column] = 0.25
    return image


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def read(found, number):
    return image_cache.read_resized(found[number], cv2.IMREAD_GRAYSCALE, (4, 8))


@pytest.mark.parametrize(("name", "number"), [("0012.png", 12), ("a_0012.png", 12), ("000012.png", 12), ("12.png", 12),
                                              ("0012_gt.png", 12), ("gauss/000012.png", 12)])
def test_images_in_any_numbering(tmp_path, name, number):
    path = tmp_path / "a" / name
    path.parent.mkdir(parents=True)
    write_image(path, np.zeros((4, 8), np.uint8))
    assert find_maps(tmp_path, "a", 0) == {number: path}
    assert find_maps(tmp_path, "a", 1) == {number - 1: path}
    assert find_maps(tmp_path, "b", 0) == {}
    assert find_maps(tmp_path / "none", "b", 0) == {}


def test_arrays_one_a_frame(tmp_path):
    """Wild360's folder is named .mp4, Sports-360's arrays are (1, h, w) and count from 1."""
    for number, column in ((0, 6), (1, 5)):
        save(tmp_path / f"AbC.mp4/{number:05d}.npy", one_peak(1, column))
        save(tmp_path / f"001/{number + 1:04d}_gt.npy", one_peak(2, column)[None])
    found = find_maps(tmp_path, "AbC", 0)
    assert list(found) == [0, 1]
    assert [peak(read(found, number)) for number in found] == [(1, 6), (1, 5)]
    found = find_maps(tmp_path, "001", 1)
    assert [peak(read(found, number)) for number in found] == [(2, 6), (2, 5)]
    assert read(found, 0).max() == 255
    assert last_number("Salmap.npy") is None


def test_arrays_of_all_frames(tmp_path):
    save(tmp_path / "Video1.npy", np.stack([one_peak(1, k) for k in range(3)]))
    assert list(find_maps(tmp_path, "Video1", 0)) == [0, 1, 2]
    found = find_maps(tmp_path, "Video1", 0, frames={0: 0, 3: 0.1, 6: 0.2})  # as many as there are extracted frames
    assert list(found) == [0, 3, 6]
    assert peak(read(found, 3)) == (1, 1)
    save(tmp_path / "v/maps.npy", np.stack([one_peak(1, k) for k in range(3)]))
    assert peak(read(find_maps(tmp_path, "v", 0), 2)) == (1, 2)


def test_arrays_of_one_map_a_second(tmp_path):
    """Panonut360's: the maps of the second in which each frame is shown."""
    save(tmp_path / "Video1.npy", np.stack([one_peak(1, k) for k in range(3)]))
    frames = {number: number / 24 for number in range(0, 84, 3)}  # 3.5 seconds: the last has no map
    with pytest.raises(InputError, match=r"Video1.npy has 3 maps for a video of about 3 seconds: set gt_fps to 1"):
        find_maps(tmp_path, "Video1", 0, frames)
    found = find_maps(tmp_path, "Video1", 0, frames, 1)
    assert list(found) == list(range(0, 72, 3))
    assert [peak(read(found, number))[1] for number in (0, 21, 24, 69)] == [0, 0, 1, 2]
    assert list(find_maps(tmp_path, "Video1", 0, frames, 24)) == [0]  # the first frames of the video
    assert list(find_maps(tmp_path, "Video1", 0, {number: number / 24 for number in range(0, 840, 3)})) == [0, 1, 2]
    with pytest.raises(InputError, match="1 maps a second"):
        find_maps(tmp_path, "Video1", 0, {0: np.nan}, 1)


@pytest.mark.parametrize(("name", "kind"), [("1_a_8x4x3_32b.bin", "<f4"), ("1_a_8x4x3f_16b.bin", "<f2"),
                                            ("1_a_8x4x3_64b.bin", "<f8"), ("1_a_8x4_32b.bin", "<f4")])
def test_salient360s_binary_files(tmp_path, name, kind):
    count = 3 if "x3" in name else 1
    path = tmp_path / name
    path.write_bytes(np.stack([one_peak(k, 2 + k) for k in range(count)]).astype(kind).tobytes())
    found = find_maps(tmp_path, "1_a", 0)
    assert [peak(read(found, number)) for number in found] == [(k, 2 + k) for k in range(count)]
    assert find_maps(tmp_path, "1", 0) == {}
    path.write_bytes(b"\0" * 5)
    open_maps.cache_clear()
    with pytest.raises(InputError, match=rf"has 5 bytes; {count} maps of 8 x 4"):
        find_maps(tmp_path, "1_a", 0)


class Bomb:
    """What would run a program where it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_nothing_is_unpickled(tmp_path, capsys):
    np.save(tmp_path / "v.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"v.npy is not an array of numbers .* not opened"):
        find_maps(tmp_path, "v", 0)
    (tmp_path / "w.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"w\.npy is not an array of numbers"):
        find_maps(tmp_path, "w", 0)
    assert capsys.readouterr().out == ""
    whole = save(tmp_path / "x.npy", np.ones((3, 4, 8))).read_bytes()
    for damaged in (b"", whole[:40], whole[:-8], whole[:8] + b"v\0" + whole[20:], whole.replace(b"(3, 4", b"(9, 4")):
        (tmp_path / "x.npy").write_bytes(damaged)
        open_maps.cache_clear()
        with pytest.raises(InputError, match=r"x\.npy is not an array of numbers"):
            find_maps(tmp_path, "x", 0)


def test_bad_values_are_one_line(tmp_path):
    for name, array in (("a", np.zeros((2, 3, 4, 5))), ("b", np.zeros((3, 4), complex))):
        save(tmp_path / f"{name}.npy", array)
        with pytest.raises(InputError, match=rf"{name}\.npy must hold maps \(T, height, width\), got"):
            find_maps(tmp_path, name, 0)
    for value in (-1, np.nan):
        path = save(tmp_path / f"c{value}.npy", np.full((1, 4, 8), value))
        with pytest.raises(InputError, match=r"\(map 0\) has values that are negative or not finite"):
            StoredMap(path, 0, path).read((4, 8))
    path = save(tmp_path / "d.npy", np.stack([np.full((4, 8), 100, np.uint8), np.zeros((4, 8), np.uint8)]))
    assert [StoredMap(path, k, path).read((4, 8)).max() for k in (0, 1)] == [100, 0]  # bytes keep their scale


def test_training_takes_them_in_place(tmp_path):
    """Two videos in one folder of arrays: neither's cache replaces the other's."""
    for name in ("a", "b"):
        for number in range(4):
            path = tmp_path / f"frames/{name}/{name}_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, rng.integers(256, size=(8, 16, 3), dtype=np.uint8))
    stacks = {name: rng.random((4, 8, 16)) for name in ("a", "b")}
    save(tmp_path / "maps/a.npy", stacks["a"])
    (tmp_path / "maps/b_16x8x4_64b.bin").write_bytes(stacks["b"].tobytes())
    videos = find_videos(["a", "b"], tmp_path / "frames", tmp_path / "maps", "")
    arrays = [image_cache.build(video.sources(), (8, 16), tmp_path / "cache", 1) for video in videos]
    windows = TrainingWindows(videos, arrays, 2, 0)
    assert len(windows) == 4
    for index, (name, first) in enumerate((("a", 0), ("a", 2), ("b", 0), ("b", 2))):
        maps = stacks[name][first:first + 2]
        np.testing.assert_allclose(windows[index][1], maps * 255 / maps.max((1, 2), keepdims=True), atol=0.51)


def test_reference_maps(shared):
    """Peaks that were worked out by hand: longitude 112.5, latitude 22.5 is row 1, column 6 of 4 x 8 pixels."""
    samples = shared / "gaze/samples"
    assert peak(read(find_maps(samples / "wild360/Wild360_GT_29", "AbCdEfGhIjK", 0), 0)) == (1, 6)
    assert peak(read(find_maps(samples / "opensal360", "SampleVideo", 0), 45)) == (1, 6)
    assert peak(read(find_maps(samples / "sports360/360_Saliency_dataset_2018ECCV", "001", 1), 0)) == (1, 6)
    found = find_maps(samples / "salient360/Videos/HE/SalMaps", "1_PortoRiverside", 0)
    assert [peak(read(found, number)) for number in found] == [(1, 6), (2, 0), (3, 3)]
    found = find_maps(samples / "panonut360/SaliencyMap", "Video1", 0, {number: number / 30 for number in range(90)}, 1)
    assert [peak(read(found, number)) for number in (0, 30, 89)] == [(1, 6), (2, 4), (3, 2)]
