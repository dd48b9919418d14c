"""A manifest's rule for one environment: name, version and the values of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols import fields
from protocols.limits import MAX_INTEGER, MAX_PARAMETERS
from protocols.recipe import Parameter, parameter_value


@dataclass(frozen=True, slots=True)
class Range:
    """The integers `min..max`.

    Only integers have ranges: each value is another seed to choose from, and reals have too many.
    """

    min: int
    max: int

    def __contains__(self, value: object) -> bool:
        return type(value) is int and self.min <= value <= self.max


@dataclass(frozen=True, slots=True)
class EnvironmentRule:
    """One environment, "family/dataset", in one version, with the values each parameter may take.

    Raises ProtocolError ("schema") for values that the wire cannot carry.
    """

    name: str
    version: str
    parameters: Mapping[str, Range | Parameter] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        fields.name(self.name, 'environment name ("family/dataset")', fields.ENVIRONMENT)
        fields.name(self.version, f"version of {self.name}", fields.ENVIRONMENT_VERSION)
        fields.array(list(self.parameters), f"parameters of {self.name}", 0, MAX_PARAMETERS)
        for name, setting in self.parameters.items():
            fields.name(name, f"parameter of {self.name}", fields.PARAMETER_NAME)
            where = f"{self.name}: {name}"
            if isinstance(setting, Range):
                fields.integer(setting.min, f"{where}.min", -MAX_INTEGER)
                fields.integer(setting.max, f"{where}.max", setting.min)
            else:
                parameter_value(setting, where)

    def allows(self, parameters: tuple[tuple[str, Parameter], ...]) -> bool:
        """Whether a recipe has exactly the rule's parameters, each with an allowed value."""
        return [name for name, _ in parameters] == sorted(self.parameters) and all(
            _fits(self.parameters[name], value) for name, value in parameters
        )


def _fits(setting: Range | Parameter, value: Parameter) -> bool:
    """A fixed value has its type too: 1, 1.0 and true are three values with three seeds."""
    if isinstance(setting, Range):
        return value in setting
    return type(value) is type(setting) and value == setting
