"""What FFmpeg does not say of a file: whether the parts of a Matroska file fit together, and what mp4 and Matroska
files declare of the sphere in ways that it does not read."""

import math
import re

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675  # the elements of Matroska that are entered; others are stepped over
ELEMENTS = {SEGMENT, CLUSTER, 0x1A45DFA3,
            0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,  # of a segment
            0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF}  # of a cluster
HEADER = 2**16              # bytes of a Matroska file that hold what it says of its tracks
LARGEST_MOOV = 2**27        # bytes
MESH = re.compile(rb"\x76\x70.{1,8}\x76\x71(?:[\x81-\x84]|\x40[\x01-\x04]|\x01\0{6}[\x01-\x04])\0{0,3}\x03",
                  re.DOTALL)  # Matroska's elements Projection and ProjectionType, of value 3
XML = re.compile(rb"<GSpherical:(\w+)>\s*([\w.+-]+)\s*<")


def number(data, position, keep_marker=False):
    """(a number of Matroska's variable length, its length) in the bytes at a position; (None, 1) where there is none.
    An unknown size is -1."""
    length = 9 - data[position].bit_length() if position < len(data) else 9
    if length > 8 or position + length > len(data):
        return None, 1
    value = int.from_bytes(data[position:position + length], "big")
    rest = value & ((1 << 7 * length) - 1)
    if keep_marker:
        return value, length
    return (-1 if rest == (1 << 7 * length) - 1 else rest), length


def tear(path):
    """What is wrong with the parts of a Matroska file, in a few words, or "": whether each begins where the one before
    it ends, and all that should be there is."""
    size, position, end = path.stat().st_size, 0, math.inf
    with path.open("rb", buffering=0) as file:
        while position < min(size, end):
            file.seek(position)
            head = file.read(12)
            kind, id_length = number(head, 0, keep_marker=True)
            content, length = number(head, id_length)
            if content is None or kind not in ELEMENTS:
                return f"is damaged: {position} bytes from its beginning it cannot be understood"
            position += id_length + length
            if content > size - position:
                return f"was cut short, or parts of it are missing: {content - (size - position)} bytes"
            if kind == SEGMENT and content >= 0:  # what comes after it is no matter of the video
                end = position + content
            position += 0 if kind in (SEGMENT, CLUSTER) else max(content, 0)
    return ""


def moov_of(file):
    """The box moov of an open mp4 file, which describes its tracks, or b""."""
    while len(head := file.read(16)) >= 8:
        length, kind, read = int.from_bytes(head[:4], "big"), head[4:8], len(head)
        length = int.from_bytes(head[8:], "big") if length == 1 else length
        if kind == b"moov":
            return file.read(min(length or LARGEST_MOOV, LARGEST_MOOV) - read)
        if length < 8:  # it goes on to the end, or is none
            return b""
        file.seek(length - read, 1)
    return b""


def properties(data):
    """{name: value} of spherical metadata V1 in bytes, as far as values are one word."""
    return {name.decode(): value.decode() for name, value in XML.findall(data)}


def declarations(path):
    """(the name of a projection that FFmpeg does not read, or ""; what spherical metadata V1, which is XML, says: a
    dict of strings) of an mp4 or Matroska file."""
    with path.open("rb") as file:
        start = file.read(HEADER)
        if start.startswith(b"\x1aE\xdf\xa3"):
            return "mesh" if MESH.search(start) else "", properties(start)
        file.seek(0)
        moov = moov_of(file) if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") else b""
    boxes = moov[moov.find(b"sv3d"):] if b"sv3d" in moov else b""
    kind = re.search(rb"proj.{0,64}?(mshp|cbmp)", boxes[:4096], re.DOTALL)
    return {b"mshp": "mesh", b"cbmp": "rearranged cubemap"}.get(kind and kind[1], ""), properties(moov)
