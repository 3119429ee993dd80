"""The plan of the house: which room imports which, who reads config.py, what a folder's __init__.py holds.

A room is a folder or a module at the root. A script is a module at the root that can be run.
"""

import ast
from functools import cache

from conftest import ROOT

# The floors of the house from the ground up: each room, and the rooms that it may import, which stand above it here.
# A script may import every room, but nobody may import a script.
ROOMS = {
    "errors": "",
    "hubconf": "",
    "sphere": "",
    "devices": "",
    "kernels": "sphere",
    "checks": "errors",
    "files": "checks errors",
    "maps": "files",
    "provenance": "checks errors files",
    "model_files": "errors",
    "settings": "checks errors",
    "distributed": "errors",
    "spherical_conv": "kernels sphere",
    "published_weights": "errors model_files",
    "model": "errors files model_files published_weights sphere spherical_conv",
    "loss": "sphere",
    "metrics": "sphere",
    "video": "checks errors files provenance",
    "flow": "errors files provenance video",
    "viewer": "errors files maps sphere video",
    "reframing": "sphere video",
    "windows": "devices errors flow model video",
    "results": "checks errors files flow maps provenance video viewer windows",
    "prediction": "errors files flow maps results spherical_conv video viewer windows",
    "dataset": "devices errors files video",
    "training": "distributed errors files model_files",
    "recordings": "errors files sphere",
    "scoring": "errors files flow maps metrics recordings sphere video",
    "synthetic": "errors files sphere video",
}
NOT_THE_HOUSE = ("tests", "benchmarks", "docs", "models")


def name_of(path):
    """video.decode for video/decode.py, video for video/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("*/*.py")])
           if path.relative_to(ROOT).parts[0] not in NOT_THE_HOUSE}


@cache
def parse(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


SCRIPTS = {name for name in MODULES if "." not in name and any(
    isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in parse(name).body)}


def room_of(name):
    return name.partition(".")[0]


@cache
def imports(name, inside_functions=True):
    """[(line number, imported module)] of the house's own modules that a module imports, also inside functions."""
    found = []
    for node in ast.walk(parse(name)) if inside_functions else parse(name).body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        else:
            assert not node.level, f"{where(name, node.lineno)} is a relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            imported = sorted(submodules) or [node.module]
        found += [(node.lineno, module) for module in imported if module in MODULES]
    return found


def where(name, line):
    return f"{MODULES[name].relative_to(ROOT)}:{line}"


def chain_to(target, name, inside_functions=True):
    """The imports that lead from a module to `target`, as text, or None."""
    chains, seen = [(name, "")], set()
    while chains:
        last, chain = chains.pop(0)
        for line, imported in imports(last, inside_functions):
            longer = f"{chain}{where(last, line)} imports {imported}"
            if imported == target:
                return longer
            if imported not in seen:
                seen.add(imported)
                chains.append((imported, f"{longer}, "))
    return None


def test_the_plan_shows_every_room_with_arrows_that_run_downwards():
    assert ROOMS.keys() == {room_of(name) for name in MODULES} - SCRIPTS - {"config"}
    lower = set()
    for room, allowed in ROOMS.items():
        assert set(allowed.split()) <= lower, f"{room} may import {set(allowed.split()) - lower}, which is not below it"
        lower.add(room)


def test_imports_are_those_of_the_plan():
    wrong = []
    for name in MODULES:
        for line, imported in imports(name):
            room, target = room_of(name), room_of(imported)
            if target in SCRIPTS:
                wrong.append(f"{where(name, line)} imports {imported}, which is a script")
            elif name not in SCRIPTS and target not in (room, *ROOMS[room].split()):
                wrong.append(f"{where(name, line)} imports {imported}, which the plan does not allow to {room}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others():
    circles = [circle for name in MODULES if (circle := chain_to(name, name))]
    assert not circles, "\n".join(circles)


def test_only_scripts_read_config():
    """After an override, or in a process that was spawned, a module that imports config would see other values. Other
    programs import utils, which may therefore import config only inside its main."""
    chains = [chain_to("config", name, inside_functions=name != "utils")
              for name in MODULES if name not in SCRIPTS or name == "utils"]
    assert not any(chains), "\n".join(filter(None, chains))


def test_a_folder_says_its_idea_and_nothing_else():
    for folder in {MODULES[name].parent for name in MODULES} - {ROOT}:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert len(tree.body) == 1 and ast.get_docstring(tree), f"{folder.name}/__init__.py is more than a docstring"


def test_every_module_says_what_it_is():
    silent = [str(MODULES[name]) for name in MODULES if len(ast.get_docstring(parse(name)) or "") < 20]
    assert not silent, "no docstring: " + ", ".join(silent)


def test_config_holds_literals_with_a_comment_each():
    source = MODULES["config"].read_text(encoding="utf-8")
    assert isinstance(parse("config").body[0], ast.Expr), "config.py begins with its docstring"
    for node in parse("config").body[1:]:
        assert isinstance(node, ast.Assign), ast.unparse(node)
        ast.literal_eval(node.value)
        assert "  # " in source.splitlines()[node.lineno - 1], f"{ast.unparse(node)} has no comment"


def test_config_holds_exactly_what_is_read():
    """No setting that nothing reads, and none read that is not there. `chosen` and `settings` are what functions call
    the namespace of the settings (`settings.merged`); a NamedTuple of some of them may have that name, too."""
    names = {node.targets[0].id for node in parse("config").body if isinstance(node, ast.Assign)}
    read = {}
    for name in MODULES.keys() - {"settings"}:
        for node in ast.walk(parse(name)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                read.setdefault(node.value.id, {}).setdefault(node.attr, where(name, node.lineno))
    used = {setting for namespace in ("config", "chosen", "settings") for setting in read.get(namespace, ())}
    assert names <= used, f"nothing reads {names - used}"
    for setting, place in read["config"].items():
        assert setting in names or setting.startswith("__"), f"{place} reads config.{setting}, which is not there"


def test_scripts_answer_before_their_slow_imports():
    for name in SCRIPTS:
        if "settings" in {imported for _, imported in imports(name, inside_functions=False)} and name != "utils":
            body = [node for node in parse(name).body if not isinstance(node, ast.Expr)]
            texts = [ast.unparse(node) for node in body[:4]]
            assert texts[0].startswith("from errors import") and texts[1:3] == [
                "import config", "from settings import answer_at_once"], name
            assert texts[3].startswith("if __name__ == '__main__':\n    answer_at_once(config"), name
