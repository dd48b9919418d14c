from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from swarm.cli.main import main


def test_the_command_says_what_came_of_it_and_where_the_report_is(tmp_path: Path) -> None:
    report = tmp_path / "report"
    arguments = ["sim", "--nodes", "1", "--rounds", "1", "--network", "memory", "--report", str(report)]
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 0, said.output
    measured = json.loads((report / "report.json").read_text())
    assert f"held-out accuracy: {measured['eval_before']:.3f} before, {measured['eval_after']:.3f} after 1 rounds" in said.stdout
    assert said.stdout.splitlines()[-1] == f"report: {report / 'report.html'}"
    assert "round 1/1" in said.stderr

    again = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(again.stdout)["digest"] == measured["digest"], "standard output holds the report and nothing else"
