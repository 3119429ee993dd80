
import cv2
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from files import frame_number, list_images, read_image, read_split, replacing, write_image, write_text


def test_an_image_is_read_as_it_was_written(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "grey.png", image[..., 0])
    assert np.array_equal(read_image(tmp_path / "a.png"), image)
    assert np.array_equal(read_image(tmp_path / "grey.png", cv2.IMREAD_GRAYSCALE), image[..., 0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "grey.png"]


def test_a_png_cut_anywhere_is_one_line_that_names_it(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    data = path.read_bytes()
    for length in (0, 1, 8, 40, len(data) // 2, len(data) - 12, len(data) - 5):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.png.*delete it") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
    path.write_text("not an image")
    with pytest.raises(InputError, match="not an image"):
        read_image(path)
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "b.png")


def test_what_fails_halfway_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(RuntimeError, match="on the way"), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError("on the way")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: .*a\.txt'"), replacing(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("name", "number"), [
    ("000_0012.png", 12), ("7.png", 7), ("v2_x.png", None), ("a_12345.png", 12345)])
def test_frame_numbers(name, number):
    assert frame_number(name) == number


@given(st.sets(st.integers(0, 20000), min_size=1, max_size=20))
def test_images_are_listed_by_number(tmp_path_factory, numbers):
    folder = tmp_path_factory.mktemp("frames")
    for number in numbers:
        (folder / f"000_{number:04d}.png").touch()
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").touch()
    assert [frame_number(path) for path in list_images(folder)] == sorted(numbers)


def test_published_splits():
    train, test = (read_split(ROOT / f"data/{part}_split_VRET.txt") for part in ("train", "test"))
    assert (len(train), len(test)) == (107, 25)
    assert not set(train) & set(test)
    assert all(len(name) == 3 and 1 <= int(name) <= 213 for name in train + test)
    assert (train[0], train[-1], test[0], test[-1]) == ("166", "043", "047", "119")


@given(st.lists(st.from_regex(r"[A-Za-z0-9_. -]*[A-Za-z0-9_]", fullmatch=True), min_size=1, unique_by=str.strip))
def test_splits_survive_spaces_and_blank_lines(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "split.txt"
    path.write_text("\ufeff" + " ,\n".join(names) + ",\r\n\n", encoding="utf-8")
    assert read_split(path) == [name.strip() for name in names]


@pytest.mark.parametrize(("content", "message"), [
    (None, "split.txt does not exist"), (b" \n,\n", "lists no videos"), (b"001,002,001", "lists 001 more than once"),
    (b"\x89PNG\xff", "not a text file")])
def test_wrong_splits(tmp_path, content, message):
    if content is not None:
        (tmp_path / "split.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path / "split.txt")
