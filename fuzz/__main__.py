"""`python -m fuzz --runs N`: run every target in a process of its own and print JSON.

Exits with 1 if anything was found.

The runs are shared out among the targets so that each takes about as long as the others. `--target
NAME` runs some of them, and `--engine plain` does without atheris (extra "fuzz"), as happens where
it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzz.target import Target

# What libFuzzer watches the paths of. It is imported under its eyes, and therefore nowhere above.
INSTRUMENTED = ["protocols", "swarm", "reasoning_gym"]


def targets() -> dict[str, Target]:
    """Every target by its name."""
    from fuzz import gate, streams, wire

    return {target.name: target for target in (*wire.TARGETS, *streams.TARGETS, *gate.TARGETS)}


def main() -> int:
    """Run them all; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="inputs in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", metavar="NAME", help="only this one; may be given several times")
    parser.add_argument("--engine", choices=("atheris", "plain"), default="atheris" if _atheris() else "plain")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _child(options)
    known = targets()
    chosen = [known[name] for name in options.target or known]
    ease = sum(1 / target.cost for target in chosen)
    results = []
    for target in chosen:
        results.append(_in_process(target.name, max(1, round(options.runs / target.cost / ease)), options.seed, options.engine))
        print(json.dumps(results[-1]), file=sys.stderr)
    crashes = sum(len(result["crashes"]) for result in results)
    print(json.dumps({"runs": sum(result["runs"] for result in results), "crashes": crashes, "targets": results}, indent=1))
    return 1 if crashes else 0


def _in_process(name: str, runs: int, seed: int, engine: str) -> dict[str, Any]:
    from fuzz.engine import environment, guided_report

    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_in_memory()) as folder:
        faults = Path(folder, "faults")
        line = [sys.executable, "-m", "fuzz", "--target", name, "--runs", str(runs), "--seed", str(seed), "--engine", engine]
        done = subprocess.run(
            [*line, "--child", str(faults)], capture_output=True, text=True, errors="replace", env=environment(folder)
        )
        crashes = [json.loads(each) for each in faults.read_text().splitlines()] if faults.exists() else []
    if done.returncode:
        crashes.append({"error": f"the process ended with {done.returncode}", "message": done.stderr[-2000:]})
        return {"target": name, "engine": engine, "runs": 0, "crashes": crashes}
    report = guided_report(done.stderr) if engine == "atheris" else json.loads(done.stdout.splitlines()[-1])
    return {"target": name, **report, "crashes": crashes}


def _child(options: argparse.Namespace) -> int:
    (name,) = options.target
    with options.child.open("w") as faults:
        if options.engine == "atheris":
            import atheris

            with atheris.instrument_imports(include=INSTRUMENTED):
                from fuzz.engine import run_guided

                run_guided(targets()[name], options.runs, options.seed, faults)
        else:
            from fuzz.engine import run_plain

            run_plain(targets()[name], options.runs, options.seed, faults)
    return 0


def _in_memory() -> str | None:
    """A folder that costs no disk, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


if __name__ == "__main__":
    sys.exit(main())
