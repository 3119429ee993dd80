import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT

from errors import InputError
from files import write_image
from video import image_cache

RESOLUTION = (10, 14)


@pytest.fixture
def images(tmp_path):
    """Paths of 5 colour images of 30 x 44 in one folder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "frames" / "007"
    folder.mkdir(parents=True)
    paths = [folder / f"007_{number:04d}.png" for number in range(0, 20, 4)]
    for path in paths:
        write_image(path, rng.integers(256, size=(30, 44, 3), dtype=np.uint8))
    return paths


def build(tmp_path, images, flags=cv2.IMREAD_COLOR, resolution=RESOLUTION):
    return image_cache.build([(images, flags)], resolution, tmp_path / "cache", threads=2)[0]


def left_behind(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".npy"]


@pytest.mark.parametrize("flags", [cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE])
def test_array_holds_every_image_resized_by_area(tmp_path, images, flags):
    array = image_cache.open_array(build(tmp_path, images, flags))
    expected = [cv2.resize(cv2.imread(str(path), flags), (14, 10), interpolation=cv2.INTER_AREA) for path in images]
    assert array.dtype == np.uint8 and isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, np.stack(expected))


def test_images_of_the_right_size_stay_as_they_are(tmp_path, images):
    array = image_cache.open_array(build(tmp_path, images, resolution=(30, 44)))
    np.testing.assert_array_equal(array[3], cv2.imread(str(images[3])))


def test_second_build_reads_no_image(tmp_path, images, monkeypatch):
    first = build(tmp_path, images)
    monkeypatch.setattr(image_cache, "read_image", lambda *arguments: pytest.fail("decoded again"))
    assert build(tmp_path, images) == first


@pytest.mark.parametrize("change", ["content", "time", "fewer"])
def test_changed_sources_replace_the_array(tmp_path, images, change):
    first = build(tmp_path, images)
    if change == "content":
        write_image(images[2], np.full((30, 44, 3), 9, np.uint8))
    elif change == "time":
        os.utime(images[2], ns=(1, 1))
    else:
        images = images[1:]
    second = build(tmp_path, images)
    assert second != first and not first.exists()
    expected = cv2.resize(cv2.imread(str(images[2])), (14, 10), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(image_cache.open_array(second)[2], expected)


def test_resolutions_and_folders_do_not_disturb_each_other(tmp_path, images):
    other = tmp_path / "other" / "frames" / "007" / "007_0000.png"
    other.parent.mkdir(parents=True)
    write_image(other, np.zeros((30, 44, 3), np.uint8))
    arrays = {build(tmp_path, images), build(tmp_path, images, resolution=(6, 8)), build(tmp_path, [other])}
    assert len(arrays) == 3 and all(array.exists() for array in arrays)


def test_bad_image_is_named_and_finished_arrays_are_kept(tmp_path, images):
    whole = images[0].parent.parent / "006" / "006_0000.png"
    whole.parent.mkdir()
    write_image(whole, np.zeros((4, 6, 3), np.uint8))
    images[3].write_bytes(images[3].read_bytes()[:200])
    lists = [([whole], cv2.IMREAD_COLOR), (images, cv2.IMREAD_COLOR)]
    with pytest.raises(InputError, match=r"007_0012\.png"):
        image_cache.build(lists, RESOLUTION, tmp_path / "cache", threads=2)
    assert [path.name[:3] for path in (tmp_path / "cache").rglob("*.npy")] == ["006"]
    assert not left_behind(tmp_path)


def test_full_disk_leaves_no_partial_array(tmp_path, images, monkeypatch):
    def full(array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache.np, "ascontiguousarray", full)
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path, images)
    assert not list((tmp_path / "cache").rglob("*.npy")) and not left_behind(tmp_path)


def test_processes_may_build_the_same_arrays_at_once(tmp_path, images):
    program = ("import sys, cv2, pathlib; from video import image_cache; "
               "images = sorted(pathlib.Path(sys.argv[1]).iterdir()); "
               f"print(*image_cache.build([(images, cv2.IMREAD_COLOR)], {RESOLUTION}, sys.argv[2], threads=1))")
    command = [sys.executable, "-c", program, str(images[0].parent), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True) for _ in range(3)]
    arrays = {process.communicate()[0].strip() for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert arrays == {str(build(tmp_path, images))} and not left_behind(tmp_path)
