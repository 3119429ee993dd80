"""The errors that a user can put right, the exit code with which a script ends (0; 1 after an error; 130 after Ctrl-C
or SIGTERM), and what a script needs of its terminal from its first line on: scripts import this module first."""

import _thread
import errno
import io
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

INTERRUPTED = 130   # exit code, as shells have it for Ctrl-C
SCRIPTS = ("evaluate", "export", "gaze", "inference", "live", "optical_flow", "reframe", "render", "train",
           "utils")
GRACE = 5           # seconds that threads still have after an interruption, when all that is to be saved has been saved
PIPE_CLOSED = 141   # exit code, as shells have it for a program whose reader has gone
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class InputError(Exception):
    """Something that the user can put right. A script prints its text, one `error: ...` a line, and exits with 1."""


class Terminal(io.TextIOWrapper):
    """stdout or stderr of a script. Control characters, which may stand in the name of a file, are shown and not
    obeyed; what the terminal's encoding lacks is written as a number."""

    def write(self, text):
        return super().write(CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text))


def settle_terminal():
    """Gives a script streams that it can always write to. Closed ones become the null device: the first file to be
    opened would otherwise get their number, and all messages."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        stream = getattr(sys, name)
        if number and (stream is None or isinstance(stream, io.TextIOWrapper)):
            encoding, lines = (stream.encoding, stream.line_buffering) if stream else ("utf-8", True)
            buffer = stream.detach() if stream else Path(os.devnull).open("wb")  # noqa: SIM115
            terminal = Terminal(buffer, encoding, "backslashreplace", line_buffering=lines)
            setattr(sys, name, terminal)
            setattr(sys, f"__{name}__", terminal)


def say(line):
    """Prints a line on stderr, if that still has a reader."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def end_at_once(*_):
    """Ends a script that is interrupted while it is still importing modules: there is nothing to lose yet."""
    os.write(2, b"\ninterrupted\n")
    os._exit(INTERRUPTED)


def interrupt(*_):
    raise KeyboardInterrupt


def say_nothing_ignored(ignored):
    """What Python calls for an exception where none may be raised. A Ctrl-C that came in such a place comes once more,
    a moment later; what an object that it left half made says at its end is of no use."""
    if ignored.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, _thread.interrupt_main).start()
    elif not isinstance(sys.exception(), KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


class BarLock:
    """The lock of the progress bars. Ctrl-C may come where tqdm holds it and would never let it go; so whoever waits
    for it goes on after a moment, at the cost of a smudged line."""

    PATIENCE = 1  # seconds

    def __init__(self):
        self.lock = threading.RLock()

    def acquire(self, *_, **__):
        return self.lock.acquire(timeout=self.PATIENCE)

    def release(self):
        with suppress(RuntimeError):  # it was not this thread that got it
            self.lock.release()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


def is_script():
    """Whether the running program is one of the scripts beside this module, and not another that imports them."""
    main = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "none").resolve()
    return main.stem in SCRIPTS and main.parent == Path(__file__).resolve().parent


def exit_code(action):
    """Calls `action()` and returns what it returns (None: 0) as an exit code.

    An InputError, or an OSError such as a full disk, becomes lines on stderr and exit code 1, without a traceback; an
    interruption by Ctrl-C becomes 130. Every other exception is a mistake of ours and passes through.
    """
    try:
        code = action() or 0
        sys.stdout.flush()
        return code
    except InputError as problem:
        lines = str(problem).splitlines()
    except BrokenPipeError:  # `| head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except OSError as problem:
        if problem.errno is None:
            raise
        file = f": {problem.filename}" if problem.filename else ""
        remedy = {errno.ENOSPC: "; free some space and start again, what is finished is kept",
                  errno.EACCES: "; choose another folder or change its permissions",
                  errno.EROFS: "; choose another folder"}.get(problem.errno, "")
        lines = [f"{problem.strerror}{file}{remedy}"]
    except KeyboardInterrupt:
        sys.unraisablehook = lambda ignored: None  # what was interrupted may be only half made
        say("\ninterrupted; the same command continues where it stopped")
        return INTERRUPTED
    for line in lines:
        say(f"error: {line}")
    return 1


def run(main):
    """Runs a script's `main(argv)` and ends the process with its `exit_code`. SIGTERM, which schedulers send before
    they stop a job, does what Ctrl-C does."""
    if IN_CHARGE:
        from tqdm import tqdm  # not above: until this module is whole, Ctrl-C shows a traceback

        tqdm.set_lock(BarLock())
        if signal.getsignal(signal.SIGINT) is end_at_once:
            signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, interrupt)
        sys.unraisablehook = say_nothing_ignored
    code = exit_code(lambda: main(sys.argv[1:]))
    if IN_CHARGE:  # nothing that comes now can change how it ends
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if code == INTERRUPTED:  # Python would wait for threads, one of which may compile or read for a minute
            ending = threading.Timer(GRACE, os._exit, [code])
            ending.daemon = True
            ending.start()
    sys.exit(code)


IN_CHARGE = is_script()
if IN_CHARGE:
    settle_terminal()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores Ctrl-C
        signal.signal(signal.SIGINT, end_at_once)
    signal.signal(signal.SIGTERM, end_at_once)
