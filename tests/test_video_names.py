"""Which folder of frames a video's name means."""

import pytest

from errors import InputError
from video.catalogue import assign_names
from video.names import explain_missing, find_folders, require_folders


@pytest.fixture
def frames(tmp_path):
    """Folders 000, 001 and 005 and `foreign`, of which the first three are of 002.mp4, 005.mp4 and beach.mp4."""
    for folder in ("000", "001", "005", "foreign"):
        (tmp_path / folder).mkdir()
    return tmp_path


ROWS = {"000": {"video": "002.mp4"}, "001": {"video": "005.mp4"}, "005": {"video": "beach.mp4"},
        "gone": {"video": "gone.mp4"}}


def test_names_mean_files_and_a_folder_of_another_file_is_never_taken(frames):
    assert find_folders(["002", "beach", "foreign"], frames, ROWS, "") == {
        "002": "000", "beach": "005", "foreign": "foreign"}
    assert find_folders(["001", "000", "gone", "none"], frames, ROWS, "") == {}
    assert "folder 001 is of 005.mp4" in explain_missing("001", frames, ROWS)
    assert "it holds 002, 005, beach" in explain_missing("003", frames, ROWS)
    assert find_folders(["a"], frames / "nowhere", {}, "") == {}


def test_a_name_with_two_meanings_is_an_error_that_names_both(frames):
    with pytest.raises(InputError, match=r"video 005 could be .*001 \(of 005.mp4\) or .*005 \(of beach.mp4\);"):
        find_folders(["002", "005"], frames, ROWS, "")
    assert find_folders(["005"], frames, ROWS, "name") == {"005": "001"}
    assert find_folders(["005", "002"], frames, ROWS, "number") == {"005": "005"}
    with pytest.raises(InputError, match=r"\(of a.mov\) or .*\(of a.mp4\)"):
        find_folders(["a"], frames, {"000": {"video": "a.mov"}, "001": {"video": "a.mp4"}}, "name")
    many = {f"{number:03d}": {"video": f"{number + 1:03d}.mp4"} for number in range(9)}
    for folder in many:
        (frames / folder).mkdir(exist_ok=True)
    with pytest.raises(InputError) as raised:
        find_folders([f"{number:03d}" for number in range(9)], frames, many, "")
    assert "7 more names" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_that_is_missing_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    assert require_folders(["a"], tmp_path, "") == {"a": "a"}
    with pytest.raises(InputError, match=r"(?s)b holds no frames .*of video b.*c holds no frames"):
        require_folders(["a", "b", "c"], tmp_path, "")


def test_folders_named_after_files(tmp_path):
    paths = [tmp_path / "002.mp4", tmp_path / "005.mp4"]
    assert assign_names(paths, {}) == {paths[0]: "002", paths[1]: "005"}
    assert assign_names(paths, {"000": {"video": "002.mp4"}}) == {paths[0]: "000", paths[1]: "005"}
    with pytest.raises(InputError, match=r"002.mp4 and .*002.mov would both be called 002"):
        assign_names([*paths, tmp_path / "002.mov"], {})
