"""Arguments of a chat template come from settings, and reach the template."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.config.load import load
from swarm.config.schema import PolicySection
from swarm.config.template_arguments import template_arguments
from swarm.errors import ConfigError


def test_values_are_true_false_numbers_or_texts() -> None:
    assert template_arguments(PolicySection().template_arguments) == {"enable_thinking": False}
    read = template_arguments(["a=true", " b = 2", "reasoning_effort=low", "c=", "d=x=y"])
    assert read == {"a": True, "b": 2, "reasoning_effort": "low", "c": "", "d": "x=y"}


@pytest.mark.parametrize("text", ["enable_thinking", "=false", "a b=1", ""])
def test_what_is_no_argument_is_said_before_a_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.toml").write_text(f'[policy]\ntemplate_arguments = ["{text}"]\n')
    with pytest.raises(ConfigError, match="one looks like enable_thinking=false"):
        load(tmp_path)
