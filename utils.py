"""The functions that users call from a shell or from their own programs: `frames_extraction`, and those for settings.

    python utils.py frames_extraction VIDEOS_FOLDER
"""

import sys

from errors import InputError, exit_code, run
from settings import configure, override, settings, validate
from video.extraction import extract_frames

__all__ = ["configure", "frames_extraction", "override", "settings", "validate"]


def frames_extraction(path_to_videos, stereo_layout="mono"):
    """Extracts 8 frames a second of every video in a folder to path_to_videos/frames/ID/ID_FRAME.png, and writes
    frames/videos.csv, which says which id is which video. stereo_layout: "mono", "top_bottom" or "left_right".

    It is made for the shell: it names videos that cannot be read on stderr, and after the last video it ends the
    process with exit code 1. `video.extraction.extract_frames` returns these lines instead.
    """
    def extract():
        problems = extract_frames(path_to_videos, stereo_layout)
        if problems:
            raise InputError("\n".join(problems))

    code = exit_code(extract)
    if code:
        sys.exit(code)


def main(argv):
    if argv[:1] != ["frames_extraction"] or not argv[1:] or argv[1].startswith("-"):
        raise InputError("usage: python utils.py frames_extraction VIDEOS_FOLDER [--stereo_layout=top_bottom]")
    import config  # not above: programs that import this module must not import config through it

    configure(config, argv[2:])
    frames_extraction(argv[1], config.stereo_layout)


if __name__ == "__main__":
    run(main)
