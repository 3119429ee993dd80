"""What the readers of text files share: its rows, some at a time, and their columns as arrays."""

import csv
from itertools import islice
from typing import NamedTuple

import numpy as np

from errors import InputError

ROWS_AT_A_TIME = 10_000     # bounds the memory of rows that are still text
FIRST_BYTES = 4096          # that tell the format of a file


def first_lines(path):
    """The lines, without blank ones, at the beginning of a file, decoded as far as possible."""
    with path.open("rb") as file:
        text = file.read(FIRST_BYTES).decode("utf-8-sig", errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def delimiter_of(line):
    """What separates the columns of a line: a tab, a semicolon, a comma, or a space for any number of spaces."""
    return next((delimiter for delimiter in "\t;," if delimiter in line), " ")


def split_header(line):
    """The names of the columns in a header line, in lower case. A "#" in front and quotation marks do not count."""
    return [name.strip().strip('"').lower() for name in line.lstrip("#").split(delimiter_of(line))]


def read_rows(path, delimiter, comments=""):
    """Yields (some rows of a text file, the numbers of their lines, from 1), at most ROWS_AT_A_TIME together: a list of
    lists of text, and an array. The file is UTF-8, with or without a byte order mark. Blank lines are left out, and
    those that begin with a letter of `comments`. Raises InputError for a file that is not such text."""
    last = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            reader = map(str.split, file) if delimiter == " " else csv.reader(file, delimiter=delimiter)
            while rows := list(islice(reader, ROWS_AT_A_TIME)):
                lines = last + np.arange(1, len(rows) + 1)
                if delimiter != " " and reader.line_num > lines[-1]:  # line ends within quotation marks
                    lines = last + np.cumsum([1 + sum(text.count("\n") for text in row) for row in rows])
                last = lines[-1]
                kept = [position for position, row in enumerate(rows) if (len(row) > 1 or (row and row[0].strip()))
                        and not (comments and row[0].lstrip().startswith(tuple(comments)))]
                if len(kept) < len(rows):
                    rows, lines = [rows[position] for position in kept], lines[kept]
                yield rows, lines
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {undecodable_line(path)}: this is not a text file in UTF-8") from None
    except csv.Error as problem:
        raise InputError(f"{path}, line {reader.line_num}: this is not a table: {problem}") from None


def undecodable_line(path):
    """The number of the first line of a file that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number


def text_column(rows, column):
    """A column of the rows without surrounding spaces: (N,) objects. Equal texts are one object."""
    texts = [row[column] for row in rows]
    stripped = {text: text.strip() for text in set(texts)}
    return np.array([stripped[text] for text in texts], object)


def number_column(rows, column):
    """A column of the rows as floats (N,), NaN for text that is no number. The decimal sign may be a comma."""
    texts = [row[column] for row in rows]
    try:
        return np.array(list(map(float, texts)), float)
    except ValueError:
        return np.array(list(map(parse_number, texts)), float)


def parse_number(text):
    """The number that a text means, with a decimal point or comma; NaN where it means none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return np.nan


class Columns(NamedTuple):
    """Some columns of N rows of a file. What is no number, or is not there, is NaN or ""."""

    numbers: np.ndarray     # (N, n)
    texts: list             # arrays (N,) of objects
    lines: np.ndarray       # (N,) the number of each row's line, from 1
    widths: np.ndarray      # (N,) how many columns each row has


def read_columns(path, delimiter, width, numeric, textual=(), exact=False, header=False, comments=""):
    """The `Columns` of a text file at the positions `numeric` and `textual`. Of a row with fewer than `width` columns,
    or with `exact` another number, nothing is taken. header: whether the first row names the columns, and is none of
    the data. Raises InputError as `read_rows` does."""
    parts = [Columns(np.zeros((0, len(numeric))), [np.zeros(0, object)] * len(textual), np.zeros(0, int),
                     np.zeros(0, int))]
    for rows, lines in read_rows(path, delimiter, comments):
        first = header and len(parts) == 1
        rows, lines = rows[first:], lines[first:]
        widths = np.fromiter(map(len, rows), int, len(rows))
        if (widths != width).any():
            rows = [row if len(row) == width or (len(row) > width and not exact) else [""] * width for row in rows]
        numbers = np.stack([number_column(rows, position) for position in numeric], axis=1)
        parts.append(Columns(numbers, [text_column(rows, position) for position in textual], lines, widths))
    numbers, texts, lines, widths = zip(*parts)
    return Columns(np.concatenate(numbers), list(map(np.concatenate, zip(*texts))), np.concatenate(lines),
                   np.concatenate(widths))
