import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import kernels.threads
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


def test_ctrl_c_while_threads_start_leaves_none_waiting(threads, monkeypatch):
    submitted = []

    class Interrupted(ThreadPoolExecutor):
        def submit(self, function):
            if submitted:
                raise KeyboardInterrupt
            submitted.append(super().submit(function))
            return submitted[0]

    monkeypatch.setattr(kernels.threads, "ThreadPoolExecutor", Interrupted)
    kernels.threads.thread_pool.cache_clear()
    threads(3)
    with pytest.raises(KeyboardInterrupt):
        for_each(lambda n: n, [(n,) for n in range(4)])
    assert isinstance(submitted[0].exception(timeout=20), threading.BrokenBarrierError)
    assert torch.get_num_threads() == 3
    monkeypatch.undo()
    for_each(lambda n: submitted.append(n), [(n,) for n in range(4)])  # the next call starts others
    assert sorted(submitted[1:]) == [0, 1, 2, 3]


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
