"""Learning curves as pictures: one per row with all its seeds, and one of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display: an experiment also runs on servers

from matplotlib import pyplot

from benchmarks.experiment.table import Report, curve


def draw(directory: Path, reports: Mapping[str, Sequence[Report]]) -> list[Path]:
    """Write PNG files into `directory`: `curves.png`, then one per row."""
    paths = [_figure(directory / "curves.png", reports, "All configurations, mean over seeds", faint=False)]
    for name, row in reports.items():
        path = directory / f"{name.replace('/', '-')}.png"
        paths.append(_figure(path, {name: row}, f"{name}: every seed, and their mean", faint=True))
    return paths


def _figure(path: Path, reports: Mapping[str, Sequence[Report]], title: str, *, faint: bool) -> Path:
    figure, (accuracy, reward) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for number, (name, row) in enumerate(reports.items()):
        colour = f"C{number}"
        curves = [curve(report) for report in row]
        sums = [list(accumulate(report["reward_per_round"])) for report in row]
        if faint:
            for points, total in zip(curves, sums, strict=True):
                accuracy.plot(*zip(*points, strict=True), color=colour, alpha=0.3)
                reward.plot(total, color=colour, alpha=0.3)
        rounds = [mark for mark, _ in curves[0]]
        accuracy.plot(rounds, _means([[height for _, height in points] for points in curves]), color=colour, label=name)
        reward.plot(_means(sums), color=colour, label=name)
    _finish(accuracy, "held-out accuracy on unseen prompts", (0, 1))
    _finish(reward, "cumulative reward per node", None)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _finish(axes: Any, label: str, limits: tuple[float, float] | None) -> None:
    axes.set(xlabel="round", ylabel=label, ylim=limits)
    axes.legend()


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(each) / len(each) for each in zip(*rows, strict=False)]
