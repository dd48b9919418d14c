"""Imports point down only: the floors of ARCHITECTURE.md as data, and a check of every import
statement.

Every `import` in a file counts, those inside functions and under TYPE_CHECKING too: a late import
saves time at start, but the room knows no less. A module named in a string is no import, such as
"swarm.policy.policy_worker:main", run in a child process.
"""

import ast
import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A room may import rooms on lower floors. A module belongs to the room with the longest matching
# name.
FLOORS = {
    "protocols": 0,
    "swarm": 1,
    "swarm.errors": 1,
    "swarm.records": 1,
    "swarm.events": 1,
    "swarm.config": 1,
    "swarm.home": 1,
    "swarm.identity": 1,
    "swarm.clock": 1,
    "swarm.child": 1,
    "swarm.fork_server": 1,
    "swarm.frozen": 1,
    "swarm.supervisor": 1,
    "swarm.context": 1,
    "swarm.fair": 1,
    "swarm.newest": 1,
    "swarm.tasks": 2,
    "swarm.policy": 2,
    "swarm.pool": 2,
    "swarm.net": 2,
    "swarm.beacon": 3,
    "swarm.roles": 4,
    "swarm.learner": 5,
    "swarm.exchange": 5,
    "swarm.audit": 5,
    "swarm.node": 6,
    "swarm.sim": 7,
    "swarm.serving": 7,
    "swarm.doctor": 7,
    "swarm.cli": 7,
    "swarm.testing": 7,
}
# Beyond that: all of floor 1 is one room to itself, the command line starts what is on its own
# floor, and the package's version is anybody's.
ALSO = {("swarm.cli", f"swarm.{room}") for room in ("sim", "serving", "doctor")} | {
    (room, "swarm") for room in FLOORS if room != "protocols"
}

# What the two wings do not know, though it lies below them.
APART = {
    "swarm.learner": {"swarm.net"},
    "swarm.exchange": {"swarm.policy", "swarm.roles", "swarm.tasks"},
}

# The policy's own process; its handle, and what reads its checkpoints, do without.
MODEL = {"swarm.policy.model", "swarm.policy.engine", "swarm.policy.update", "swarm.policy.fit", "swarm.policy.policy_worker"}
# Libraries that only these rooms may import; experiments stand above all of them.
ONLY_IN = {
    "torch": MODEL,
    "transformers": MODEL,
    "safetensors": MODEL,
    "peft": {"swarm.policy.model"},
    "libp2p": {"swarm.net.libp2p"},
    "multiaddr": {"swarm.net.libp2p"},
    "reasoning_gym": {"swarm.tasks"},
    "sqlite3": {"swarm.pool"},
    "matplotlib": {"swarm.sim"},
    "rich": {"swarm.sim"},
    "click": {"swarm.cli"},
    "h11": {"swarm.serving"},
    "pickle": set[str](),
    "benchmarks": set[str](),
}
WITHOUT_TRIO = {
    "protocols",
    "swarm",
    "swarm.errors",
    "swarm.records",
    "swarm.events",
    "swarm.config",
    "swarm.home",
    "swarm.identity",
    "swarm.cli",
}


def within(module: str, rooms: Container[str]) -> str | None:
    """The longest of `rooms` that `module` is in."""
    parents = module.split(".")
    return next((name for end in range(len(parents), 0, -1) if (name := ".".join(parents[:end])) in rooms), None)


def imports(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Everything that `source` imports, by full name; what is imported from a package might be a
    module."""
    parents = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    room = within(module, FLOORS)
    if room is None or (room == "swarm" and module != "swarm"):
        return [f"{module} is in no room of ARCHITECTURE.md"]
    return [problem for imported in imports(source, module, is_package) for problem in problems(room, module, imported)]


def problems(room: str, module: str, imported: str) -> Iterator[str]:
    target = within(imported, FLOORS)
    if target not in (None, room) and (room, target) not in ALSO:
        floor, target_floor = FLOORS[room], FLOORS[target]
        if target_floor >= floor and not floor == target_floor == 1:
            yield f"{module} (floor {floor}) imports {imported} (floor {target_floor})"
    if target in APART.get(room, ()):
        yield f"{module} imports {imported}, of which {room} knows nothing"
    library = within(imported, ONLY_IN)
    if library is not None and within(module, ONLY_IN[library]) is None:
        yield f"{module} imports {imported}, which only {', '.join(sorted(ONLY_IN[library])) or 'nobody'} may"
    if within(imported, {"trio"}) and room in WITHOUT_TRIO:
        yield f"{module} imports {imported}"


def sources() -> list[tuple[Path, str]]:
    paths = [path for package in ("protocols", "swarm") for path in sorted((ROOT / package).rglob("*.py"))]
    return [(path, ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")) for path in paths]


def test_no_room_imports_what_the_floors_forbid() -> None:
    found = [
        violation
        for path, module in sources()
        for violation in violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("protocols.codec", "import swarm.errors"),
        ("protocols.codec", "from trio import sleep"),
        ("swarm.config.load", "import trio"),
        ("swarm.clock", "import torch.nn"),
        ("swarm.home", "from swarm.pool.store.store import Store"),
        ("swarm.home", "from swarm import pool"),
        ("swarm.pool.store.store", "from swarm.net import network"),
        ("swarm.pool.store.store", "from ...net import network"),
        ("swarm.pool.store.store", "from ... import net"),
        ("swarm.tasks.scoring", "def late():\n    import torch"),
        ("swarm.net.simulated", "import libp2p"),
        ("swarm.roles.solver", "if TYPE_CHECKING:\n    from swarm.learner.loop import learn"),
        ("swarm.learner.loop", "from transformers import AutoModel"),
        ("swarm.learner.learner", "from swarm.net.network import Network"),
        ("swarm.learner.learner", "if TYPE_CHECKING:\n    from swarm.exchange.exchange import Exchange"),
        ("swarm.exchange.exchange", "from swarm.policy.policy import Policy"),
        ("swarm.exchange.exchange", "from swarm.learner.learner import Learner"),
        ("swarm.exchange.receiving", "from swarm.roles.curriculum import Curriculum"),
        ("swarm.learner.loop", "import swarm.cli.main"),
        ("swarm.sim.simulation", "import swarm.cli.output"),
        ("swarm.cli.start", "def start():\n    import torch"),
        ("swarm.pool.store.packing", "import pickle"),
        ("swarm.policy.policy", "import torch"),
        ("swarm.policy.checkpoint", "from safetensors.torch import load_file"),
        ("swarm.policy.second", "def late():\n    import transformers"),
        ("swarm.sim.simulation", "from benchmarks.experiment import runs"),
        ("swarm.utils", "import os"),
    ],
)
def test_the_check_finds(module: str, source: str) -> None:
    assert violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("swarm.home", "import os\nfrom swarm.errors import HomeError"),
        ("swarm.policy.model.model", "import torch, transformers"),
        ("swarm.policy.policy_worker", "import torch"),
        ("swarm.net.libp2p.host", "import libp2p, trio\nfrom swarm.net.network import Network\nfrom ..inbox import Inbox"),
        ("swarm.roles.solver", "from swarm.policy.policy import Policy\nfrom swarm.tasks.scoring import Scorer"),
        ("swarm.cli.start", "from swarm import __version__\nfrom swarm.sim.options import SimulationOptions\nimport torchlight"),
    ],
)
def test_the_check_passes(module: str, source: str) -> None:
    assert violations(source, module) == []


def loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


def test_the_node_never_loads_the_models_libraries() -> None:
    modules = [module for _, module in sources() if within(module, {"swarm.node", "swarm.roles", "swarm.pool"})]
    assert len(modules) > 3
    heavy = loaded_by(f"import {', '.join(modules)}") & {"torch", "transformers", "reasoning_gym", "matplotlib"}
    assert not heavy
