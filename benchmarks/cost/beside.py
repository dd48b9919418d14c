"""The policy used beside a daemon that saves all the time: `python -m benchmarks.cost.beside`.

A daemon of the embedded model writes a checkpoint every `--save-s` seconds and keeps one. In turn a
conversation is held, a server started that answers one request, and the checkpoint evaluated,
`--calls` times in all; every call opens the newest checkpoint anew. Each is what the command does
(`swarmd chat`, `serve`, `eval`), without a start of Python for each. Prints one JSON object with
the failures in words; ends with 1 when there are any.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.experiment.daemons import start_swarm
from swarm.config.load import load
from swarm.config.schema import Config
from swarm.errors import SwarmdError
from swarm.home import Home
from swarm.serving.dialogue import Manner, run_chat
from swarm.serving.measuring import run_evaluation
from swarm.serving.server import run_server

ANSWERED_WITHIN_S = 120.0


def chat(home: Home, config: Config) -> None:
    """Hold a conversation of one question."""
    questions, said = iter(["which word comes first?", ""]), list[str]()
    run_chat(home, config, "newest", Manner(None, 8, 1.0), lambda: next(questions), said.append)
    assert len(said) == 1


def serve(home: Home, config: Config) -> None:
    """Start a server, ask it once, and end it."""
    answers: list[Any] = []

    def ask(address: str) -> None:
        body = json.dumps({"prompt": "1 2", "max_tokens": 8}).encode()
        request = urllib.request.Request(f"{address}/completions", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=ANSWERED_WITHIN_S) as answer:
                answers.append(json.load(answer))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    run_server(home, config, 0, lambda address: threading.Thread(target=ask, args=(address,)).start())
    assert answers[0]["choices"]


def evaluate(home: Home, config: Config) -> None:
    """Measure one task of each environment, before and after training."""
    assert run_evaluation(home, config, "newest", 1).step > 0


CALLS = {"chat": chat, "serve": serve, "eval": evaluate}


def measure(folder: Path, calls: int, save_s: float) -> dict[str, Any]:
    """Make the calls beside the daemon."""
    settings = (f"node.min_round_s={save_s}", "checkpoint.every_rounds=1", "checkpoint.keep=1", "defences.canary_tasks=0")
    with ExitStack() as stack:
        (daemon,) = start_swarm(stack, folder, [settings])
        daemon.until("it has saved twice", lambda _: len(daemon.events("Checkpointed")) > 1)
        config, saved, begun = load(daemon.home.path), len(daemon.events("Checkpointed")), time.monotonic()
        failures: Counter[str] = Counter()
        for number in range(calls):
            name = list(CALLS)[number % len(CALLS)]
            try:
                CALLS[name](daemon.home, config)
            except (SwarmdError, OSError, AssertionError) as error:
                failures[f"{name}: {error!r}"] += 1
            print(f"{number + 1} of {calls}, {sum(failures.values())} failed", file=sys.stderr)
        saved = len(daemon.events("Checkpointed")) - saved
        kept = len(list(daemon.home.checkpoints.iterdir()))
        return {
            "calls": calls,
            "failures": dict(failures),
            "checkpoints_written": saved,
            "seconds_per_checkpoint": round((time.monotonic() - begun) / max(saved, 1), 2),
            "checkpoints_left": kept,
        }


def main() -> int:
    """Print the report; return 1 when a call failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--save-s", type=float, default=2.0, help="seconds between two checkpoints (default: %(default)s)")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="beside-") as folder:
        found = measure(Path(folder), options.calls, options.save_s)
    print(json.dumps(found, indent=1))
    return int(bool(found["failures"]))


if __name__ == "__main__":
    sys.exit(main())
