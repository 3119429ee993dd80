"""From frames as they come, out of a decoder say, to their saliency maps: in one pass, in bounded memory, each stage at
work while the others are."""

import os
import threading
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, Full, Queue

import cv2


@contextmanager
def serial_opencv():
    """Within this block OpenCV has no threads of its own: for work that is spread over the cores already, and for
    processes that are forked meanwhile, which would wait for ever for threads that they do not have."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)

FRAMES_AHEAD = 2    # decoded before they are needed
SHOWN_AHEAD = 4     # maps that wait to be drawn
END = object()


# ------------------------------------------------------------------------------------------------------------- threads


def join(thread):
    """Waits for a thread's end, also through Ctrl-C, which is then raised: a thread that is still in FFmpeg when Python
    ends may never let it."""
    interruption = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as problem:
            interruption = problem
    if interruption:
        raise interruption


def delivered(get):
    """Yields the items that get() returns as (item, problem), up to END; raises a problem that comes."""
    while True:
        item, problem = get()
        if problem:
            raise problem
        if item is END:
            return
        yield item


@contextmanager
def ahead(items, count):
    """Yields an iterator over `items`, which a thread of their own runs, up to `count` of them ahead. An error there is
    raised here. The thread ends with the block."""
    queue, left = Queue(count), threading.Event()

    def put(item):
        while not left.is_set():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue

    def work():
        try:
            for item in items:
                put((item, None))
                if left.is_set():
                    return
            put((END, None))
        except BaseException as problem:
            put((END, problem))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield delivered(queue.get)
    finally:
        left.set()
        join(thread)


@contextmanager
def behind(writers):
    """Yields a function write(frame, saliency), which hands both to every writer, on a thread of its own, in order. The
    writers are contexts with such a method; they see an error anywhere as their own, and finish if there is none."""
    if not writers:
        yield lambda frame, saliency: None
        return
    queue, failed = Queue(SHOWN_AHEAD), []

    def work():
        try:
            with ExitStack() as stack:
                entered = [stack.enter_context(writer) for writer in writers]
                while (item := queue.get()) is not END:
                    if isinstance(item, BaseException):
                        raise item
                    for writer in entered:
                        writer.write(*item)
        except BaseException as problem:
            failed.append(problem)

    thread = threading.Thread(target=work, daemon=True)

    def put(item):
        while thread.is_alive():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue
        raise failed[0]

    thread.start()
    try:
        yield lambda frame, saliency: put((frame, saliency))
        put(END)
    except BaseException as problem:
        while thread.is_alive():  # what it still has to write is of no use any more
            with suppress(Empty):
                queue.get_nowait()
            with suppress(Full):
                queue.put_nowait(problem)
            thread.join(0.01)
        raise
    join(thread)
    if failed:
        raise failed[0]


def in_order(pool, function, items):
    """Yields function(item) for each item, in order, with a bounded number of them under way in the pool."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > os.cpu_count():
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
