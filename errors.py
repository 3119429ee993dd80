"""TODO"""

import errno
import sys


class InputError(Exception):
    """What a user can put right: scripts print its text, one `error: ...` per line, and exit with 1."""


def exit_code(action):
    """Calls `action()` and returns what it returns (None: 0) as an exit code. What a user can put right is one line on
    stderr and exit code 1, without a traceback; an interruption is 130."""
    try:
        return action() or 0
    except InputError as problem:
        lines = str(problem).splitlines()
    except OSError as problem:
        if problem.errno is None:
            raise
        place = f": {problem.filename}" if problem.filename else ""
        remedy = {errno.ENOSPC: "; free some space and start again, what is finished is kept",
                  errno.EACCES: "; choose another folder or change its permissions",
                  errno.EROFS: "; choose another folder"}.get(problem.errno, "")
        lines = [f"{problem.strerror}{place}{remedy}"]
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return 1


def run(main):
    """Runs a script's `main(argv)` and ends the process with its `exit_code`."""
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
