"""The training data: which windows there are, what an item holds, the order of an epoch."""

from itertools import chain

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dataset import PADDING, EpochBatches, TrainingWindows, batches_on, find_videos, split_videos
from errors import InputError
from files import write_image
from video import image_cache

RESOLUTION = (6, 8)
rng = np.random.default_rng(0)


def write(root, folder, video, name, shape=(12, 16)):
    path = root / folder / video / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, rng.integers(256, size=shape, dtype=np.uint8))
    return path


def make_video(root, video, numbers, map_size=(12, 16)):
    """Frames, flow and maps; a map's name is its number, a frame's has the video's name in front."""
    for number in numbers:
        write(root, "frames", video, f"{video}_{number:04d}.png", (12, 16, 3))
        write(root, "flow", video, f"{video}_{number:04d}.png", (12, 16, 3))
        write(root, "maps", video, f"{number:04d}.png", map_size)


def find(root, names, flow=True):
    return find_videos(names, root / "frames", root / "maps", root / "flow" if flow else "")


def windows(root, names, length, skip_frames=0, flow=True):
    videos = find(root, names, flow)
    arrays = [image_cache.build(video.sources(), RESOLUTION, root / "cache", threads=1) for video in videos]
    return TrainingWindows(videos, arrays, length, skip_frames)


@pytest.mark.parametrize("frames, skip, expected",
                         [(10, 2, [2, 6]), (9, 2, [2]), (6, 2, [2]), (5, 2, []), (8, 0, [0, 4])])
def test_windows_follow_each_other_and_the_last_full_one_is_kept(tmp_path, frames, skip, expected):
    make_video(tmp_path, "a", range(frames))
    dataset = windows(tmp_path, ["a"], 4, skip)
    assert [rows[0] for _, rows in dataset.windows] == expected
    assert dataset.too_short == ([] if expected else ["a"])


def test_item_is_frame_and_flow_and_target_of_the_same_frames(tmp_path):
    make_video(tmp_path, "b", range(0, 24, 3))
    write(tmp_path, "maps", "b", "0001.png")  # of no frame
    (tmp_path / "maps" / "b" / "0000.png").unlink()
    (tmp_path / "flow" / "b" / "b_0003.png").unlink()
    dataset = windows(tmp_path, ["b"], 3, 2)
    clip, target, index = dataset[1]
    assert clip.shape == (3, 6, 8, 6) and target.shape == (3, 6, 8) and index == 1
    assert clip.dtype == target.dtype == torch.uint8
    for row, number in enumerate((15, 18, 21)):
        for name, flags, found in ((f"frames/b/b_{number:04d}.png", cv2.IMREAD_COLOR, clip[row, :, :, :3]),
                                   (f"flow/b/b_{number:04d}.png", cv2.IMREAD_COLOR, clip[row, :, :, 3:]),
                                   (f"maps/b/{number:04d}.png", cv2.IMREAD_GRAYSCALE, target[row])):
            image = cv2.resize(cv2.imread(str(tmp_path / name), flags), (8, 6), interpolation=cv2.INTER_AREA)
            np.testing.assert_array_equal(found, image)
    assert dataset.describe(1) == "video b, frames 15 to 21"
    assert windows(tmp_path, ["b"], 3, 2, flow=False)[1][0].shape == (3, 6, 8, 3)


def test_maps_may_carry_the_video_name_and_another_size(tmp_path):
    make_video(tmp_path, "166", range(4), map_size=(30, 60))
    for number in range(4):
        path = tmp_path / "maps" / "166" / f"{number:04d}.png"
        path.rename(path.with_name(f"166_{number:04d}.png"))
    assert len(windows(tmp_path, ["166"], 2)) == 2


@pytest.mark.parametrize("kind, name", [("maps", "0009.png"), ("flow", "a_0009.png")])
def test_a_window_with_a_hole_is_left_out_and_counted(tmp_path, kind, name):
    make_video(tmp_path, "a", range(16))
    (tmp_path / kind / "a" / name).unlink()
    dataset = windows(tmp_path, ["a"], 4)
    assert [rows[0] for _, rows in dataset.windows] == [0, 4, 12]
    assert dataset.left_out == 1 and "1 windows left out" in dataset.summary()
    clip, target, _ = dataset[2]
    image = cv2.imread(str(tmp_path / "maps" / "a" / "0012.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(target[0], cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA))
    image = cv2.imread(str(tmp_path / "flow" / "a" / "a_0012.png"))
    np.testing.assert_array_equal(clip[0, :, :, 3:], cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA))


def test_videos_without_frames_maps_or_flow_are_all_named(tmp_path):
    for video in ("whole", "mapless", "flowless"):
        make_video(tmp_path, video, range(4))
    for path in (tmp_path / "maps" / "mapless").iterdir():
        path.unlink()
    for path in list((tmp_path / "flow" / "flowless").iterdir()):
        path.rename(path.with_name(f"x_{100 + int(path.stem[-4:])}.png"))
    with pytest.raises(InputError) as raised:
        find(tmp_path, ["whole", "absent", "mapless", "flowless"])
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert all(part in line for line, part in zip(lines, ("no frames", "no flow images")))
    assert all(name in line for line, name in zip(lines, ("absent", "flowless")))
    assert [video.name for video in find(tmp_path, ["mapless", "whole"])] == ["whole"]
    with pytest.raises(InputError, match=r"mapless holds no ground-truth maps .* \(gaze.py makes them\)"):
        find(tmp_path, ["mapless"])


def test_constant_map_is_named_if_it_would_be_used(tmp_path):
    make_video(tmp_path, "a", range(8))
    write_image(tmp_path / "maps" / "a" / "0001.png", np.full((12, 16), 7, np.uint8))
    assert len(windows(tmp_path, ["a"], 4, 4)) == 1
    with pytest.raises(InputError, match=r"constant.*maps/a/0001\.png"):
        windows(tmp_path, ["a"], 4, 0)


@pytest.mark.parametrize("count, share, expected", [(5, 0.2, 1), (6, 0.2, 2), (104, 0.2, 21), (3, 0.0, 0), (1, 0.2, 1)])
def test_validation_is_the_beginning_of_the_list(count, share, expected):
    names = [str(number) for number in range(count)]
    assert split_videos(names, share) == (names[expected:], names[:expected])


@given(count=st.integers(1, 40), batch_size=st.integers(1, 4), world_size=st.integers(1, 4), epoch=st.integers(0, 3),
       share=st.floats(0, 1))
def test_processes_together_do_what_one_does_with_a_larger_batch(count, batch_size, world_size, epoch, share):
    def batches(batch_size, rank, world_size):
        sampler = EpochBatches(count, batch_size, 7, rank, world_size)
        sampler.begin(epoch, int(share * count))
        result = list(sampler)
        assert len(result) == len(sampler)
        return result

    together = [set().union(*parts) - {PADDING} for parts in zip(*(batches(batch_size, rank, world_size)
                                                                   for rank in range(world_size)))]
    one = batches(batch_size * world_size, 0, 1)
    assert together == [set(batch) for batch in one]
    whole = torch.randperm(count, generator=torch.Generator().manual_seed(7 + epoch)).tolist()
    assert list(chain.from_iterable(one)) == whole[int(share * count) :]


def test_order_changes_with_the_epoch_but_not_without_a_seed():
    shuffled, plain = EpochBatches(20, 3, 0, 0, 1), EpochBatches(7, 3, None, 0, 1)
    first = list(shuffled)
    shuffled.begin(1, 0)
    assert list(shuffled) != first
    assert list(plain) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_are_floats_with_channels_before_rows():
    clips = torch.randint(256, (2, 3, 6, 10, 3), dtype=torch.uint8)
    targets = torch.randint(256, (2, 3, 6, 10), dtype=torch.uint8)
    ((x, y, indices),) = batches_on(torch.device("cpu"), [(clips, targets, torch.tensor([4, PADDING]))])
    assert x.shape == (2, 3, 3, 6, 10) and indices == [4, PADDING]
    assert x[1, 2, 0, 4, 7] == clips[1, 2, 4, 7, 0].float() / 255 and y[1, 2, 4, 7] == targets[1, 2, 4, 7].float() / 255
