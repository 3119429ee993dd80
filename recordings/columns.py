"""What the readers of text files share: its rows, some at a time, and their columns as arrays."""

import csv
from itertools import islice

import numpy as np

from errors import InputError

ROWS_AT_A_TIME = 100_000    # bounds the memory of rows that are still text
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


def read_rows(path, delimiter):
    """Yields the rows of a text file (UTF-8, with or without a byte order mark), at most ROWS_AT_A_TIME together: lists
    of lists of text. Blank lines are left out. Raises InputError for a file that is not such text."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = map(str.split, file) if delimiter == " " else csv.reader(file, delimiter=delimiter)
            rows = (row for row in rows if len(row) > 1 or (row and row[0].strip()))
            while part := list(islice(rows, ROWS_AT_A_TIME)):
                yield part
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file in UTF-8") from None
    except csv.Error as problem:
        raise InputError(f"{path} is not a table: {problem}") from None


def text_column(rows, column):
    """A column of the rows without surrounding spaces: (N,) objects. Equal texts are one object."""
    known = {}
    return np.array([known.setdefault(text, text) for text in (row[column].strip() for row in rows)], object)


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


def read_numbers(path, delimiter, columns, width):
    """(numbers (N, len(columns)), number of rows) of the rows that have at least `width` columns. A row with fewer is
    left out of the numbers. Raises InputError as `read_rows` does."""
    parts, count = [np.zeros((0, len(columns)))], 0
    for rows in read_rows(path, delimiter):
        whole = [row for row in rows if len(row) >= width]
        parts.append(np.stack([number_column(whole, column) for column in columns], axis=1))
        count += len(rows)
    return np.concatenate(parts), count
