"""Names and numbers that others have written: how they are checked, and shown. It imports nothing that takes time."""

import re

from errors import InputError


def printable(text):
    """A file's name or path as text that can be written anywhere: what is not printable, or no UTF-8, as %HH."""
    return "".join(letter if letter.isprintable() else f"%{ord(letter) & 0xFF:02X}" for letter in str(text))


def plain_name(text, where):
    """`text`, if it can only be the name of a file or folder, and not a path to somewhere else. where: the file that
    says it, for the message. Raises InputError."""
    if (not isinstance(text, str) or text in ("", ".", "..") or set(text) & {"/", "\\"} or not text.isprintable()
            or len(text.encode("utf-8", "replace")) > 200):
        raise InputError(f"{where}: {shortened(text)} is not the plain name of a file or folder")
    return text


def is_plain_name(value):
    """Whether the value can only be the name of a file or folder."""
    try:
        return bool(plain_name(value, ""))
    except InputError:
        return False


def whole_number(text, where, least=0, most=10**15):
    """The int that `text`, a str or an int, says. where: see `plain_name`. Raises InputError if it is not within
    [least, most]."""
    digits = text if isinstance(text, str) else str(text) if type(text) is int and abs(text) <= most else ""
    if re.fullmatch(r"[0-9]{1,16}", digits) and least <= int(digits) <= most:
        return int(digits)
    raise InputError(f"{where}: {shortened(text)} is not a whole number in [{least}, {most}]")


def shortened(value):
    """The value as Python writes it, cut at 60 characters."""
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
