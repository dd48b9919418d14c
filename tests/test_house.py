"""The house keeps its shape: small rooms and files, unique names, short parameter lists, no circle
of imports."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_floors import ROOT, imports

PACKAGES = ("protocols", "swarm", "benchmarks")
MAX_LINES = 400
MAX_FILES = 16  # "about 15", without __init__.py
FLAT = {"swarm/cli"}  # one file a command
MAX_PARAMETERS = 6

# Functions with more, and why.
LONG: dict[str, str] = {}


def modules() -> dict[str, Path]:
    """Every module by its name. Environments that benchmarks make for themselves are hidden
    folders."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not any(part.startswith(".") for part in parts):
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def own_files() -> Iterator[Path]:
    return (path.relative_to(ROOT) for path in MODULES.values() if not path.name.startswith("__"))


def test_a_file_name_is_used_once() -> None:
    twice = [name for name, count in Counter(path.name for path in own_files()).items() if count > 1]
    assert not twice


def test_a_class_name_is_used_once() -> None:
    where = defaultdict(list)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name)
    assert not {name: found for name, found in where.items() if len(found) > 1}


def test_rooms_are_small() -> None:
    rooms = Counter(str(path.parent) for path in own_files())
    assert not {room: files for room, files in rooms.items() if files > MAX_FILES and room not in FLAT}


def test_files_are_small() -> None:
    folders = (*PACKAGES, "fuzz", "tests")
    paths = [path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    ours = [path for path in paths if not any(part.startswith(".") or part == "node_modules" for part in path.parts)]
    assert not {str(path): lines for path in ours if (lines := (ROOT / path).read_bytes().count(b"\n")) > MAX_LINES}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a caller may give."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + bool(given.vararg) + bool(given.kwarg)


def test_parameter_lists_are_short() -> None:
    long = {
        f"{name}.{node.name}": count
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (count := parameters(node)) > MAX_PARAMETERS
    }
    assert set(long) == set(LONG), long
    assert len(LONG) <= 5


def graph() -> dict[str, set[str]]:
    """Which modules each imports, under TYPE_CHECKING too; a package counts where a name is taken
    out of it."""
    found = {}
    for name, path in MODULES.items():
        named = imports(path.read_text(encoding="utf-8"), name, path.name == "__init__.py")
        targets = {each if each in MODULES else each.rpartition(".")[0] for each in named}
        found[name] = (targets & set(MODULES)) - {name}
    return found


def circle(edges: dict[str, set[str]]) -> list[str]:
    """The modules that are left when those that import nothing of the rest are taken away again and
    again."""
    left = dict(edges)
    while ends := [name for name, targets in left.items() if not targets & set(left)]:
        for name in ends:
            del left[name]
    return sorted(left)


def test_nothing_imports_itself_in_a_circle() -> None:
    assert circle(graph()) == []


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, ["a", "b", "c"]),
    ],
)
def test_the_search_for_circles_finds_them(edges: dict[str, set[str]], found: list[str]) -> None:
    assert circle(edges) == found


def test_every_file_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert not [str(path) for path in own_files() if path.parts[0] != "benchmarks" and f"`{path.stem}`" not in text]


def test_prose_is_wrapped() -> None:
    """Docstrings and comments at 100 columns; the sentences of settings are printed as they
    stand."""
    wide = []
    for name, path in MODULES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
                first = node.body[0]
                wide += [f"{path.name}:{at}" for at in range(first.lineno, first.end_lineno + 1) if len(lines[at - 1]) > 100]
        wide += [f"{path.name}:{at}" for at, line in enumerate(lines, 1) if line.lstrip().startswith("# ") and len(line) > 100]
    assert not wide, len(wide)
