"""What an operator types often answers at once: no heavy library is loaded by it."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["torch", "transformers", "libp2p", "trio", "matplotlib", "reasoning_gym", "numpy", "rich", "safetensors", "multiaddr"]
# Its own process each; a CPU second of this is several seconds of a laptop on battery.
MAX_CPU_S = 0.6

RUN = """
import json, sys
from swarm.cli.main import main
try:
    main(sys.argv[1:], prog_name="swarmd")
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)
"""

INVITE_OR_ADDRESS = "/ip4/10.0.0.1/tcp/4711/p2p/12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("light") / "home"
    subprocess.run([sys.executable, "-c", "import swarm.cli.main"], check=True)  # compiles what is not compiled yet
    assert run(home, "init")[0] == 0
    return home


def run(home: Path, *arguments: str) -> tuple[int, list[str], float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = subprocess.run(
        [sys.executable, "-c", RUN, "--home", str(home), *arguments], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(result.stderr.splitlines()[-1])
    return code, [name for name in HEAVY if name in modules], resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("sim --help", 0),
        ("start --help", 0),
        ("init", 4),
        ("id --json", 0),
        ("config check", 0),
        ("config explain", 0),
        ("config example", 0),
        (f"join {INVITE_OR_ADDRESS}", 0),
        ("status", 7),
        ("stop", 7),
        ("pause --for 2h", 7),
        ("checkpoints", 0),
        ("chat --help", 0),
        ("rollouts ls", 0),
        ("export --to nowhere", 4),
    ],
)
def test_no_heavy_library_is_loaded(home: Path, arguments: str, code: int) -> None:
    ended, heavy, cpu_s = run(home, *arguments.split())
    assert (ended, heavy) == (code, [])
    assert cpu_s < MAX_CPU_S
