"""Stages that run at the same time, each on a thread of its own, with a bounded number of frames between them."""

import os
import threading
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, Full, Queue

import cv2

PICTURES_WAITING = 4    # frames with their maps that wait for the writers
END = object()          # stands after the last item in a queue


@contextmanager
def serial_opencv():
    """Within this block OpenCV starts no threads of its own: the work is spread over the cores already. A process that
    is forked meanwhile does not wait for threads that it does not have."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def in_order(pool, function, items):
    """Yields function(item) for each item, in order. The pool computes a few of them at a time, ahead of their use."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > os.cpu_count():
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def join_thread(thread):
    """Waits until a thread has ended. Ctrl-C is raised after that, not before: Python must not end while a thread is
    still inside FFmpeg."""
    interruption = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as problem:
            interruption = problem
    if interruption:
        raise interruption


def delivered(get):
    """Yields items until END. get() returns the next one as (item, problem); a problem that is not None is raised."""
    while True:
        item, problem = get()
        if problem:
            raise problem
        if item is END:
            return
        yield item


@contextmanager
def read_ahead(items, count):
    """Yields an iterator over `items`. A thread runs them, at most `count` items ahead of their use. An error in that
    thread is raised here, and the thread ends with the block."""
    queue, block_left = Queue(count), threading.Event()

    def put(item):
        while not block_left.is_set():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue

    def read():
        try:
            for item in items:
                put((item, None))
                if block_left.is_set():
                    return
            put((END, None))
        except BaseException as problem:
            put((END, problem))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield delivered(queue.get)
    finally:
        block_left.set()
        join_thread(thread)


@contextmanager
def write_behind(writers):
    """Yields a function write(frame, saliency, time), which hands all three to every writer, in order, on a thread of
    its own.

    A writer is a context with such a `write`. If there is no error, all writers are left normally, and so finish; an
    error in any of them, or in the block, is the error with which every one of them is left.
    """
    if not writers:
        yield lambda *item: None
        return
    queue, failures = Queue(PICTURES_WAITING), []

    def write_queued():
        try:
            with ExitStack() as stack:
                entered = [stack.enter_context(writer) for writer in writers]
                while (item := queue.get()) is not END:
                    if isinstance(item, BaseException):
                        raise item
                    for writer in entered:
                        writer.write(*item)
        except BaseException as problem:
            failures.append(problem)

    thread = threading.Thread(target=write_queued, daemon=True)

    def put(item):
        while thread.is_alive():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue
        raise failures[0]

    thread.start()
    try:
        yield lambda *item: put(item)
        put(END)
    except BaseException as problem:
        while thread.is_alive():  # what still waits to be written is of no use any more
            with suppress(Empty):
                queue.get_nowait()
            with suppress(Full):
                queue.put_nowait(problem)
            thread.join(0.01)
        raise
    join_thread(thread)
    if failures:
        raise failures[0]
