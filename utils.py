"""Settings from the command line, the frame around every script's `main`, and `frames_extraction`.

From a shell: python utils.py frames_extraction VIDEOS_FOLDER
"""

import ast
import difflib
import errno
import os
import sys
from collections import deque
from pathlib import Path

from files import InputError

# ---------------------------------------------------------------------------------------------------------- settings


def settings(config):
    """The settings of a config module (or namespace) as a dict, in the order in which they stand there."""
    return {name: value for name, value in vars(config).items()
            if not name.startswith("_") and isinstance(value, (bool, int, float, str, tuple))}


def parse_value(name, text, default):
    """The value of `--name=text`, of the type that the default has. Raises InputError."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    kinds = [type(entry) for entry in default] if isinstance(default, tuple) else None
    if type(value) is not type(default) or (kinds and [type(entry) for entry in value] != kinds):
        raise InputError(f"{name} must be {_article(type(default).__name__)} like {default!r}, got {text!r}")
    return value


def _article(noun):
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def override(config, argv):
    """Applies `--name=value` arguments to the config, in place. Raises InputError naming all that is wrong."""
    known, problems = settings(config), []
    for argument in argv:
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals:
            problems.append(f"arguments look like --name=value, got {argument!r} (--help lists every setting)")
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "--help lists every setting"
            problems.append(f"there is no setting {name!r}; {hint}")
        else:
            try:
                setattr(config, name, parse_value(name, text, known[name]))
            except InputError as problem:
                problems.append(str(problem))
    if problems:
        raise InputError("\n".join(problems))


def validate(config):
    """Checks every setting by itself and against the others, before any file is opened. Raises InputError with all
    that is wrong, one line each."""
    cfg = config
    rules = [
        (cfg.stereo_layout in ("mono", "top_bottom", "left_right"),
         f'stereo_layout must be "mono", "top_bottom" or "left_right", got {cfg.stereo_layout!r}'),
        (cfg.resolution[0] >= 2 and cfg.resolution[1] >= 8 and cfg.resolution[1] % 4 == 0,
         f"resolution must be (height, width), the width a multiple of 4 and at least 8, got {cfg.resolution}"),
        (cfg.geometry in ("", "exact", "released", "released_wrap"),
         f'geometry must be "exact", "released", "released_wrap" or "" (the model\'s own), got {cfg.geometry!r}'),
        (cfg.sequence_length >= 1, f"sequence_length must be at least 1, got {cfg.sequence_length}"),
        (0 <= cfg.overlap < max(1, cfg.sequence_length),
         f"overlap must be at least 0 and less than sequence_length ({cfg.sequence_length}), got {cfg.overlap}"),
        (cfg.overlay_height >= 2, f"overlay_height must be at least 2, got {cfg.overlay_height}"),
        (cfg.live_flow_resolution >= 16,
         f"live_flow_resolution must be at least 16, got {cfg.live_flow_resolution}"),
        (0 <= cfg.live_port <= 65535, f"live_port must lie in [0, 65535], got {cfg.live_port}"),
        (not cfg.live_file or cfg.live_file.endswith(".mp4"), f"live_file must end in .mp4, got {cfg.live_file!r}"),
        (cfg.flow_method in ("", "dis", "raft_large", "raft_small"),
         f'flow_method must be "dis", "raft_large", "raft_small" or "" (automatic), got {cfg.flow_method!r}'),
        (not cfg.flow_weights or cfg.flow_method in ("raft_large", "raft_small"),
         'flow_weights are for RAFT: set flow_method to "raft_large" or "raft_small", the network that they belong to'),
        (cfg.flow_resolution >= 16, f"flow_resolution must be at least 16, got {cfg.flow_resolution}"),
        (cfg.num_workers >= 0, f"num_workers must be at least 0, got {cfg.num_workers}"),
        (0 <= cfg.validation_split < 1, f"validation_split must lie in [0, 1), got {cfg.validation_split}"),
        (cfg.skip_frames >= 0, f"skip_frames must be at least 0, got {cfg.skip_frames}"),
        (cfg.hidden_dim >= 1, f"hidden_dim must be at least 1, got {cfg.hidden_dim}"),
        (cfg.loss in ("published", "proper", "proper_cc"),
         f'loss must be "published", "proper" or "proper_cc", got {cfg.loss!r}'),
        (cfg.optimizer in ("sgd", "adam", "adamw", "muon"),
         f'optimizer must be "sgd", "adam", "adamw" or "muon", got {cfg.optimizer!r}'),
        (cfg.lr > 0, f"lr must be above 0, got {cfg.lr}"),
        (cfg.lr_schedule in ("constant", "cosine"),
         f'lr_schedule must be "constant" or "cosine", got {cfg.lr_schedule!r}'),
        (cfg.weight_decay >= 0, f"weight_decay must be at least 0, got {cfg.weight_decay}"),
        (cfg.clip_grad >= 0, f"clip_grad must be at least 0, got {cfg.clip_grad}"),
        (cfg.precision in ("float32", "tf32", "bf16"),
         f'precision must be "float32", "tf32" or "bf16", got {cfg.precision!r}'),
        (cfg.batch_size >= 1, f"batch_size must be at least 1, got {cfg.batch_size}"),
        (cfg.epochs >= 1, f"epochs must be at least 1, got {cfg.epochs}"),
        (cfg.seed >= 0, f"seed must be at least 0, got {cfg.seed}"),
        (cfg.picture_interval >= 0, f"picture_interval must be at least 0, got {cfg.picture_interval}"),
        (0 < cfg.gaze_sigma <= 90, f"gaze_sigma must lie in (0, 90], degrees, got {cfg.gaze_sigma}"),
        (cfg.equator_sigma > 0, f"equator_sigma must be above 0, degrees, got {cfg.equator_sigma}"),
    ]
    wrong = [message for holds, message in rules if not holds]
    if wrong:
        raise InputError("\n".join(wrong))


def help_text(config, script):
    """What `--help` prints: the script's docstring, then every setting with its default and comment from config.py."""
    lines = [(script.__doc__ or "").strip(), "", "Settings (config.py), each overridden by --name=value:"]
    defaults = ast.parse(source := Path(config.__file__).read_text(encoding="utf-8"))
    starts = {node.lineno: node.targets[0].id for node in defaults.body if isinstance(node, ast.Assign)}
    for number, line in enumerate(source.splitlines(), start=1):
        if number in starts:
            default = ast.get_source_segment(source, next(n for n in defaults.body if n.lineno == number).value)
            comment = line.partition("  # ")[2].strip()
            lines.append(f"  --{starts[number]}={default}".ljust(44) + f" {comment}")
        elif line.startswith("# "):
            lines += ["", f"{line[2:]}:"]
    return "\n".join(lines)


def configure(config, argv):
    """Override, then validate, with every problem of both in one InputError. The first line of every script's main;
    `--help` prints the settings and exits."""
    if "--help" in argv or "-h" in argv:
        print(help_text(config, sys.modules["__main__"]))
        sys.exit(0)
    problems = []
    for check in (lambda: override(config, argv), lambda: validate(config)):
        try:
            check()
        except InputError as problem:
            problems.append(str(problem))
    if problems:
        raise InputError("\n".join(problems))


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


def in_order(pool, function, items):
    """Yields function(item) for each item, in order, with a bounded number of them under way in the pool."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > os.cpu_count():
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


# -------------------------------------------------------------------------------------------------- frames_extraction


def frames_extraction(path_to_videos, stereo_layout="mono"):
    """Extracts 8 frames a second of every video in a folder to path_to_videos/frames/ID/ID_FRAME.png, and says in
    frames/videos.csv which id is which video. stereo_layout: "mono", "top_bottom" or "left_right".

    Made for the shell: videos that cannot be read are named on stderr, and the process ends with exit code 1 after
    the last video. `extraction.extract_frames` returns them instead.
    """
    from extraction import extract_frames  # which itself imports this file

    def extract():
        problems = extract_frames(path_to_videos, stereo_layout)
        if problems:
            raise InputError("\n".join(problems))

    code = exit_code(extract)
    if code:
        sys.exit(code)


def main(argv):
    import config

    if argv[:1] != ["frames_extraction"] or not argv[1:] or argv[1].startswith("-"):
        raise InputError("usage: python utils.py frames_extraction VIDEOS_FOLDER [--stereo_layout=top_bottom]")
    configure(config, argv[2:])
    frames_extraction(argv[1], config.stereo_layout)


if __name__ == "__main__":
    run(main)
