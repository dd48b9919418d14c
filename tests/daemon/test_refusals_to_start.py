"""Settings with which a daemon does not start, whatever the home holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swarm.config.schema import Config, DefencesSection
from swarm.errors import ConfigError
from swarm.home import Home
from swarm.node.daemon import run_daemon


def test_a_daemon_does_not_believe_claimed_rewards(tmp_path: Path) -> None:
    config = replace(Config(), defences=DefencesSection(verify=False))
    with pytest.raises(ConfigError, match="only a simulation may do that"):
        run_daemon(Home(tmp_path / "home"), config)
    assert not (tmp_path / "home").exists()
