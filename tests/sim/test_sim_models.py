"""Nodes of unlike models in one simulation: each model with settings of its own."""

from __future__ import annotations

import pytest

from swarm.errors import ConfigError
from swarm.sim.options import SimulationOptions, of_model
from swarm.sim.simulation import node_configs


def test_settings_after_a_model_are_its_nodes_alone():
    models = ("smollm2,policy.examples=5,training.learning_rate=0.0005", "embedded")
    options = SimulationOptions(nodes=4, models=models, overrides={"training.warmup_steps": "7"})
    configs, _ = node_configs(options)
    assert [config.policy.model for config in configs] == ["smollm2", "embedded"] * 2
    assert [config.policy.examples for config in configs] == [5, 0] * 2
    assert configs[0].training.learning_rate == 5e-4 != configs[1].training.learning_rate
    assert {config.training.warmup_steps for config in configs} == {7}
    assert [options.model_of(place) for place in range(3)] == ["smollm2", "embedded", "smollm2"]


def test_a_model_without_settings_is_as_before():
    assert of_model("/some/folder") == ("/some/folder", {})


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("embedded,policy.examples", "section.key=value"),
        ("embedded,policy.exmples=3", "exmples"),
        ("embedded,policy.examples=-1", "policy.examples"),
        ("embedded,policy.model=smollm2", "--model"),
        ("embedded,node.rounds=3", "--rounds"),
        ("embedded,swarm.manifest=reasoning", "one swarm"),
    ],
)
def test_what_a_model_cannot_have_of_its_own_is_said(model, says):
    with pytest.raises(ConfigError, match=says):
        node_configs(SimulationOptions(models=(model,)))
