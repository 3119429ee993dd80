"""Two results of a benchmark, compared number by number."""

import pytest

from benchmarks import compare

OLD = """# benchmarks/model.py on a machine

## python benchmarks/model.py

2026-01-01

| | ms a frame | speed | difference |
|---|---|---|---|
| straightforward | 400.0 | 1.00 x |  |
| ours | 50.0 | 8.00 x | 2e-07 |

## python benchmarks/model.py --growth

| size | ms |
|---|---|
| 240 x 320 | 20 |
"""


@pytest.mark.parametrize("speed, code", [("8.00 x", 0), ("7.30 x", 0), ("7.10 x", 1), ("9.00 x", 0)])
def test_a_speed_that_fell_is_named(tmp_path, capsys, speed, code):
    (tmp_path / "old.md").write_text(OLD)
    (tmp_path / "new.md").write_text(OLD.replace("8.00 x", speed).replace("| 50.0 |", "| 60.0 |"))
    assert compare.main([str(tmp_path / "old.md"), str(tmp_path / "new.md")]) == (code if speed != "8.00 x" else 0)
    lines = capsys.readouterr().out.splitlines()
    assert "  1.20  50 -> 60  python benchmarks/model.py, table 1, ours, ms a frame" in lines
    assert sum(line.endswith("SLOWER") for line in lines) == code


def test_only_what_both_have_is_compared():
    new = OLD.replace("| ours | 50.0 | 8.00 x | 2e-07 |", "| theirs | 1.0 | 2.00 x |  |").partition("\n## python bench")
    found = list(compare.compare(OLD, "".join(new)))
    assert [(before, now, is_speed) for _, before, now, is_speed in found] == [
        (400, 400, False), (1, 1, True), (20, 20, False)]


def test_the_results_here_are_those_of_git_or_comparable(capsys):
    assert compare.main([]) in (0, 1)
    assert capsys.readouterr().out
