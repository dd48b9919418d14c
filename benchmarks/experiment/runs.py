"""Finished simulations, one JSON line each in a file, so that an experiment can be resumed.

A run is known by its command line. It is made in a process of its own: a run leaves nothing behind
for the next one, and several run at once. Results do not tell which version of the program made
them: begin a new file after changing it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from swarm.errors import ChildDied
from swarm.home import storage

Command = tuple[str, ...]
Name = TypeVar("Name", bound=Hashable)
SWARMD = (sys.executable, "-c", "from swarm.cli.main import main; main()")


def sim_command(options: Mapping[str, object], settings: Mapping[str, str]) -> Command:
    """Return the command line of `swarmd sim` with these options (True for a flag) and settings."""
    words = [str(word) for name, value in options.items() for word in ([name] if value is True else [name, value])]
    return ("sim", *words, *as_options(settings))


def as_options(settings: Mapping[str, str]) -> Command:
    """Return settings as options of a command line."""
    return tuple(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))


def say(line: str) -> None:
    """Tell of progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def finished(path: Path) -> dict[Command, dict[str, Any]]:
    """Return the file's reports by command line, without a line that a kill cut off."""
    reports = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        reports[tuple(entry["command"])] = entry["report"]
    return reports


def make_rows(
    rows: Mapping[Name, Sequence[Command]], path: Path, kept: Sequence[str], jobs: int = 1, program: Sequence[str] = ()
) -> dict[Name, list[dict[str, Any]]]:
    """Make the missing runs of rows of command lines, one per seed; return reports in that shape.

    Runs are made seed by seed, so that a file that is stopped early has something of every row.
    """
    seed_by_seed = [command for column in zip(*rows.values(), strict=True) for command in column]
    made = make(seed_by_seed, path, kept, jobs, program=program)
    return {name: [made[command] for command in row] for name, row in rows.items()}


def make(
    commands: Sequence[Command],
    path: Path,
    kept: Sequence[str],
    jobs: int,
    tell: Callable[[str], None] = say,
    program: Sequence[str] = (),
) -> dict[Command, dict[str, Any]]:
    """Run the command lines that the file lacks, `jobs` at once, and return the reports of all.

    They are command lines of `swarmd`, or of another `program` that ends as it does and takes
    `--report` as well. Of each report the keys `kept` are kept. Raises `ChildDied` for a run that
    fails; the file keeps what was finished before.
    """
    held = finished(path)
    missing = [command for command in dict.fromkeys(commands) if command not in held]
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
                    tell(f"run {number}/{len(missing)} took {entry['report']['wall_s']:.0f} s: {' '.join(entry['command'])}")
            except BaseException:  # also Ctrl-C: what has not begun is not begun any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return finished(path)


def _run(program: Sequence[str], command: Command, kept: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as directory:
        ended = subprocess.run(
            [*program, *command, "--report", directory], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise ChildDied(f"swarmd {' '.join(command)} ended with code {ended.returncode}: {last}")
        report = json.loads((Path(directory) / "report.json").read_text(encoding="utf-8"))
    return {"command": command, "report": {key: report[key] for key in kept}}
