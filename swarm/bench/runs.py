"""Finished simulations, kept in a file: one JSON line each, so that a benchmark that is cut off goes on where it was.

A run is known by its command line. It is made in a process of its own: what one leaves behind is nobody else's, and several
can run at once. Results do not tell which version of the program made them: begin a new file after changing it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from swarm.errors import ChildDied
from swarm.home import storage

Command = tuple[str, ...]
SWARMD = (sys.executable, "-c", "from swarm.cli.main import main; main()")


def finished(path: Path) -> dict[Command, dict[str, Any]]:
    """The reports that the file holds, by command line; a line that was cut off by a kill is left out."""
    reports = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        reports[tuple(entry["command"])] = entry["report"]
    return reports


def make(
    commands: Sequence[Sequence[str]],
    path: Path,
    kept: Sequence[str],
    jobs: int,
    say: Callable[[str], None],
    program: Sequence[str] = (),
) -> dict[Command, dict[str, Any]]:
    """The reports of all these command lines, after running those that the file does not hold, `jobs` at once.

    They are command lines of `swarmd`, or of another `program` that ends as it does and takes `--report` as well. Of each report
    the keys `kept` are kept. Raises `ChildDied` for a run that fails; what was finished before is not lost.
    """
    missing = list(dict.fromkeys(map(tuple, commands)) - finished(path).keys())
    missing.sort(key=[tuple(command) for command in commands].index)
    with storage(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_off = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file, ThreadPoolExecutor(jobs) as pool:
            if cut_off:
                file.write("\n")
            runs = [pool.submit(_run, program or SWARMD, command, kept) for command in missing]
            try:
                for number, run in enumerate(as_completed(runs), 1):
                    entry = run.result()
                    print(json.dumps(entry), file=file, flush=True)
                    say(f"run {number}/{len(missing)} took {entry['report']['wall_s']:.0f} s: {' '.join(entry['command'])}")
            except BaseException:  # also Ctrl-C: what has not begun is not begun any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return finished(path)


def _run(program: Sequence[str], command: Command, kept: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as directory:
        ended = subprocess.run(  # noqa: S603 - this very program
            [*program, *command, "--report", directory], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise ChildDied(f"swarmd {' '.join(command)} ended with code {ended.returncode}: {last}")
        report = json.loads((Path(directory) / "report.json").read_text(encoding="utf-8"))
    return {"command": command, "report": {key: report[key] for key in kept}}
