"""The errors that a user can put right, and the exit code with which a script ends: 0, 1 after an error, 130 after
Ctrl-C."""

import errno
import sys


class InputError(Exception):
    """Something that the user can put right. A script prints its text, one `error: ...` a line, and exits with 1."""


def exit_code(action):
    """Calls `action()` and returns what it returns (None: 0) as an exit code.

    An InputError, or an OSError such as a full disk, becomes lines on stderr and exit code 1, without a traceback; an
    interruption by Ctrl-C becomes 130. Every other exception is a mistake of ours and passes through.
    """
    try:
        return action() or 0
    except InputError as problem:
        lines = str(problem).splitlines()
    except OSError as problem:
        if problem.errno is None:
            raise
        file = f": {problem.filename}" if problem.filename else ""
        remedy = {errno.ENOSPC: "; free some space and start again, what is finished is kept",
                  errno.EACCES: "; choose another folder or change its permissions",
                  errno.EROFS: "; choose another folder"}.get(problem.errno, "")
        lines = [f"{problem.strerror}{file}{remedy}"]
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return 1


def run(main):
    """Runs a script's `main(argv)` and ends the process with its `exit_code`."""
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
