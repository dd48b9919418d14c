"""A node's settings from all their sources: defaults < profile < node.toml < environment < command
line.

Each source is reduced to flat `section.key` names and checked on its own, so that a mistake is
reported where it was made, even when a later source overrides it. Then it is laid over the one
before.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from protocols.peer_id import public_key
from protocols.reasons import ProtocolError
from swarm.config.hours import Hours
from swarm.config.profiles import PROFILES
from swarm.config.removed import REMOVED
from swarm.config.schema import SECTIONS, Config
from swarm.config.setting import Allowed
from swarm.config.template_arguments import template_arguments
from swarm.config.toml import flatten, parse, positions
from swarm.errors import ConfigError

PREFIX = "SWARMD_"
NOT_A_SETTING = "SWARMD_HOME"
# Settings whose default suits the embedded model, and the default of all others.
OF_OTHER_MODELS = {"training.learning_rate": 0.0, "training.constant_steps": 0, "checkpoint.every_minutes": 30.0}

_SECTION_TYPES: Mapping[str, type] = {name: type_ for name, type_ in get_type_hints(Config).items() if name in SECTIONS}
FIELDS: Mapping[str, Field[Any]] = MappingProxyType(
    {f"{section}.{field.name}": field for section, type_ in _SECTION_TYPES.items() for field in fields(type_)}
)
TYPES: Mapping[str, Any] = MappingProxyType(
    {f"{section}.{name}": hint for section, type_ in _SECTION_TYPES.items() for name, hint in get_type_hints(type_).items()}
)
_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and its origin: "default", "profile laptop", "<path>, line 7", "SWARMD_NODE__SEED"
    or "command line"."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The configuration, and the value and origin of every `section.key`."""

    config: Config
    settings: Mapping[str, Setting]


def load(home: Path, overrides: Mapping[str, str] = MappingProxyType({}), environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration of the node at `home`; see `resolve`."""
    return resolve(home, overrides, environ).config


def resolve(home: Path, overrides: Mapping[str, str] = MappingProxyType({}), environ: Mapping[str, str] = os.environ) -> Resolved:
    """Return the configuration of the node at `home` with the origin of every value.

    `overrides` are the command line's, `section.key` to text. A home without node.toml has the
    defaults. Raises `ConfigError` for an unknown key, a value of the wrong type or out of range,
    and values that contradict each other.
    """
    path = home / "node.toml"
    return _combine([*_from_toml(_read(path), str(path)), *_from_environment(environ), *_from_command_line(overrides)])


def check_text(text: str, source: str) -> Config:
    """Return the configuration that a node.toml of this text alone gives.

    Raises `ConfigError`, which calls the text `source`.
    """
    return _combine(_from_toml(text, source)).config


def _combine(sources: Iterable[tuple[str, Setting]]) -> Resolved:
    given = dict(sources)
    settings = {name: Setting(field.default, "default") for name, field in FIELDS.items()}
    profile = given.get("node.profile", settings["node.profile"]).value
    settings |= {name: Setting(value, f"profile {profile}") for name, value in PROFILES[profile].items()}
    settings |= given
    if settings["policy.model"].value != "embedded":
        origin = "default of all but the embedded model"
        others = {name: Setting(value, origin) for name, value in OF_OTHER_MODELS.items()}
        settings |= {name: other for name, other in others.items() if settings[name].origin == "default"}
    _check_together(settings)
    sections = {
        section: type_(**{field.name: settings[f"{section}.{field.name}"].value for field in fields(type_)})
        for section, type_ in _SECTION_TYPES.items()
    }
    return Resolved(Config(**sections), MappingProxyType(settings))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None


def _from_toml(text: str, source: str) -> Iterator[tuple[str, Setting]]:
    document = parse(text, source)
    lines = positions(text)
    for name, value in flatten(document).items():
        origin = f"{source}, line {lines[name]}"
        known(name, origin)
        if not name.endswith("."):
            yield name, Setting(_checked(name, value, origin), origin)


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Setting]]:
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == NOT_A_SETTING:
            continue
        section, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        # One underscore instead of two is the likely slip; ignoring it in silence would be worst.
        name = f"{section}.{key}" if separator else section.replace("_", ".", 1)
        if not separator and name in FIELDS:
            raise ConfigError(f"{variable} is no setting; did you mean {_variable(name)}, with two underscores?")
        known(name, variable)
        yield name, Setting(_checked(name, _from_text(name, text, variable), variable), variable)


def _from_command_line(overrides: Mapping[str, str]) -> Iterator[tuple[str, Setting]]:
    for name, text in overrides.items():
        origin = "command line"
        known(name, origin)
        yield name, Setting(_checked(name, _from_text(name, text, origin), origin), origin)


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "__")


def known(name: str, origin: str) -> None:
    """Raise `ConfigError` unless `name` is a setting or, with a final dot, a section.

    The message says what replaced a removed setting, or which name is nearest.
    """
    section, _, key = name.partition(".")
    if name in FIELDS or (section in SECTIONS and not key):
        return
    if name in REMOVED:
        raise ConfigError(f"{origin}: {name} is no longer a setting; {REMOVED[name]}")
    if section not in SECTIONS:
        close = difflib.get_close_matches(section, SECTIONS, n=1)
        # A key written without its section, or under a wrong one, is found by its own name.
        elsewhere = [known for known in FIELDS if known.partition(".")[2] == (key.rpartition(".")[2] or section)]
        near = (close or elsewhere) if key else (elsewhere or close)
        raise ConfigError(f"{origin}: there is no section {section!r}{_suggest(near, 'the sections are ' + ', '.join(SECTIONS))}")
    keys = [known.partition(".")[2] for known in FIELDS if known.startswith(f"{section}.")]
    near = [f"{section}.{match}" for match in difflib.get_close_matches(key, keys, n=1)]
    near = near or [known for known in FIELDS if known.partition(".")[2] == key]
    raise ConfigError(f"{origin}: there is no setting {name!r}{_suggest(near, f'[{section}] has ' + ', '.join(keys))}")


def _suggest(near: list[str], otherwise: str) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else f"; {otherwise}"


def _from_text(name: str, text: str, origin: str) -> Any:
    """Read a value from an environment variable or the command line: TOML, but texts and lists need
    no quotes or brackets."""
    type_, text = TYPES[name], text.strip()
    if type_ is str:
        return text
    if get_args(type_) and not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"{origin}: {name} must be {type_name(type_)}, not {text!r}") from None


def type_name(type_: Any) -> str:
    """Say a setting's type in words."""
    return _TYPE_NAMES.get(type_, "a list of texts")


def _checked(name: str, value: Any, origin: str) -> Any:
    """Return `value` in the schema's type; only a whole number given for a number is converted."""
    type_ = TYPES[name]
    if get_args(type_) and isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = tuple(value)
    elif type_ is float and type(value) is int:
        value = float(value)
    elif type(value) is not type_:
        raise ConfigError(f"{origin}: {name} must be {type_name(type_)}, not {json.dumps(value, default=str)}")
    rules: Allowed = FIELDS[name].metadata["allowed"]
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{origin}: {name} must be finite, not {value}")
    if rules.choices and value not in rules.choices:
        near = difflib.get_close_matches(value, rules.choices, n=1)
        raise ConfigError(f"{origin}: {name} = {value!r}{_suggest(near, 'it must be one of ' + ', '.join(rules.choices))}")
    if (bound := rules.minimum) is not None and value < bound:
        raise ConfigError(f"{origin}: {name} must be at least {bound}, not {value}")
    if (bound := rules.above) is not None and value <= bound:
        raise ConfigError(f"{origin}: {name} must be above {bound}, not {value}")
    if (bound := rules.maximum) is not None and value > bound:
        raise ConfigError(f"{origin}: {name} must be at most {bound}, not {value}")
    return value


def _check_together(settings: Mapping[str, Setting]) -> None:
    """Raise `ConfigError` for values that contradict each other."""
    value = {name: setting.value for name, setting in settings.items()}
    if value["training.local"] + value["training.external"] < 1:
        raise ConfigError("training.local and training.external are both 0, so nothing would ever be trained; set one of them")
    # The sampler "rollouts" counts completions.
    each = value["generation.num_generations"] if value["sampling.sampler"] == "rollouts" else 1
    if 0 < value["tasks.per_round"] * each < value["training.local"]:
        raise ConfigError("tasks.per_round is below training.local: more own groups would be trained than are solved; raise it")
    if value["training.epsilon_high"] < value["training.epsilon"]:
        raise ConfigError("training.epsilon_high is below training.epsilon; make it at least equal")
    template_arguments(value["policy.template_arguments"])
    for hours in value["guest.hours"]:
        Hours.parse(hours)
    if not value["network.listen"]:
        raise ConfigError("network.listen is empty, so no peer could reach this node; give it /ip4/0.0.0.0/tcp/4711 or the like")
    for name in ("network.listen", "network.announce", "swarm.bootstrap"):
        for address in value[name]:
            if not address.startswith("/"):
                raise ConfigError(f"{settings[name].origin}: {address!r} in {name} is no multiaddr; one looks like /ip4/…/tcp/…")
    for address in value["swarm.bootstrap"]:
        try:
            public_key(address.rpartition("/p2p/")[2])
        except ProtocolError:
            # Without the id anyone could answer at the address.
            origin = settings["swarm.bootstrap"].origin
            raise ConfigError(f"{origin}: {address!r} in swarm.bootstrap must end with /p2p/ and a peer id") from None
