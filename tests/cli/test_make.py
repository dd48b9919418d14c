"""The Makefile, with a Python that only notes its arguments: which installs happen when, and the
checks before them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Checkout:
    """A checkout with a .venv whose programs append their arguments to a log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, path)
        (path / ".venv" / "bin").mkdir(parents=True)
        (path / "tools").mkdir()
        self.log = path / "log"
        for program in (".venv/bin/python", ".venv/bin/swarmd", "tools/prerequisites"):
            self.program(program, f'echo "{Path(program).name} $*" >> {self.log}\necho python3')

    def program(self, name: str, body: str) -> None:
        (self.path / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.path / name).chmod(0o755)

    def make(self, *arguments: str) -> tuple[int, list[str]]:
        """The exit code, and what was called."""
        self.log.write_text("")
        environment = {name: value for name, value in os.environ.items() if name != "ARGS" and not name.startswith("MAKE")}
        result = subprocess.run(["make", *arguments], cwd=self.path, env=environment, capture_output=True)
        return result.returncode, [line for line in self.log.read_text().splitlines() if "pip --version" not in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_call_installs_and_the_second_does_not(checkout: Checkout) -> None:
    code, called = checkout.make("sim", "ARGS=--rounds 2")
    assert code == 0
    assert called[0] == "prerequisites "
    assert [line.split()[-1].partition("==")[0] for line in called[1:3]] == ["torch", "."]
    assert all("--constraint constraints.txt" in line for line in called[1:3])
    assert called[3:] == ["swarmd sim --nodes 8 --rounds 2"]
    assert checkout.make("sim") == (0, ["swarmd sim --nodes 8"])


def test_the_tests_have_more_needs(checkout: Checkout) -> None:
    checkout.make("sim")
    code, called = checkout.make("test")
    assert code == 0
    assert called[0] == "prerequisites test"
    assert called[2].endswith("--editable .[dev]")
    (tests,) = called[3:]
    assert tests.startswith("python -m pytest ")
    assert checkout.make("test", "ARGS=-x") == (0, [f"{tests} -x"])
    assert checkout.make("sim") == (0, ["swarmd sim --nodes 8"])


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(checkout: Checkout, name: str) -> None:
    checkout.make("test")
    later = (checkout.path / ".venv" / ".installed").stat().st_mtime + 5
    os.utime(checkout.path / name, (later, later))
    assert "prerequisites " in checkout.make("sim")[1]
    assert "prerequisites test" in checkout.make("test")[1]


def test_nothing_is_downloaded_where_something_is_missing(checkout: Checkout) -> None:
    checkout.program("tools/prerequisites", f"echo prerequisites >> {checkout.log}; exit 1")
    for target in ("sim", "test", "lint"):
        code, called = checkout.make(target)
        assert code != 0
        assert called == ["prerequisites"]


def test_a_failed_installation_is_tried_again(checkout: Checkout) -> None:
    working = (checkout.path / ".venv" / "bin" / "python").read_text()
    checkout.program(".venv/bin/python", f'echo "$*" >> {checkout.log}; case "$*" in *editable*) exit 1;; esac')
    code, called = checkout.make("sim")
    assert code != 0
    assert not any("swarmd" in line for line in called)
    (checkout.path / ".venv" / "bin" / "python").write_text(working)
    assert len(checkout.make("sim")[1]) == 4


def test_what_runs_before_a_change_lands_is_what_a_person_types() -> None:
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    assert commands[-2:] == ["make lint", "make test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
