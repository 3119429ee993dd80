"""What a benchmark leaves in benchmarks/results."""

import re

import torch

from benchmarks import report


def test_a_command_has_one_section_and_the_others_stay():
    text = "# title\n"
    for title, section in (("one", "1"), ("two", "2\n\n| a |"), ("one", "3")):
        text = report.with_section(text, title, section)
    assert text == "# title\n\n## one\n\n3\n\n## two\n\n2\n\n| a |\n"


def test_commands_do_not_name_the_folders_of_a_machine():
    command = report.command_line("drift", ["/home/a/b.mp4", "--model=../c d/e.pth", "--rows=8"])
    assert command == "python benchmarks/drift.py b.mp4 --model=e.pth --rows=8"


def test_a_result_says_where_and_with_what_it_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    for value in (1, 2):
        with report.written("model", ["--quick"], torch.device("cpu")) as line:
            line(f"| {value} |")
    path, = (tmp_path / "results").iterdir()
    assert re.fullmatch(r"model-[a-z0-9-]+-\d+-cores\.md", path.name)
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^## python benchmarks/model.py --quick\n\n\d{4}-\d\d-\d\d, commit .*, torch \d", text, re.M)
    assert "| 2 |" in text and "| 1 |" not in text
    assert capsys.readouterr().out.count("written to ") == 2
