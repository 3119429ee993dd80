"""What the readers of text files share: the text, and its columns as arrays."""

import numpy as np

from errors import InputError


def read_text(path):
    """The text of a UTF-8 file, with or without a byte order mark. Raises InputError for other files."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8") from None


def text_column(lines, column):
    """A column of the lines (lists of text) without surrounding spaces: (N,) objects."""
    return np.array([line[column].strip() for line in lines], object)


def number_column(lines, column):
    """A column of the lines (lists of text) as floats (N,), NaN for text that is no number."""
    values = np.full(len(lines), np.nan)
    for position, line in enumerate(lines):
        try:
            values[position] = float(line[column])
        except ValueError:
            continue
    return values
