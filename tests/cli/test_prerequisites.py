"""tools/prerequisites on machines that lack something, each shown by a PATH of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "prerequisites"
# What is missing: how its sentence begins, and the Debian packages that it ends with.
DEBIAN = {
    "python": ("Python 3.11 or newer is missing (", "python3 python3-dev python3-venv"),
    "venv": ("Python's venv module is missing (", "python3-venv"),
    "compiler": ("A C compiler is missing (", "gcc libc6-dev"),
    "gmp.h": ("gmp.h is missing (", "libgmp-dev"),
    "Python.h": ("Python.h is missing (", "python3-dev"),
    "node": ("Node.js 18 or newer is missing (", "nodejs npm"),
    "npm": ("npm is missing (", "npm"),
}


def program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine that has everything: a compiler that accepts all, this Python, and Node.js."""
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "python3", f'exec {sys.executable} "$@"')
    program(tmp_path / "bin" / "cc", "exit 0")
    program(tmp_path / "bin" / "node", "exit 0")
    program(tmp_path / "bin" / "npm", "exit 0")
    return tmp_path / "bin"


def ask(machine: Path, *arguments: str, **variables: str) -> tuple[int, str, list[str]]:
    shell = shutil.which("sh") or "/bin/sh"
    environment = {"PATH": str(machine), **variables}
    result = subprocess.run([shell, SCRIPT, *arguments], capture_output=True, text=True, env=environment)
    return result.returncode, result.stdout, result.stderr.splitlines()


def lack(machine: Path, what: str) -> None:
    match what:
        case "python":
            (machine / "python3").unlink()
        case "venv":
            (machine / "ensurepip.py").write_text("raise ImportError")
            program(machine / "python3", f'PYTHONPATH={machine} exec {sys.executable} "$@"')
        case "compiler":
            (machine / "cc").unlink()
        case "gmp.h" | "Python.h":
            program(machine / "cc", f"while read -r line; do case $line in *{what}*) exit 1;; esac; done; exit 0")
        case "node":
            (machine / "node").unlink()
        case "npm":
            (machine / "npm").unlink()


def test_where_nothing_is_missing_the_python_to_use_is_printed(machine: Path) -> None:
    assert ask(machine, "test") == (0, "python3\n", [])
    program(machine / "python3.12", f'exec {sys.executable} "$@"')
    assert ask(machine, PYTHON="python3.12") == (0, "python3.12\n", [])


@pytest.mark.parametrize("what", DEBIAN)
def test_what_is_missing_is_named_in_one_sentence(machine: Path, what: str) -> None:
    lack(machine, what)
    assert named(machine) == [what]


def test_all_that_is_missing_is_named_at_once(machine: Path) -> None:
    for what in ("venv", "gmp.h", "npm"):
        lack(machine, what)
    assert named(machine) == ["venv", "gmp.h", "npm"]


def named(machine: Path) -> list[str]:
    """What the sentences on standard error name; the script must have failed and printed nothing
    else."""
    code, output, sentences = ask(machine, "test")
    assert (code, output) == (1, "")
    found = [
        what
        for sentence in sentences
        for what, (beginning, packages) in DEBIAN.items()
        if sentence.startswith(beginning) and sentence.endswith(f"); install it with: apt-get install {packages}")
    ]
    assert len(found) == len(sentences), sentences
    return found


def test_only_the_tests_need_javascript(machine: Path) -> None:
    lack(machine, "node")
    assert ask(machine)[0] == 0


def test_an_old_python_or_node_is_as_good_as_none(machine: Path) -> None:
    program(machine / "python3", "exit 1")
    program(machine / "node", "exit 1")
    assert named(machine) == ["python", "node"]
    program(machine / "python3.11", f'exec {sys.executable} "$@"')
    assert ask(machine) == (0, "python3.11\n", [])


def test_this_machine_has_what_it_needs() -> None:
    assert subprocess.run([SCRIPT, "test"], capture_output=True).returncode == 0
