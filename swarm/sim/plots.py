"""The report's pictures: reward per round, accuracy per task, and who trained on whose groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display: a simulation also runs on servers

from matplotlib import pyplot


def draw_plots(directory: Path, report: dict[str, Any]) -> list[Path]:
    """Draw PNG files into `directory`; return them in the order of the page."""
    plots: dict[str, Callable[[Any, dict[str, Any]], None]] = {
        "reward.png": _reward,
        "accuracy.png": _accuracy,
        "sources.png": _sources,
    }
    paths = []
    for name, draw in plots.items():
        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        draw(axes, report)
        figure.savefig(directory / name, dpi=110)
        pyplot.close(figure)
        paths.append(directory / name)
    return paths


def _reward(axes: Any, report: dict[str, Any]) -> None:
    for rewards in report["reward_per_round_per_node"]:
        axes.plot(rewards, color="tab:blue", alpha=0.2, linewidth=0.8)
    axes.plot(report["reward_per_round"], color="tab:blue", linewidth=2, label="together" if "alone" in report else "mean")
    if "alone" in report:
        axes.plot(report["alone"]["reward_per_round"], color="tab:gray", linewidth=2, label="alone")
    axes.set(title="Mean reward of a node's own answers", xlabel="round", ylabel="reward", ylim=(0, 1))
    axes.legend()


def _accuracy(axes: Any, report: dict[str, Any]) -> None:
    tasks = sorted(report["eval_per_task"])
    bars = [
        ("before", "lightgray", [report["eval_per_task"][task]["before"] for task in tasks]),
        ("after", "tab:blue", [report["eval_per_task"][task]["after"] for task in tasks]),
    ]
    if "alone" in report:
        bars.insert(1, ("after, alone", "tab:gray", [report["alone"]["eval_per_task"][task]["after"] for task in tasks]))
    height = 0.8 / len(bars)
    for position, (label, colour, values) in enumerate(bars):
        places = [row + (position - (len(bars) - 1) / 2) * height for row in range(len(tasks))]
        axes.barh(places, values, height, color=colour, label=label)
    axes.set_yticks(range(len(tasks)), [task.rpartition("/")[2] for task in tasks])
    axes.invert_yaxis()
    axes.set(title="Held-out accuracy per task, mean over nodes", xlabel="share of unseen prompts solved", xlim=(0, 1))
    axes.legend()


def _sources(axes: Any, report: dict[str, Any]) -> None:
    matrix = report["trained_from"]
    image = axes.imshow(matrix, cmap="Blues")
    ticks = range(len(matrix))
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set(title="Groups trained on", xlabel="solved by node", ylabel="trained by node")
    axes.figure.colorbar(image, ax=axes)
