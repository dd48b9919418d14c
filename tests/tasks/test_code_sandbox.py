"""Hostile programs, really run: each attack works outside the sandbox, and inside gets nothing and
harms nobody.

`control` runs the same text without the seal, so that no broken attack passes for contained.
"""

import json
import os
import platform
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_programs
import pytest
from hostile_programs import ALL, WITHOUT_CONTROL, attack

from swarm.errors import EnvironmentRefused
from swarm.tasks.code.sandbox import Sandbox
from swarm.tasks.code.sealed import CALLS, CPU_S, allow_list

pytestmark = pytest.mark.skipif(bool(Sandbox().missing), reason="this machine has no sandbox for programs")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "key").write_text("the secret key")
    return home


# Interpreters that tests of environments have begun in this process before.
EARLIER: set[int] = set()


def interpreters() -> set[int]:
    """The interpreters of the sandbox under test."""
    return hostile_programs.interpreters() - EARLIER


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    EARLIER.update(hostile_programs.interpreters())
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture(autouse=True)
def _the_interpreter_lives_on(sandbox: Sandbox) -> Iterator[None]:
    assert sandbox.run("def solve(n): return n + 1", "solve", [[1]], 99) == b"2"
    before = interpreters()
    assert before
    yield
    assert sandbox.run("def solve(n): return n + 1", "solve", [[1]], 99) == b"2"
    assert interpreters() == before


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The loot of every attack in an interpreter that is not sealed."""
    folder = tmp_path_factory.mktemp("open")
    (folder / "key").write_text("the secret key")
    code = (
        "import json, os, sys\n"
        "from swarm.tasks.code.sealed import results\n"
        "programs, path = json.load(sys.stdin)\n"
        "os.setpgid(0, 0)\n"
        "for program in programs: print(results(program, 'solve', [[path]]).decode(), flush=True)\n"
    )
    names = [name for name in ALL if name not in WITHOUT_CONTROL]
    request = json.dumps([[attack(ALL[name]) for name in names], str(folder)])
    done = subprocess.run([sys.executable, "-c", code], input=request, capture_output=True, text=True, timeout=60)
    loot = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(loot) == len(names), f"{names[len(loot)]} is broken: {done.stderr}"
    return dict(zip(names, loot, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_an_attack_gets_nothing(name: str, sandbox: Sandbox, home: Path, control: dict[str, object]) -> None:
    assert name in WITHOUT_CONTROL or control[name] not in ("", 0, [], -1)
    assert sandbox.run(attack(ALL[name]), "solve", [[str(home)]], 10_000) == b""
    assert [path.name for path in home.iterdir()] == ["key"]
    assert (home / "key").read_text() == "the secret key"


# A choice all over the table, and by x86_64's numbers: ptrace, open_by_handle_at, reading another's
# memory, memfd_create, bpf, userfaultfd, pidfd_getfd, io_uring, clone3, and a call of the 32-bit
# kind.
NUMBERS = {*range(2, 460, 17), 101, 304, 310, 319, 321, 323, 438, 425, 435, 0x40000000 + 39}


def test_other_system_calls_end_the_program(sandbox: Sandbox) -> None:
    _, allowed = CALLS[platform.machine()]
    for number in NUMBERS - set(allowed):
        assert sandbox.run(attack(f"libc.syscall({number}, 0, 0, 0, 0, 0, 0); return 'alive'"), "solve", [[""]], 99) == b"", (
            number
        )


@pytest.mark.parametrize("machine", CALLS)
def test_the_filter_allows_what_is_listed_and_nothing_else(machine: str) -> None:
    architecture, allowed = CALLS[machine]
    program = list(struct.iter_unpack("=HBBI", allow_list(machine)))

    def verdict(architecture: int, number: int) -> int:
        """What the kernel makes of the instructions."""
        data, place, loaded = {0: number, 4: architecture}, 0, 0
        while True:
            code, if_true, if_false, value = program[place]
            place += 1
            if code == 0x20:
                loaded = data[value]
            elif code == 0x15:
                place += if_true if loaded == value else if_false
            else:
                assert code == 0x06
                return value

    numbers = [*range(2000), *(bit + number for bit in (2**30, 2**31) for number in range(600)), 2**32 - 1]
    assert {number for number in numbers if verdict(architecture, number) == 0x7FFF0000} == set(allowed)
    assert {verdict(other, number) for other in (0, 0x40000003, architecture ^ 1) for number in numbers} == {0x80000000}


def test_no_connection_arrives(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        program = attack(f"return socket.create_connection(('127.0.0.1', {server.getsockname()[1]})).fileno()")
        assert sandbox.run(program, "solve", [[""]], 99) == b""
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "body",
    [
        "while True: os.fork()",
        "while True:\n  try: os.fork()\n  except BaseException: pass",
        "while True: libc.fork()",
        "while True: libc.syscall(57)",
        "while True: module('_thread').start_new_thread(print, ())",
    ],
)
def test_a_fork_bomb_does_not_go_off(body: str, sandbox: Sandbox) -> None:
    before = len(list(Path("/proc").glob("[0-9]*")))
    assert sandbox.run(attack(body), "solve", [[""]], 99) == b""
    assert len(list(Path("/proc").glob("[0-9]*"))) < before + 50


@pytest.mark.parametrize(
    "program",
    [
        "def solve(n):\n while True: pass",
        "def solve(n):\n while True:\n  try:\n   while True: pass\n  except BaseException: pass",
        "def solve(n): return 7 ** 10 ** 8",
        "import re\ndef solve(n): return re.match('(a*)*b', 'a' * 40)",
        "def solve(n):\n class A:\n  def __del__(self):\n   while True: pass\n a = A()\n return 2",
    ],
)
def test_an_endless_loop_ends(program: str, sandbox: Sandbox) -> None:
    spent = os.times()
    assert sandbox.run(program, "solve", [[1]], 99) == b""
    # Of this process; that of the program is limited by the kernel and ends within its seconds, or
    # the test would hang.
    assert os.times().user - spent.user < 1


def test_a_program_has_its_seconds_of_the_processor_and_no_more(sandbox: Sandbox) -> None:
    ours = Path(f"/proc/{next(iter(interpreters()))}/stat")

    def of_the_dead() -> float:
        fields = ours.read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    before = of_the_dead()
    assert sandbox.run("def solve(n):\n while True: pass", "solve", [[1]], 99) == b""
    assert CPU_S * 0.6 <= of_the_dead() - before <= 2 * CPU_S + 0.1  # the kernel counts in hundredths, roughly


@pytest.mark.parametrize(
    "program",
    [
        "def solve(n): return len('x' * 10 ** 9)",
        "def solve(n):\n a = []\n while True: a = [a] * 10 ** 6",
        "def solve(n):\n a = []\n while True: a.append(bytes(10 ** 6))",
        "def solve(n): return [0] * 10 ** 8",
        "def solve(n): return 1 << 10 ** 10",
        "x = " + "[" * 90 + "0" + "]" * 90 + " * 10 ** 9",
        "def solve(n):\n def f(x): return f(lambda: x)\n return json.codecs.sys.setrecursionlimit(10 ** 9) or f(0)\nimport json",
    ],
)
def test_a_memory_bomb_stays_small(program: str, sandbox: Sandbox) -> None:
    assert sandbox.run(program, "solve", [[1]], 99) == b""


def test_memory_ends_at_its_limit(sandbox: Sandbox) -> None:
    program = (
        "def solve(megabytes):\n try:\n  return len(bytes(megabytes * 2 ** 20)) >> 20\n except MemoryError:\n  return 'no more'"
    )
    assert sandbox.run(program, "solve", [[100], [300], [3000]], 99) == b'100\n"no more"\n"no more"'


@pytest.mark.parametrize(
    "program",
    [
        "def solve(n): return 'x' * 10 ** 7",
        attack("while True: os.write(1, b'x' * 10 ** 5)"),
        attack("while True:\n  try: os.write(1, b'x' * 10 ** 5)\n  except BaseException: pass"),
        "while True: print('x' * 10 ** 5)",
    ],
)
def test_endless_output_is_cut_off(program: str, sandbox: Sandbox) -> None:
    output = sandbox.run(program, "solve", [[""]], 1000)
    assert len(output) <= 1000
    assert set(output) <= set(b'"x')


@pytest.mark.parametrize(
    "body",
    [
        "ctypes.string_at(0)",
        "libc._exit(0)",
        "libc.abort()",
        "sys.exit(0)",
        "raise SystemExit",
        "os._exit(5)",
        "sys.stdin.read()",
    ],
)
def test_a_program_that_ends_itself_has_no_results(body: str, sandbox: Sandbox) -> None:
    assert sandbox.run(attack(body), "solve", [[""]], 99) == b""


@pytest.mark.parametrize(
    "program", ["", "def solve(", "(" * 10**5, "-" * 10**5 + "1", "\0", "def other(n): return n", "solve = 3", "\ud800"]
)
def test_what_is_no_program_has_no_results(program: str, sandbox: Sandbox) -> None:
    assert sandbox.run(program, "solve", [[1]], 99) == b""


def test_a_program_holds_two_descriptors(sandbox: Sandbox) -> None:
    (interpreter,) = interpreters()
    runs = threading.Thread(target=sandbox.run, args=("def solve(n):\n while True: pass", "solve", [[1]], 99))
    runs.start()
    seen: dict[str, str] = {}
    deadline = time.monotonic() + 10
    while runs.is_alive() and time.monotonic() < deadline and "Seccomp:\t2" not in seen.get("status", ""):
        for child in Path(f"/proc/{interpreter}/task/{interpreter}/children").read_text().split():
            try:
                # In this order: a program that is sealed when its status is read was so ever after.
                status = Path(f"/proc/{child}/status").read_text()
                links = {link.name: os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()}
                seen = links | {"status": status}
            except OSError:
                continue
    runs.join()
    assert "Seccomp:\t2" in seen.pop("status")
    assert set(seen) == {"1", "2"}
    assert seen["1"].startswith("socket:")
    assert seen["2"] == "/dev/null"


def test_nothing_of_another_program_is_left(sandbox: Sandbox) -> None:
    mark = "another-answer-and-its-"
    assert mark.encode() in sandbox.run(f"def solve(n): return '{mark}result'", "solve", [[1]], 99)
    looks = """
        mark = 'another-answer' + '-and-its-'
        place, frame = [], sys._getframe()
        while frame:
            place.append(str(frame.f_locals))
            frame = frame.f_back
        place += [str(each) for each in module('gc').get_objects() if type(each) in (list, dict, tuple, bytes)]
        return [len(place) > 100, any(mark in each for each in place)]"""
    # The arguments are the program's own; the interpreter's modules are among the objects, so that
    # the search is one.
    assert sandbox.run(attack(looks), "solve", [[""]], 99) in (b"[true, false]", b"")


def test_the_same_program_gives_the_same_in_any_sandbox(sandbox: Sandbox) -> None:
    program = (
        "def solve(n): return [hash('word'), list({'a', 'b', 'cc', 'dd', 'eee'}), hash((1.5, 'x')), repr({frozenset('abc')})]"
    )
    other = Sandbox()
    try:
        assert sandbox.run(program, "solve", [[1]], 999) == other.run(program, "solve", [[1]], 999) != b""
    finally:
        other.close()


@pytest.mark.parametrize(
    "name", ["os", "time", "random", "socket", "ctypes", "subprocess", "sys", "secrets", "id", "open", "input"]
)
def test_what_differs_between_machines_is_not_offered(name: str, sandbox: Sandbox) -> None:
    program = (
        f"def solve(n):\n try:\n  import {name}\n  return 'imported'\n except ImportError:\n  return '{name}' in __builtins__"
    )
    assert sandbox.run(program, "solve", [[1]], 99) == b"false"


def test_honest_programs_have_what_they_need(sandbox: Sandbox) -> None:
    program = """
from __future__ import annotations
import math, re, string, itertools, functools, operator, heapq, bisect, json, copy
import collections.abc
from collections import Counter, defaultdict, deque, namedtuple
from typing import List

Point = namedtuple("Point", "x y")

class Node:
    def __init__(self, value): self.value = value

@functools.lru_cache
def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def solve(numbers: List[int]):
    print("debugging", numbers)
    best = heapq.nlargest(2, numbers)
    return [fib(30), math.isqrt(best[0]), Counter(numbers)[3], Node(best[1]).value, Point(1, 2), re.findall("[0-9]", "a1b2")]

if __name__ == "__main__":
    raise ValueError("an example")
"""
    assert sandbox.run(program, "solve", [[[3, 9, 3]]], 99) == b'[832040, 3, 2, 3, [1, 2], ["1", "2"]]'


def test_an_interpreter_that_was_killed_is_no_programs_fault_and_starts_again() -> None:
    sandbox = Sandbox()
    others = interpreters()
    assert sandbox.run("def solve(n): return n", "solve", [[1]], 99) == b"1"
    (mine,) = interpreters() - others
    os.kill(mine, 9)
    with pytest.raises(EnvironmentRefused, match="interpreter ended"):
        sandbox.run("def solve(n): return n", "solve", [[1]], 99)
    assert sandbox.run("def solve(n): return n", "solve", [[1]], 99) == b"1"
    sandbox.close()


def test_a_sandbox_that_does_not_hold_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swarm.tasks.code import sandbox as module

    source = Path(module.__file__).with_name("sealed.py").read_text()
    leaky = tmp_path / "sealed.py"
    leaky.write_text(source.replace("(RETURN, 0, 0, KILL_PROCESS)", "(RETURN, 0, 0, ALLOW)"))
    assert leaky.read_text() != source
    monkeypatch.setattr(module, "INTERPRETER", (*module.INTERPRETER[:-1], str(leaky)))
    sandbox = Sandbox()
    assert "needs Linux" in sandbox.missing
    assert "a trial gave (b'9999', 0) and (b'\"/\"', 0)" in sandbox.missing
    with pytest.raises(EnvironmentRefused, match="choose a swarm without code tasks"):
        sandbox.run("def solve(n): return n", "solve", [[1]], 99)
    sandbox.close()
