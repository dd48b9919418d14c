"""A manifest as people write it: TOML, in which a wrong key gets an answer with the right one."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from protocols import fields
from protocols.drand import KNOWN_CHAINS, Chain
from protocols.limits import HASH_BYTES, MAX_MANIFEST_BYTES, PROTOCOL_VERSION, ROUND_KEY_BYTES
from protocols.reasons import ManifestError, ProtocolError
from protocols.recipe import Parameter, parameter_value
from protocols.rules import EnvironmentRule, Range

_REQUIRED = (
    "protocol",
    "name",
    "epoch_seconds",
    "tasks_per_epoch",
    "group_size",
    "max_completion_chars",
    "max_completion_tokens",
    "max_groups_per_share",
    "renderings",
    "environment",
)
_OPTIONAL = ("description", "beacon", "drand_chain", "drand_info")
_DRAND_INFO = ("public_key", "genesis_time", "period", "group_hash", "beacon_id")


def parse(text: str) -> dict[str, Any]:
    """The fields of a Manifest, by their names. Raises ManifestError."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"the manifest is longer than {MAX_MANIFEST_BYTES} bytes")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest is not valid TOML: {error}") from None
    try:
        return _fields(table)
    except ManifestError:
        raise
    except ProtocolError as error:
        raise ManifestError(error.message) from None


def write(values: Mapping[str, Any]) -> str:
    """The text of a manifest with these fields, by their names, as `parse` reads them."""
    same = ("name", "description", "epoch_seconds", "beacon")
    caps = ("max_completion_chars", "max_completion_tokens", "max_groups_per_share")
    lines = [
        f"protocol = {PROTOCOL_VERSION}",
        *(f"{key} = {_literal(values[key])}" for key in same),
        *(_chain_lines(values["drand"]) if values["drand"] else []),
        f"tasks_per_epoch = {values['tasks_per_epoch']}",
        f"group_size = {_literal(Range(values['min_group_size'], values['max_group_size']))}",
        *(f"{key} = {values[key]}" for key in caps),
        f"renderings = [{', '.join(map(_literal, values['renderings']))}]",
    ]
    for rule in values["environments"]:
        settings = ", ".join(f"{name} = {_literal(setting)}" for name, setting in sorted(rule.parameters.items()))
        lines += ["", "[[environment]]", f"name = {_literal(rule.name)}", f"version = {_literal(rule.version)}"]
        lines += [f"parameters = {{ {settings} }}"] if settings else []
    return "\n".join(lines) + "\n"


def _chain_lines(chain: Chain) -> list[str]:
    lines = [f"drand_chain = {_literal(chain.hash.hex())}"]
    if chain.hash not in KNOWN_CHAINS:
        values = (getattr(chain, name) for name in _DRAND_INFO)
        literals = [_literal(value.hex() if isinstance(value, bytes) else value) for value in values]
        info = ", ".join(f"{name} = {literal}" for name, literal in zip(_DRAND_INFO, literals, strict=True))
        lines.append(f"drand_info = {{ {info} }}")
    return lines


def _literal(value: Range | Parameter) -> str:
    if isinstance(value, Range):
        return f"{{ min = {value.min}, max = {value.max} }}"
    if isinstance(value, float):
        return repr(value)
    # JSON's strings, integers and booleans are TOML's, except that TOML wants the delete character
    # escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _fields(table: dict[str, Any]) -> dict[str, Any]:
    _check_keys(table, "the manifest", _REQUIRED, _OPTIONAL)
    fields.integer(table["protocol"], "protocol", PROTOCOL_VERSION, PROTOCOL_VERSION)
    group_size = _table(table["group_size"], "group_size", ("min", "max"))
    same = ("name", "epoch_seconds", "tasks_per_epoch", "max_completion_chars", "max_completion_tokens", "max_groups_per_share")
    return {
        **{key: table[key] for key in same},
        "description": table.get("description", ""),
        "environments": tuple(_environment(item) for item in _list(table["environment"], "environment")),
        "renderings": tuple(
            fields.name(item, "rendering", fields.RENDERING) for item in _list(table["renderings"], "renderings")
        ),
        "min_group_size": group_size["min"],
        "max_group_size": group_size["max"],
        "beacon": table.get("beacon", "local"),
        "drand": _chain(table.get("drand_chain"), table.get("drand_info")),
    }


def _environment(value: Any) -> EnvironmentRule:
    table = _table(value, "[[environment]]", ("name", "version"), ("parameters",))
    where = f"parameters of {table['name']}"
    parameters = _table(table.get("parameters", {}), where, (), None)
    return EnvironmentRule(
        table["name"], table["version"], {name: _setting(parameters[name], f"{where}: {name}") for name in sorted(parameters)}
    )


def _setting(value: Any, where: str) -> Range | Parameter:
    if isinstance(value, dict):
        bounds = _table(value, where, ("min", "max"))
        return Range(bounds["min"], bounds["max"])
    return parameter_value(value, where)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ManifestError(f"{where} must be a list")
    return value


def _table(value: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...] | None = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{where} must be a table" + (f" with {' and '.join(required)}" if required else ""))
    if optional is not None:
        _check_keys(value, where, required, optional)
    return value


def _check_keys(table: dict[str, Any], where: str, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    known = required + optional
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are: {', '.join(known)}"
            raise ManifestError(f"{where}: unknown key {key!r}; {hint}")
    for key in required:
        if key not in table:
            raise ManifestError(f"{where}: the key {key!r} is missing")


def _chain(named: Any, info: Any) -> Chain | None:
    """The chain of this hash, known or described by `info`, which must have that hash."""
    if named is None and info is None:
        return None
    name = _hex(named, "drand_chain", HASH_BYTES)
    if info is None:
        if name not in KNOWN_CHAINS:
            raise ManifestError(f"drand_chain: {name.hex()} is not known here; add drand_info with {', '.join(_DRAND_INFO)}")
        return KNOWN_CHAINS[name]
    table = _table(info, "drand_info", _DRAND_INFO)
    public_key = _hex(table["public_key"], "drand_info: public_key", ROUND_KEY_BYTES)
    group_hash = _hex(table["group_hash"], "drand_info: group_hash", HASH_BYTES)
    chain = Chain(public_key, table["genesis_time"], table["period"], group_hash, table["beacon_id"])
    if chain.hash != name:
        raise ManifestError(f"drand_info is of the chain {chain.hash.hex()}, not of drand_chain; copy both from the chain's info")
    return chain


def _hex(value: Any, where: str, size: int) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", value):
        raise ManifestError(f"{where} must be {2 * size} hexadecimal digits, in lower case")
    return bytes.fromhex(value)
