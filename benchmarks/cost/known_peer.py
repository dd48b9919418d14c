"""Rounds per second beside the known peer, gensyn-genrl 0.3.0: 2 nodes each, the same tiny model.

    python -m benchmarks.cost.known_peer [--repeats 2] [--side both|peer|ours]

takes about five minutes and prints one JSON object. Both systems run two nodes in processes of
their own. Per round each node answers 2 questions of the same reasoning-gym dataset, with 2
completions each of exactly 64 tokens (temperature 1, the whole distribution), shares both groups,
and trains on its 2 own and 2 foreign ones at the same learning rate. Model and tokenizer are the
same files (known_peer/tiny_model.py). Rounds are timed once both nodes train on each other's
groups: installing, loading, connecting and warm-up are left out on both sides.

The peer runs in an environment of its own, made on first use at benchmarks/cost/.known-peer-venv
(KNOWN_PEER_VENV names another place), with the versions of torch, transformers and reasoning-gym
that constraints.txt gives us. Its settings are its defaults. It is measured twice: `as_shipped`,
with as many threads per process as torch takes by itself, and `one_thread`, with the one thread per
process that is our default too. On few cores the first is several times slower, since its processes
wait for each other's threads; the second compares both systems at their best. The sides alternate
(peer, ours, peer, ours, ...), so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = HERE / "known_peer"
VENV = Path(os.environ.get("KNOWN_PEER_VENV", HERE / ".known-peer-venv"))
REQUIREMENTS = ("gensyn-genrl==0.3.0", "hivemind==1.1.12", "reasoning-gym")
SAME_VERSIONS = ("torch", "transformers", "tokenizers", "datasets", "numpy", "reasoning_gym")

NODES = 2
QUESTIONS = 2
COMPLETIONS = 2
TOKENS = 64
FOREIGN = 2
LEARNING_RATE = 1e-6
DATASET, DATASET_CONFIG = "letter_counting", {"min_words": 5, "max_words": 7}  # our level 0 of it
BAR = 10.0

# What the peer's node takes: the workload above and the package's own defaults for the rest.
PEER_SETTINGS = {
    "dataset": DATASET,
    "dataset_config": DATASET_CONFIG,
    "questions": QUESTIONS,
    "completions": COMPLETIONS,
    "tokens": TOKENS,
    "foreign": FOREIGN,
    "learning_rate": LEARNING_RATE,
    "system_prompt": "direct",  # of the package's prompts the one nearest in length to ours
    "minibatch": 2,
    "gradient_checkpointing": True,
}
OUR_SETTINGS = {
    "generation.num_generations": COMPLETIONS,
    "generation.max_completion_length": TOKENS,
    "generation.temperature": 1.0,
    "training.local": QUESTIONS,
    "training.external": FOREIGN,
    "training.learning_rate": LEARNING_RATE,
    "tasks.per_round": QUESTIONS,
    "tasks.curriculum": "false",
    "tasks.share_uninformative": "true",  # the peer shares everything
    "sampling.sampler": "uniform",
    "policy.rendering": "prose",
    "policy.niceness": 0,
    "network.mdns": "false",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "disabled", "CUDA_VISIBLE_DEVICES": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=("both", "peer", "ours"), default="both")
    parser.add_argument("--repeats", type=int, default=2, help="how often each configuration is measured")
    parser.add_argument("--peer-rounds", type=int, default=6, help="rounds of the peer that are timed")
    parser.add_argument("--our-rounds", type=int, default=40, help="rounds of ours that are timed")
    parser.add_argument("--warm-up", type=int, default=2, help="rounds of either side that are not")
    parser.add_argument("--hidden", type=int, default=64, help="width of the model")
    parser.add_argument("--layers", type=int, default=2, help="layers of the model")
    parser.add_argument("--timeout", type=int, default=600, help="seconds after which one measurement is given up")
    parser.add_argument("--keep", action="store_true", help="leave the working folder with all logs behind")
    options = parser.parse_args()
    peer_python = install_peer() if options.side != "ours" else None
    folder = Path(tempfile.mkdtemp(prefix="known-peer-"))
    model = folder / "model"
    subprocess.run(
        [sys.executable, PARTS / "tiny_model.py", model, "--hidden", str(options.hidden), "--layers", str(options.layers)],
        env=os.environ | OFFLINE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    runs: dict[str, list[dict[str, Any]]] = {"one_thread": [], "as_shipped": [], "ours": []}
    for repeat in range(options.repeats):
        for configuration in ("one_thread", "as_shipped"):
            place = folder / f"{repeat}-{configuration}"
            if peer_python:
                run = measure_peer(
                    peer_python, place / "peer", model, options, threads=1 if configuration == "one_thread" else None
                )
                runs[configuration].append(run)
            if options.side != "peer":
                runs["ours"].append(measure_ours(place / "ours", model, options))
    print(json.dumps(report(runs, options), indent=2))
    if options.keep:
        print(f"logs are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)


def report(runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> dict[str, Any]:
    """Return all measurements, their medians, and our rounds per second over the peer's."""
    rate = {name: statistics.median(run["rounds_per_second"] for run in of) for name, of in runs.items() if of}
    ratio = {
        name: round(rate["ours"] / rate[name], 2) for name in ("one_thread", "as_shipped") if "ours" in rate and name in rate
    }
    return {
        "what": "rounds per second of one node, median over runs",
        "workload": {"nodes": NODES, "questions": QUESTIONS, "completions": COMPLETIONS, "tokens": TOKENS, "dataset": DATASET}
        | {"model": f"Llama, {options.layers} layers of width {options.hidden}, random weights"},
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "rounds_per_second": {name: round(value, 3) for name, value in rate.items()},
        "ratio": ratio,
        "bar": BAR,
        "bar_met": {name: value >= BAR for name, value in ratio.items()},
        "runs": runs,
    }


def install_peer() -> Path:
    """Return the Python of the peer's environment, made first where it is missing.

    Ends the program with one sentence if that fails.
    """
    python, stamp = VENV / "bin" / "python", VENV / ".installed"
    constrained = (HERE.parents[1] / "constraints.txt").read_text().split()
    pins = [line for line in constrained if line.partition("==")[0] in SAME_VERSIONS]
    wanted = "\n".join((*REQUIREMENTS, *pins)) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing the known peer into {VENV}; the first time takes some minutes", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    constraints = VENV / "constraints.txt"
    constraints.write_text("\n".join(pins) + "\n")
    # torch comes first and is held, since the peer asks for any torch and would take the largest
    # there is.
    for packages in ([pin for pin in pins if pin.startswith("torch==")], REQUIREMENTS):
        command = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints, *packages]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode != 0:
            said = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")] or ["nothing"]
            sys.exit(
                f"The known peer cannot be measured: pip could not install {', '.join(packages)} into {VENV}; it said: {said[-1]}"
            )
    stamp.write_text(wanted)
    return python


def measure_peer(python: Path, folder: Path, model: Path, options: argparse.Namespace, threads: int | None) -> dict[str, Any]:
    """Measure two nodes of the peer; `threads` per process, None for torch's own choice."""
    folder.mkdir(parents=True)
    rounds = options.warm_up + options.peer_rounds
    settings = PEER_SETTINGS | {"model": str(model), "rounds": rounds, "timeout_s": options.timeout}
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    } | OFFLINE
    environment |= {"HIVEMIND_WORLD_SIZE": str(NODES), "HF_HOME": str(folder)}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    command = [python, PARTS / "peer_node.py", "--folder", folder, "--settings", json.dumps(settings)]
    deadline = time.monotonic() + options.timeout
    outputs = [folder / f"peer-{node}.json" for node in range(NODES)]
    with started([[*command, "--node", str(node)] for node in range(NODES)], folder, environment, outputs) as processes:
        while not all(output.read_text().endswith("\n") for output in outputs):
            check_alive(processes, deadline, "The known peer", folder)
            time.sleep(0.2)
    nodes = [json.loads(output.read_text()) for output in outputs]
    if any(len(node["marks"]) < rounds or not node["foreign_groups"] or not node["optimizer_steps"] for node in nodes):
        sys.exit(f"The known peer did not train on shared groups in every round; see the logs in {folder}.")
    rates, split = [], []
    for node in nodes:
        (began, before), (ended, after) = node["marks"][options.warm_up - 1], node["marks"][-1]
        rates.append(options.peer_rounds / (ended - began))
        split.append({label: (after[label] - before[label]) / options.peer_rounds for label in after})
    return {
        "rounds_per_second": round(statistics.mean(rates), 4),
        "seconds_per_round": {label: round(statistics.mean(node[label] for node in split), 3) for label in split[0]},
        "optimizer_steps_per_round": nodes[0]["optimizer_steps"] / rounds,
        "foreign_groups_per_round": nodes[0]["foreign_groups"] / rounds,
    }


def measure_ours(folder: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure two daemons in one swarm, by the events that they write."""
    folder.mkdir(parents=True)
    manifest = folder / "manifest.toml"
    manifest.write_text(our_manifest())
    settings = [part for name, value in OUR_SETTINGS.items() for part in ("--set", f"{name}={value}")]
    environment = os.environ | OFFLINE | {"OMP_NUM_THREADS": "1"}
    swarmd = [Path(sys.executable).with_name("swarmd")]
    homes = [folder / f"home-{node}" for node in range(NODES)]
    for home in homes:
        subprocess.run(
            [*swarmd, "init", "--home", home, "--manifest", manifest, "--model", model, "--listen", "/ip4/127.0.0.1/tcp/0"],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    deadline = time.monotonic() + options.timeout
    marks: list[list[tuple[float, dict[str, Any]]]] = [[] for _ in homes]

    def follow() -> None:
        for home, seen in zip(homes, marks, strict=True):
            finished = [event for event in events(home) if event["event"] == "RoundFinished"]
            seen += [(time.monotonic(), event) for event in finished[len(seen) :]]

    def command(node: int, *more: str) -> list[Any]:
        return [*swarmd, "start", "--home", homes[node], *settings, "--set", f"node.seed={node + 1}", *more]

    with started([command(0)], folder, environment, [folder / "ours-0.out"], name="ours") as first:
        while not (up := [event for event in events(homes[0]) if event["event"] == "NodeStarted"]):
            check_alive(first, deadline, "Our first node", folder)
            time.sleep(0.1)
        join = command(1, "--bootstrap", up[0]["addresses"][0])
        with started([join], folder, environment, [folder / "ours-1.out"], name="ours", first=1) as second:
            # Timing begins when both nodes train on each other's groups, which the peer does from
            # its first round on.
            begins = [0] * NODES
            while not all(len(seen) > begin + options.our_rounds for seen, begin in zip(marks, begins, strict=True)):
                check_alive([*first, *second], deadline, "Our swarm", folder)
                follow()
                full = [next((i for i, (_, e) in enumerate(seen) if e["trained_foreign"] >= FOREIGN), None) for seen in marks]
                begins = [
                    len(seen) if index is None else index + options.warm_up for seen, index in zip(marks, full, strict=True)
                ]
                time.sleep(0.05)
    timed = [seen[begin : begin + options.our_rounds + 1] for seen, begin in zip(marks, begins, strict=True)]
    rounds = [event for seen in timed for _, event in seen[1:]]
    labels = sorted({label for event in rounds for label in event["seconds"]})
    return {
        "rounds_per_second": round(statistics.mean(options.our_rounds / (seen[-1][0] - seen[0][0]) for seen in timed), 4),
        "seconds_per_round": {label: round(statistics.mean(e["seconds"].get(label, 0.0) for e in rounds), 3) for label in labels},
        "tokens_per_round": statistics.mean(event["generated_tokens"] for event in rounds),
        "own_groups_per_round": statistics.mean(event["trained_own"] for event in rounds),
        "foreign_groups_per_round": statistics.mean(event["trained_foreign"] for event in rounds),
    }


def our_manifest() -> str:
    """Return the rules of a swarm with the one dataset, at the peer's level."""
    from protocols.manifest import EnvironmentRule, Manifest
    from swarm.tasks.environment import load_environments

    version = load_environments()["reasoning_gym"].version
    return Manifest(
        name="known-peer-benchmark",
        environments=(EnvironmentRule(f"reasoning_gym/{DATASET}", version, {"level": 0}),),
        renderings=("prose",),
        epoch_seconds=3600,
        tasks_per_epoch=10_000,
        min_group_size=COMPLETIONS,
        max_group_size=COMPLETIONS,
        max_completion_chars=4096,
        max_completion_tokens=TOKENS,
        max_groups_per_share=QUESTIONS,
    ).to_toml()


def events(home: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a home's event log."""
    path = home / "events.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def started(
    commands: list[list[Any]], folder: Path, environment: dict[str, str], outputs: list[Path], name: str = "peer", first: int = 0
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run commands, each in a process group of its own, and end them with the block."""
    processes = []
    try:
        for number, (command, output) in enumerate(zip(commands, outputs, strict=True), first):
            with output.open("wb") as out, (folder / f"{name}-{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        command, env=environment, start_new_session=True, stdin=subprocess.PIPE, stdout=out, stderr=log
                    )
                )
        yield processes
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()  # the peer's nodes end at this
            if name == "ours":
                process.terminate()
        for process in processes:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what the node may have left behind
            except ProcessLookupError:
                continue


def check_alive(processes: list[subprocess.Popen[bytes]], deadline: float, who: str, folder: Path) -> None:
    """End the program with one sentence if a node has ended or time is up."""
    if any(process.poll() is not None for process in processes):
        sys.exit(f"{who} ended early; the logs are in {folder}.")
    if time.monotonic() > deadline:
        sys.exit(f"{who} did not finish in time (see --timeout); the logs are in {folder}.")


if __name__ == "__main__":
    main()
