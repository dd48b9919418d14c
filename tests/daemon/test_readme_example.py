"""README's two nodes on one machine, pasted into a shell: they meet and learn from each other."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from markdown_shapes import blocks
from processes import SWARMD, WITHIN_S, Status, free_port

from swarm.cli.client import ask
from swarm.errors import NotRunningError
from swarm.home import Home

README = Path(__file__).parents[2] / "README.md"
ENDS_WITHIN_S = 60.0


def example() -> str:
    (block,) = [block for block in blocks(README, "sh") if "--invite" in block and "127.0.0.1" in block]
    return block


@contextmanager
def pasted(block: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that runs the block; whatever is left of it at the end is killed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")}
    path = f"{Path(SWARMD).parent}:{clean['PATH']}"
    environment = clean | {"PATH": path, "OMP_NUM_THREADS": "1"} | variables
    shell = subprocess.Popen(["bash", "-c", block], env=environment, start_new_session=True, stderr=subprocess.PIPE)
    try:
        yield shell
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()


def status(home: Path) -> Status | None:
    try:
        return ask(Home(home), "status")
    except NotRunningError:
        return None


def until(homes: list[Path], condition: Callable[[Status], bool], shell: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not all((seen := status(home)) and condition(seen) for home in homes):
        assert shell.poll() is None, "the shell has ended"
        assert time.monotonic() < deadline, [status(home) for home in homes]
        time.sleep(0.3)


@pytest.mark.parametrize("multicast", ["false", "true"])
def test_the_two_nodes_of_the_readme_meet_and_learn_from_each_other(tmp_path: Path, multicast: str) -> None:
    block = example()
    # Homes and ports may be taken on this machine; nothing else is changed.
    block = block.replace("/tmp/swarmd-", f"{tmp_path}/swarmd-")
    for port in sorted(set(re.findall(r"/tcp/(\d+)", block))):
        block = block.replace(f"/tcp/{port}", f"/tcp/{free_port()}")
    homes = [tmp_path / "swarmd-a", tmp_path / "swarmd-b"]
    with pasted(block, SWARMD_NETWORK__MDNS=multicast) as shell:
        until(homes, lambda seen: seen["peers"] == 1 and seen["groups_trained_foreign"] > 0, shell)
        for home in homes:
            subprocess.run([SWARMD, "--home", str(home), "stop"], check=True, timeout=ENDS_WITHIN_S, stdout=subprocess.DEVNULL)
        assert shell.wait(ENDS_WITHIN_S) == 0
