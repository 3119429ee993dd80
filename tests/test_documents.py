"""The documents: what they link to, name and tell the reader to type is there."""

import re
import shlex
from types import SimpleNamespace

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import config
from settings import override, settings, validate

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in ("docs", "models", "benchmarks")
                                          for path in (ROOT / folder).glob("*.md"))])
OTHERS_OPTIONS = {"check", "help", "name", "hook-type", "nproc_per_node", "minutes", "rehearse", "nnodes",
                   "node_rank", "master_addr", "master_port", "rm", "shm-size"}  # of other programs
MADE_BY_A_RUN = {"pictures/"}
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def code(text):
    """What stands between backquotes in a line of prose."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def commands(text):
    """Lines of shell in blocks and in prose, as lists of words."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", "").splitlines()]
    for line in [*lines, *(span for span in code(text) if span.startswith("python "))]:
        yield shlex.split(line, comments=True)


def anchors(text):
    """The headings of a document as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options_of_other_scripts():
    """What the scripts accept that read their options with argparse."""
    scripts = [ROOT / "render.py", ROOT / "docs" / "figures.py", ROOT / "models" / "recipe.py",
               *(ROOT / "benchmarks").glob("*.py")]
    return {name for path in scripts for name in re.findall(r'"--(\w+)"', path.read_text(encoding="utf-8"))}


def test_ci_runs_the_commands_of_the_dockerfile():
    text, ci = (ROOT / "Dockerfile").read_text(encoding="utf-8"), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    install, = re.findall(r"^RUN pip install --no-cache-dir (.*)$", text, re.M)
    assert install in ci and '\nCMD ["inference.py"]\n' in text and "\n.venv/bin/python inference.py\n" in ci
    for names in re.findall(r"^COPY (.*) \./$", text, re.M):
        assert all((ROOT / name).is_file() for name in names.split())


@each_document
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), target


@each_document
def test_files_that_are_named_exist(document):
    text = document.read_text(encoding="utf-8")
    for name in code(text):
        if re.fullmatch(r"\.?[a-z_./-]+(\.(py|txt|yaml|yml)|/)", name) and name not in MADE_BY_A_RUN:
            assert (ROOT / name).exists() or (document.parent / name).exists(), name


def test_the_plan_of_the_house_names_what_is_there_and_all_of_it():
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The plan of the house")[2]
    plan = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("    ")]
    named = {word for line in plan for word in line.split() if re.fullmatch(r"\w+(\.py|/)", word)}
    there = {path.name for path in ROOT.glob("*.py")} | {f"{path.parent.name}/" for path in ROOT.glob("*/*.py")}
    assert named == there | {"data/"}


@each_document
def test_settings_and_options_that_are_named_exist(document):
    text = document.read_text(encoding="utf-8")
    known = settings(config).keys() | options_of_other_scripts() | OTHERS_OPTIONS
    named = re.findall(r"(?<![\w-])--([\w-]+)", "\n".join([*code(text), *blocks(text, "sh")]))
    assert set(named) <= known


@each_document
def test_commands_are_as_the_scripts_take_them(document):
    for words in commands(document.read_text(encoding="utf-8")):
        scripts = [word for word in words if word.endswith(".py")]
        assert all((ROOT / script).exists() for script in scripts), words
        if "$@" in words or any("configure(config" in (ROOT / name).read_text(encoding="utf-8") for name in scripts):
            arguments = words[words.index(scripts[0]) + 1:] if scripts else words
            copy = SimpleNamespace(**settings(config))
            override(copy, [word for word in arguments if re.match(r"--\w+=", word)])
            validate(copy)


@each_document
def test_python_compiles(document):
    for block in blocks(document.read_text(encoding="utf-8"), "python"):
        compile(block, str(document), "exec")


@pytest.mark.parametrize(("name", "size"), [("README.md", 9 * 1024), ("models/README.md", 5 * 1024)])
def test_documents_stay_short(name, size):
    assert (ROOT / name).stat().st_size <= size


def test_constraints_fit_the_requirements():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#")
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text().splitlines():
            if not line.startswith("-"):
                wanted = Requirement(line)
                assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line
