"""Files of a folder of videos that look like a camera's or like videos, but are not used: each is named, and why."""

from pathlib import Path

from checks import printable
from errors import InputError
from files import IMAGE_SUFFIXES
from video.decode import is_video, open_video

GOPRO = "export it as equirectangular .mp4 with GoPro Player (or the Quik app)"
INSTA360 = "export it as equirectangular .mp4 with Insta360 Studio"
CAMERA_FILES = {  # by their endings, in small letters: what they hold and what to do
    ".360": f"holds GoPro's two streams of unstitched pictures; {GOPRO}",
    ".insv": f"holds the unstitched pictures of Insta360's lenses; {INSTA360}",
    ".insp": f"is a photo of an Insta360 camera, and no video; {INSTA360}",
    ".lrv": "is a camera's small copy of another video, for its preview; use the video itself, exported as "
            "equirectangular .mp4",
    ".osv": "holds the unstitched pictures of DJI's lenses; export it as equirectangular .mp4 with DJI Studio",
    **dict.fromkeys((".braw", ".r3d", ".crm", ".ari", ".arx", ".mlv", ".nev", ".dng", ".cine"),
                    "is raw material of a camera, which cannot be read; convert it to .mp4"),
}
SOUND_AND_STILLS = (*IMAGE_SUFFIXES, ".m4a", ".mka", ".oga", ".ogg", ".opus", ".wma", ".heic", ".avif", ".thm")
STARTS = (b"\x1aE\xdf\xa3", b"FLV\1", b"OggS", b"\x30\x26\xb2\x75", b"\0\0\1\xba", b"\x06\x0e\x2b\x34")
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")


def holds_video(path):
    """Whether a file begins as containers of video do, and pictures in it can be decoded."""
    with path.open("rb") as file:
        start = file.read(400)
    if not (start.startswith(STARTS) or start[4:8] in MP4_BOXES or start[8:12] == b"AVI "
            or start[:189:188] == b"GG"):  # a transport stream's packets
        return False
    try:
        with open_video(path):
            return True
    except InputError:
        return False


def why_unused(path):
    """Why a file is not used, though it looks like a camera's or like a video, in a few words; "" if it does not."""
    if path.name.startswith(".") or path.is_dir() or is_video(path):
        return ""
    suffix = path.suffix.lower()
    if suffix in CAMERA_FILES:
        return CAMERA_FILES[suffix]
    if path.is_symlink() and not path.exists():
        return "is a link to a file that does not exist"
    if suffix not in SOUND_AND_STILLS and path.is_file() and holds_video(path):
        return "holds a video, but its name does not end as a video's; rename it, such as to .mp4"
    return ""


def unused_files(folder):
    """A line for each file in a folder that looks like a camera's or like a video and is not used, sorted by name.
    Hidden files, such as AppleDouble's ._NAME, are passed over."""
    return [f"{printable(path)} {reason}" for path in sorted(Path(folder).iterdir()) if (reason := why_unused(path))]
