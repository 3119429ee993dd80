"""A new run of a benchmark against the one before, number by number.

    python benchmarks/model.py                                  writes its result over the one before
    python benchmarks/compare.py                                compares what was written with what git holds
    python benchmarks/compare.py OLD.md NEW.md                  compares two files of results, such as two machines'

Prints new / old for every number of a table that both have. Times differ from hour to hour on a shared machine, ratios
hardly: it ends with exit code 1 if a speed, "8.41 x", has fallen by more than --tolerance.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import RESULTS


def rows_of(table):
    """(names of the columns, {first cell: cells}) of the lines of a Markdown table."""
    names, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table]
    return names, {cells[0]: cells for cells in rows}


def tables(text):
    """{(section, number of the table in it): its lines} of a file of results."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        blocks = re.findall(r"(?:^\|.*\n?)+", body, flags=re.MULTILINE)
        found |= {(title, number): block.splitlines() for number, block in enumerate(blocks)}
    return found


def number_in(cell):
    """(the number of a cell, whether it is a speed, "8.41 x"), or None."""
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)( x)?", cell)
    return (float(match[1]), bool(match[2])) if match else None


def compare(old, new):
    """Yields (where, old number, new number, whether it is a speed) for the numbers that both texts have."""
    before, after = tables(old), tables(new)
    for place in [place for place in after if place in before]:
        (old_names, old_rows), (names, rows) = rows_of(before[place]), rows_of(after[place])
        for row, cells in rows.items():
            earlier = dict(zip(old_names, old_rows.get(row, ())))
            for name, cell in list(zip(names, cells))[1:]:
                numbers = number_in(earlier.get(name, "")), number_in(cell)
                if all(numbers):
                    (before_number, _), (now, is_speed) = numbers
                    yield f"{place[0]}, table {place[1] + 1}, {row}, {name}", before_number, now, is_speed


def committed(path):
    """The text of a file as git holds it, or ""."""
    shown = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True, text=True)
    return shown.stdout


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="two files; none = those in results, and git's")
    parser.add_argument("--tolerance", type=float, default=0.1, help="share by which a speed may fall")
    options = parser.parse_args(argv)
    if len(options.files) not in (0, 2):
        parser.error(f"give two files, or none; got {len(options.files)}")
    if options.files:
        pairs = [tuple(path.read_text(encoding="utf-8") for path in options.files)]
    else:
        pairs = [(committed(path), path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.md"))]
    compared = [each for old, new in pairs if old != new for each in compare(old, new)]
    if not compared:
        print("no table of results that both have has changed")
    slower = 0
    for where, before, now, is_speed in compared:
        fell = is_speed and now < before * (1 - options.tolerance)
        slower += fell
        print(f"{now / before if before else float('nan'):6.2f}  {before:g} -> {now:g}  {where}{'  SLOWER' * fell}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
