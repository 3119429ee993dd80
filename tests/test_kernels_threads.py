import multiprocessing
import threading

import pytest
import torch

from kernels.threads import Scratch, for_each


@pytest.fixture
def threads():
    """torch.set_num_threads, undone."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_each_item_is_handled_once_by_serial_threads_that_record_nothing(threads):
    threads(3)
    seen, x = [], torch.ones(2, requires_grad=True)
    with torch.no_grad():
        for_each(lambda n: seen.append((n, torch.get_num_threads(), (2 * x).requires_grad)), [(n,) for n in range(100)])
    assert sorted(seen) == [(n, 1, False) for n in range(100)]
    assert torch.get_num_threads() == 3
    numbers = []
    other = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert numbers == [3]


def test_an_error_in_a_thread_is_raised(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError):
        for_each(lambda n: 1 // n, [(n,) for n in range(5)])


def fork_and_work():
    for_each(lambda n: n, [(n,) for n in range(4)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_threads_of_its_own(threads):
    threads(2)
    fork_and_work()
    child = multiprocessing.get_context("fork").Process(target=fork_and_work)
    child.start()
    child.join(20)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()


def test_scratch_memory_begins_with_zeros():
    """Padding is multiplied as well: forty times as slowly on Intel's processors where it holds denormal numbers, as
    fresh memory may."""
    torch.use_deterministic_algorithms(True)  # fills what `torch.empty` gives with NaN
    try:
        assert not Scratch().of("values", 5, 32).any()
    finally:
        torch.use_deterministic_algorithms(False)
