"""Run a target, guided by coverage with atheris (libFuzzer) if installed, else by mutation.

Neither stops at the first fault: each is noted once per kind and place, with its input. One process
runs one target.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TextIO

from fuzz.mutation import mutated
from fuzz.target import Check, Target

MAX_CORPUS = 4096
MAX_FAULTS = 20
TIMEOUT_S = 60  # for one input


class Faults:
    """Write each fault, once per kind and place, as a line of JSON: a later crash loses nothing."""

    def __init__(self, to: TextIO) -> None:
        self._to = to
        self._seen: set[tuple[str, str]] = set()

    def watched(self, check: Check) -> Check:
        """The check, which raises no more."""

        def run(data: bytes) -> None:
            try:
                check(data)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not happen
                self._note(error, data)

        return run

    def _note(self, error: Exception, data: bytes) -> None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        if (type(error).__name__, place) not in self._seen and len(self._seen) < MAX_FAULTS:
            self._seen.add((type(error).__name__, place))
            said = {"error": type(error).__name__, "message": str(error)[:300], "place": place, "input": data.hex()[:4000]}
            print(json.dumps(said), file=self._to, flush=True)


def run_plain(target: Target, runs: int, seed: int, faults: TextIO) -> None:
    """Mutations of the seeds, and of what they became; prints one line of JSON."""
    check, seeds = target.prepare()
    watched = Faults(faults).watched(target.measured(check))
    random = Random(seed)
    corpus = [data for data in seeds if len(data) <= target.max_bytes]
    for data in corpus[:runs]:
        watched(data)
    begun = time.perf_counter()
    for turn in range(len(corpus), runs):
        data = mutated(random.choice(corpus), random)[: target.max_bytes]
        watched(data)
        # Without coverage nobody knows which mutants are interesting, so a few are kept, for depth.
        if turn % 50 == 0 and len(corpus) < MAX_CORPUS:
            corpus.append(data)
    # On a line of its own, whatever verifiers have printed.
    print("\n" + json.dumps({"engine": "plain", "runs": runs, "seconds": round(time.perf_counter() - begun, 1)}))


def run_guided(target: Target, runs: int, seed: int, faults: TextIO) -> None:
    """Run with atheris; never returns. libFuzzer reports on standard error (`guided_report`)."""
    import atheris

    check, seeds = target.prepare()
    watched = Faults(faults).watched(target.measured(check))

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        # Half of the mutations are libFuzzer's own, which know what the code compares its input
        # with.
        if seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        return mutated(data, Random(seed))[:max_size]

    with _directory(seeds) as corpus:
        options = [f"-runs={runs}", f"-seed={seed or 1}", f"-max_len={target.max_bytes}", f"-timeout={TIMEOUT_S}"]
        options += ["-rss_limit_mb=4096", f"-artifact_prefix={corpus}/", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, corpus], watched, custom_mutator=mutator)
        atheris.Fuzz()


@contextmanager
def _directory(seeds: Sequence[bytes]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as corpus:
        for number, data in enumerate(seeds):
            Path(corpus, f"seed-{number}").write_bytes(data)
        yield corpus


def guided_report(stderr: str) -> dict[str, object]:
    """What libFuzzer printed of its runs: how many, how long, edges covered."""
    done = [line for line in stderr.splitlines() if line.startswith("#") and " cov: " in line]
    words = done[-1].split() if done else []
    named = dict(zip(words[2::2], words[3::2], strict=False))
    seconds = [line.split()[4] for line in stderr.splitlines() if line.startswith("Done ")]
    return {
        "engine": "atheris",
        "runs": int(words[0][1:]) if words else 0,
        "seconds": float(seconds[-1]) if seconds else None,
        "coverage": int(named.get("cov:", 0)),
        "features": int(named.get("ft:", 0)),
        "corpus": named.get("corp:", "0").split("/")[0],
    }


def environment(folder: str) -> dict[str, str]:
    """The environment of a target's process.

    One thread, and temporary files in `folder`, since libFuzzer ends abruptly.
    """
    return dict(os.environ, OMP_NUM_THREADS="1", TMPDIR=folder)
