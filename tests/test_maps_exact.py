"""A growing .npy file of maps."""

import numpy as np
import pytest

from maps.exact import ExactMaps


@pytest.fixture
def maps():
    return np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)


def test_the_finished_file_is_an_array_that_can_be_memory_mapped(tmp_path, maps):
    exact = ExactMaps(tmp_path / "000_maps.npy", 3, 4)
    exact.begin()
    for position in (0, 1, 4, 3, 2):
        exact.write(position, maps[position])
        assert not exact.path.exists() and np.array_equal(exact.read(position), maps[position])
    exact.finish(5)
    found = np.load(exact.path, mmap_mode="r", allow_pickle=False)
    assert isinstance(found, np.memmap) and found.dtype == np.float32 and np.array_equal(found, maps)
    assert [path.name for path in tmp_path.iterdir()] == ["000_maps.npy"]


def test_a_killed_run_goes_on(tmp_path, maps):
    first = ExactMaps(tmp_path / "000_maps.npy", 3, 4)
    first.begin()
    first.write(0, maps[0])
    first.file.write(b"half a map")
    first.close()
    second = ExactMaps(tmp_path / "000_maps.npy", 3, 4)
    assert second.read_bytes(0) == maps[0].tobytes() and len(second.read_bytes(1)) == 10
    second.begin()
    for position in range(1, 5):
        second.write(position, maps[position])
    second.finish(5)
    assert np.array_equal(np.load(second.path), maps)


def test_a_finished_file_can_be_mended(tmp_path, maps):
    for changed in (maps + 1, maps):
        exact = ExactMaps(tmp_path / "000_maps.npy", 3, 4)
        exact.begin()
        for position in range(5):
            exact.write(position, changed[position])
        exact.finish(5)
    assert np.array_equal(np.load(exact.path), maps)


def test_nothing_is_read_where_nothing_is(tmp_path):
    assert ExactMaps(tmp_path / "000_maps.npy", 3, 4).read_bytes(7) == b""
