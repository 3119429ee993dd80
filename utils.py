"""The functions that users call from a shell or from their own programs: `frames_extraction`, and those for settings.

    python utils.py frames_extraction VIDEOS_FOLDER
    python utils.py probe FILE...                       what is understood of each video, one line a file
"""

from errors import InputError, exit_code, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import sys
from functools import partial

from settings import configure, override, report_together, settings, validate
from video.extraction import extract_frames
from video.summary import summarise

__all__ = ["configure", "frames_extraction", "override", "settings", "validate"]


def frames_extraction(path_to_videos, stereo_layout="mono", projection="", frames_ids=""):
    """Extracts 8 frames a second of every video in a folder to path_to_videos/frames/ID/ID_FRAME.png, and writes
    frames/videos.csv, which says which id is which video. stereo_layout and projection: see
    config.py; frames_ids: "name" makes ID the file's name, otherwise it is 000, 001, ...

    It is made for the shell: it names videos that cannot be read on stderr, and after the last video it ends the
    process with exit code 1. `video.extraction.extract_frames` returns these lines instead.
    """
    def extract():
        problems = extract_frames(path_to_videos, stereo_layout, projection, frames_ids == "name")
        if problems:
            raise InputError("\n".join(problems))

    code = exit_code(extract)
    if code:
        sys.exit(code)


def print_summary(file, stereo_layout, projection):
    """Prints what is understood of a video file. Raises InputError if it cannot be read or is not used."""
    print(summarise(file, stereo_layout, projection))


def main(argv):
    command, arguments = argv[:1], [argument for argument in argv[1:] if not argument.startswith("--")]
    if command not in (["frames_extraction"], ["probe"]) or not arguments or (
            command == ["frames_extraction"] and len(arguments) > 1):
        raise InputError("usage: python utils.py frames_extraction VIDEOS_FOLDER [--stereo_layout=top_bottom], or "
                         "python utils.py probe FILE...")
    import config  # not above: programs that import this module must not import config through it

    configure(config, [argument for argument in argv[1:] if argument.startswith("--")])
    if command == ["frames_extraction"]:
        frames_extraction(arguments[0], config.stereo_layout, config.projection, config.frames_ids)
    else:
        report_together(partial(print_summary, file, config.stereo_layout, config.projection) for file in arguments)


if __name__ == "__main__":
    run(main)
