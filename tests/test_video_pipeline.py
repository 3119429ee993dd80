"""Stages on threads of their own: order, bounds, errors."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest

from video.pipeline import PICTURES_WAITING, in_order, read_ahead, write_behind


def test_in_order_keeps_the_order_and_takes_no_more_than_it_needs():

    taken = []
    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda item: item * item, (taken.append(k) or k for k in range(1000)))
        assert next(results) == 0
        assert len(taken) < 100
        assert list(results) == [k * k for k in range(1, 1000)]


def test_ahead_reads_a_bounded_number_in_order_and_stops():
    read, threads = [], threading.active_count()
    with read_ahead((read.append(k) or k for k in count()), 2) as items:
        assert list(islice(items, 5)) == [0, 1, 2, 3, 4]
    assert len(read) <= 5 + 2 + 2
    assert threading.active_count() == threads


def test_ahead_passes_errors_on():
    with pytest.raises(ZeroDivisionError), read_ahead((1 // k for k in (1, 0)), 3) as items:
        assert next(items) == 1
        next(items)


class Writer:
    def __init__(self, fail_at=None):
        self.items, self.fail_at, self.failure = [], fail_at, "not left"

    def __enter__(self):
        return self

    def write(self, frame, saliency, time):
        if len(self.items) == self.fail_at:
            raise OSError("disk full")
        self.items.append((frame, saliency, time))

    def __exit__(self, failure, *_):
        self.failure = failure


def test_behind_hands_everything_to_every_writer():
    writers = Writer(), Writer()
    with write_behind(writers) as write:
        for k in range(50):
            write(k, -k, k / 8)
    assert all(writer.items == [(k, -k, k / 8) for k in range(50)] and writer.failure is None for writer in writers)
    with write_behind([]) as write:
        write(1, 2, 3)


def test_an_error_of_a_writer_or_of_the_block_reaches_all():
    writers = Writer(), Writer(fail_at=2)
    with pytest.raises(OSError, match="disk full"), write_behind(writers) as write:
        for k in range(10 * PICTURES_WAITING):
            write(k, k, k)
    assert writers[0].failure is OSError
    writer = Writer()
    with pytest.raises(KeyError), write_behind([writer]) as write:
        write(1, 1, 1)
        raise KeyError
    assert writer.failure is KeyError
