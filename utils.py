"""What users call from a shell or a program of their own: `frames_extraction`, and the settings' functions.

    python utils.py frames_extraction VIDEOS_FOLDER
"""

import sys

from errors import InputError, exit_code, run
from settings import configure, override, settings, validate
from video.extraction import extract_frames

__all__ = ["configure", "frames_extraction", "override", "settings", "validate"]


def frames_extraction(path_to_videos, stereo_layout="mono"):
    """Extracts 8 frames a second of every video in a folder to path_to_videos/frames/ID/ID_FRAME.png, and says in
    frames/videos.csv which id is which video. stereo_layout: "mono", "top_bottom" or "left_right".

    Made for the shell: videos that cannot be read are named on stderr, and the process ends with exit code 1 after
    the last video. `video.extraction.extract_frames` returns them instead.
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
    import config  # here, since only a script may read it

    configure(config, argv[2:])
    frames_extraction(argv[1], config.stereo_layout)


if __name__ == "__main__":
    run(main)
