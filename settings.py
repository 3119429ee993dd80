"""The settings of config.py: set from the command line or from a program, and checked before any file is opened.

A config is a module or a namespace whose public attributes are the settings; their values there are the defaults.
"""

import ast
import difflib
import math
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from checks import is_plain_name
from errors import InputError, exit_code

# ----------------------------------------------------------------------------------------------- names and their values


def settings(config):
    """The settings of a config as a dict {name: value}, in the order of the file."""
    return {name: value for name, value in vars(config).items()
            if not name.startswith("_") and isinstance(value, (bool, int, float, str, tuple))}


def report_together(checks):
    """Calls every one of `checks`, even after one has failed. Raises one InputError with the lines of all that
    failed."""
    problems = []
    for check in checks:
        try:
            check()
        except InputError as problem:
            problems.append(str(problem))
    if problems:
        raise InputError("\n".join(problems))


def find_default(name, defaults):
    """The default of a setting; `defaults` is {name: value}. Raises InputError if there is no such setting."""
    if name not in defaults:
        near = difflib.get_close_matches(name, defaults, n=1)
        hint = f"did you mean {near[0]}?" if near else "--help lists every setting"
        raise InputError(f"there is no setting {name!r}; {hint}")
    return defaults[name]


def require_type(name, value, default, written):
    """`value` as the type of `default`: an int becomes a float where the default is a float. Raises InputError for
    every other difference of types, with `written`, the value as the user wrote it."""
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    kinds = [type(entry) for entry in default] if isinstance(default, tuple) else None
    if default == "" and RULES.get(name, TEXT)[0](value):  # regions may be a pair, too
        return value
    if type(value) is not type(default) or (kinds and [type(entry) for entry in value] != kinds):
        noun = type(default).__name__
        article = "an" if noun[0] in "aeiou" else "a"
        raise InputError(f"{name} must be {article} {noun} like {default!r}, got {written!r}")
    return value


def parse_value(name, text, default):
    """The value of `--name=text`, which gets the type of the default. Raises InputError."""
    if isinstance(default, str) or (not text and RULES.get(name, TEXT)[0]("")):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    return require_type(name, value, default, text)


def apply_argument(config, argument, defaults):
    """Applies one `--name=value` argument to the config, in place. Raises InputError."""
    name, equals, text = argument.removeprefix("--").partition("=")
    if not argument.startswith("--") or not equals:
        raise InputError(f"arguments look like --name=value, got {argument!r} (--help lists every setting)")
    setattr(config, name, parse_value(name, text, find_default(name, defaults)))


def override(config, argv):
    """Applies `--name=value` arguments to the config, in place. Raises InputError with everything that is wrong."""
    report_together(partial(apply_argument, config, argument, settings(config)) for argument in argv)


def merged(config, given):
    """A SimpleNamespace of all settings of the config, of which those in `given`, {name: value}, are replaced. The
    config itself stays as it is. Raises InputError as the command line does for wrong names and values."""
    namespace = SimpleNamespace(**{name: value for name, value in vars(config).items() if not name.startswith("_")})
    defaults = settings(config)

    def replace(name, value):
        setattr(namespace, name, require_type(name, value, find_default(name, defaults), value))

    report_together([*(partial(replace, *item) for item in given.items()), partial(validate, namespace)])
    return namespace


# ---------------------------------------------------------------------------------------------------------- the rules


def one_of(*choices):
    """A rule: the value is one of these texts."""
    *first, last = (f'"{choice}"' for choice in choices)
    return (lambda value: value in choices), f"{', '.join(first)} or {last}"


def whole(least, most=math.inf):
    """A rule: the value is an int in [least, most]."""
    return ((lambda value: type(value) is int and least <= value <= most),
            f"at least {least}{'' if most == math.inf else f' and at most {most}'}, a whole number")


def real(holds, requirement):
    """A rule: the value is an int or a float for which `holds(value)`."""
    return (lambda value: type(value) in (int, float) and abs(value) < 1e9 and holds(value)), requirement


def is_resolution(value):
    """Whether the value is a (height, width) that the model accepts."""
    return (type(value) is tuple and len(value) == 2 and all(type(side) is int for side in value)
            and 2 <= value[0] <= MOST_PIXELS and 8 <= value[1] <= MOST_PIXELS and value[1] % 4 == 0)


def tiles_of(value):
    """(rows, columns) of a grid of regions, from a pair or its text, such as "(4, 8)"; None for "". Raises
    ValueError."""
    if value == "":
        return None
    try:
        rows, columns = ast.literal_eval(value) if isinstance(value, str) else value
    except (SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("no pair") from None
    if not all(type(count) is int and 1 <= count <= MOST_TILES for count in (rows, columns)):
        raise ValueError("no pair of counts")
    return rows, columns


def are_tiles(value):
    """Whether the value is a grid of regions, or "" for none."""
    try:
        tiles_of(value)
    except ValueError:
        return False
    return True


MOST_PIXELS = 2**14     # of a side of a picture
MOST_TILES = 64         # rows or columns of a grid of regions


LITERALS = (str, float, int, list, tuple, dict, Path, type(None))  # types that a user may write into config.py

FLAG = (lambda value: type(value) is bool), "True or False"
TEXT = (lambda value: type(value) is str), 'text, "..."'

RULES = {  # {name: (test of the value, what the value must be)}; a setting that is not listed here must be TEXT
    **dict.fromkeys(("of_available", "overlay", "viewer", "sound", "overwrite", "save_frames", "compute_flow",
                     "flow_save_raw", "random_yaw", "random_mirror", "latitude"), FLAG),
    "stereo_layout": one_of("mono", "top_bottom", "left_right"),
    "projection": one_of("equirectangular", "half_equirectangular", "cubemap", "eac", "dual_fisheye", ""),
    "resolution": (is_resolution, "(height, width), the width a multiple of 4 and at least 8"),
    "regions": (are_tiles, f'(rows, columns), at most {MOST_TILES} each, or ""'),
    "save_maps": one_of("png", "npy", "both"),
    "geometry": one_of("exact", "released", "released_wrap", ""),
    "sequence_length": whole(1, 10_000),
    "overlap": whole(0),
    "overlay_height": whole(2, MOST_PIXELS),
    "live_flow_resolution": whole(16, MOST_PIXELS),
    "live_port": whole(0, 65535),
    "field_of_view": real(lambda degrees: 20 <= degrees <= 150, "in [20, 150], degrees"),
    "top_speed": real(lambda speed: 1 <= speed <= 360, "in [1, 360], degrees a second"),
    "calm": real(lambda calm: 0 <= calm <= 100, "in [0, 100]"),
    "flow_method": one_of("dis_gated", "dis", "raft_large", "raft_small", ""),
    "flow_resolution": whole(16, MOST_PIXELS),
    "num_workers": whole(0, 256),
    "validation_split": real(lambda share: 0 <= share < 1, "in [0, 1)"),
    "skip_frames": whole(0, 10**9),
    "hidden_dim": whole(1, 512),
    "loss": one_of("published", "proper", "proper_cc"),
    "optimizer": one_of("sgd", "adam", "adamw", "muon"),
    "lr": real(lambda rate: rate > 0, "above 0"),
    "lr_schedule": one_of("constant", "cosine"),
    "weight_decay": real(lambda decay: decay >= 0, "at least 0"),
    "clip_grad": real(lambda length: length >= 0, "at least 0"),
    "precision": one_of("float32", "tf32", "bf16"),
    "batch_size": whole(1, 4096),
    "epochs": whole(1, 10**6),
    "seed": whole(0, 2**32),
    "model_name": (is_plain_name, "the plain name of a file"),
    "picture_interval": whole(0, 10**6),
    "protocol": one_of("sst_sal", "ours", ""),
    "frames_ids": one_of("number", "name", ""),
    "gt_first_frame": whole(0),
    "gt_fps": real(lambda rate: 0 <= rate <= 1000, "in [0, 1000], maps a second"),
    "mirror_gaze": FLAG,
    "gaze_format": one_of("vr_eyetracking", "d_sav360", "salient360", "360_em", "pvs_hm", "opensal360", "nasrabadi2019",
                          "table", ""),
    "gaze_kind": one_of("gaze", "head", ""),
    "gaze_fps": real(lambda rate: 0 <= rate <= 1000, "in [0, 1000], frames a second"),
    "table_origin": one_of("top", "bottom"),
    "table_first_frame": whole(0),
    "table_time": one_of("s", "ms", "us", "ns"),
    "fixations": one_of("samples", "ivt", "recorded"),
    "ivt_velocity": real(lambda velocity: velocity > 0, "above 0, degrees a second"),
    "ivt_duration": real(lambda duration: duration >= 0, "at least 0, milliseconds"),
    "gaze_blur": one_of("sphere", "image"),
    "evaluation_skip": whole(0),
    "weighting": one_of("area", "sin"),
    "gaze_sigma": real(lambda degrees: 0 < degrees <= 90, "in (0, 90], degrees"),
    "equator_sigma": real(lambda degrees: degrees > 0, "above 0, degrees"),
}


def validate(config):
    """Checks every setting, by itself and together with the others. Raises InputError with a line for each problem."""
    problems = {}
    for name, value in vars(config).items():
        holds, requirement = RULES.get(name, TEXT)
        is_setting = name in RULES or (not name.startswith("_") and isinstance(value, LITERALS))
        if is_setting and not holds(value):
            problems[name] = f"{name} must be {requirement}, got {value!r}"
    are_valid = problems.keys().isdisjoint
    if are_valid(("overlap", "sequence_length")) and config.overlap >= config.sequence_length:
        problems["overlap"] = (f"overlap must be less than sequence_length ({config.sequence_length}), got "
                               f"{config.overlap}")
    for name, value in (("live_file", config.live_file), ("film_file", config.film_file)):
        if are_valid((name,)) and value and not value.endswith(".mp4"):
            problems[name] = f"{name} must end in .mp4, got {value!r}"
    if (are_valid(("flow_weights", "flow_method")) and config.flow_weights
            and not config.flow_method.startswith("raft")):
        problems["flow_weights"] = ('flow_weights are for RAFT: set flow_method to "raft_large" or "raft_small", the '
                                    "network that they belong to")
    if problems:
        raise InputError("\n".join(problems.values()))


def help_text(config, script):
    """The text of `--help`: the script's docstring, then every setting with its default and comment from config.py."""
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


PROTOCOLS = {  # {protocol: the settings that it stands for}
    "sst_sal": {"fixations": "samples", "gaze_sigma": 5.0, "gaze_blur": "image", "evaluation_skip": 20,
                "weighting": "sin"},
    "ours": {"fixations": "samples", "gaze_sigma": 5.0, "gaze_blur": "sphere", "evaluation_skip": 0,
             "weighting": "area"},
}


def apply_protocol(config, argv):
    """Sets what the config's protocol stands for, in place, but for what the command line sets itself."""
    overridden = {argument.removeprefix("--").partition("=")[0] for argument in argv}
    for name, value in PROTOCOLS.get(getattr(config, "protocol", ""), {}).items():
        if name not in overridden:
            setattr(config, name, value)


def configure(config, argv):
    """Applies the command line to the config, then its protocol, and checks it: the first line of every script's main.
    `--help` prints the settings and exits. Raises one InputError with every problem of `override` and `validate`."""
    if "--help" in argv or "-h" in argv:
        print(help_text(config, sys.modules["__main__"]))
        sys.exit(0)
    report_together([partial(override, config, argv), partial(apply_protocol, config, argv), partial(validate, config)])


def answer_at_once(config, others=()):
    """What a script does before its slow imports: `--help`, or a command line with mistakes, ends it at once. others:
    arguments that are not settings."""
    code = exit_code(lambda: configure(config, [argument for argument in sys.argv[1:] if argument not in others]))
    if code:
        sys.exit(code)
