"""report.html: the report in one file to send around, pictures inside."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 860px; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd; }
img { max-width: 100%; } pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: 13px; }
"""

_FIGURES = {
    "eval_before": "held-out accuracy before",
    "eval_after": "held-out accuracy after",
    "cumulative_reward": "cumulative reward per node",
    "groups_trained_own": "own groups trained on",
    "groups_trained_foreign": "foreign groups trained on",
    "delivery_ratio": "shared groups delivered",
    "logs_complete": "logs complete at the end",
    "completion_tokens_first": "tokens per own answer, first rounds",
    "completion_tokens_last": "tokens per own answer, last rounds",
    "generated_tokens": "tokens generated",
    "wall_s": "seconds",
}

_ATTACK = {
    "name": "attack",
    "attackers": "attacking peers",
    "identities": "names they used",
    "groups_sent": "their groups sent",
    "groups_delivered": "delivered, over all honest nodes",
    "groups_admitted": "admitted",
    "groups_trained": "trained on",
    "trained_share": "share of the foreign groups trained on",
    "weight_share": "share of the foreign weight in training",
    "messages_turned_away": "messages turned away at the door",
    "refused": "refused after that",
    "refused_honest": "refused of honest nodes",
}


def write_page(directory: Path, report: dict[str, Any], pictures: Sequence[Path]) -> None:
    """Write report.html beside the pictures."""
    alone = report.get("alone")
    heads = "<th></th><th>together</th><th>alone</th>" if alone else "<th></th><th></th>"
    rows = "".join(
        f"<tr><td>{label}</td><td>{_number(report[key])}</td>" + (f"<td>{_number(alone[key])}</td>" if alone else "") + "</tr>"
        for key, label in _FIGURES.items()
    )
    attacked = "".join(f"<tr><td>{label}</td><td>{value}</td></tr>" for label, value in _attack_rows(report))
    images = "".join(
        f'<p><img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></p>'
        for path in pictures
    )
    # What a table of nodes would only repeat is left out.
    unequal = any(len(set(report[key])) > 1 for key in ("models_per_node", "speeds"))
    nodes = _nodes(report) if unequal else ""
    title = f"{report['nodes']} nodes, {report['rounds']} rounds, seed {report['seed']}, {html.escape(report['network'])}"
    whole = html.escape(json.dumps(report, indent=1))
    (directory / "report.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>swarmd sim: {title}</title><style>{_STYLE}</style>'
        f"<h1>swarmd sim</h1><p>{title}</p><table><tr>{heads}</tr>{rows}</table><table>{attacked}</table>{nodes}{images}"
        f"<details><summary>report.json</summary><pre>{whole}</pre></details></html>\n",
        encoding="utf-8",
    )


def _nodes(report: dict[str, Any]) -> str:
    """Return a table of the nodes."""
    heads = "".join(f"<th>{head}</th>" for head in ("node", "base model", "speed", "rounds", "held-out before", "after"))
    columns = ("models_per_node", "speeds", "rounds_per_node", "eval_before_per_node", "eval_after_per_node")
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(each) if isinstance(each, str) else _number(each)}</td>" for each in row) + "</tr>"
        for row in zip(range(report["nodes"]), *(report[key] for key in columns), strict=True)
    )
    return f"<table><tr>{heads}</tr>{rows}</table>"


def _attack_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    attack = report["attack"]
    if attack is None:
        return
    for key, label in _ATTACK.items():
        value = attack[key]
        if isinstance(value, dict):
            yield label, html.escape(", ".join(f"{reason} {count:,}" for reason, count in value.items()) or "nothing")
        else:
            yield label, html.escape(value) if isinstance(value, str) else _number(value)
    for when, label in (("patterns_first", "first"), ("patterns_last", "last")):
        if (rate := report[when].get(attack["name"])) is not None:
            yield f"own answers with its pattern, {label} rounds", _number(rate)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
