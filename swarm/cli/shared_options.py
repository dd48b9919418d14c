"""Options that several commands share."""

from __future__ import annotations

import click

from swarm.errors import ConfigError
from swarm.home import Home


def _find_home(context: click.Context, parameter: click.Parameter, value: str | None) -> Home:
    return Home.find(value or context.find_root().params.get("home"))


def _overrides(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    overrides = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: write it as --set section.key=value")
        overrides[name.strip()] = value
    return overrides


home_option = click.option(
    "--home", metavar="DIR", callback=_find_home, help="The node's home; may also stand before the command. [SWARMD_HOME]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to standard output.")
set_option = click.option(
    "--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True, callback=_overrides, help="Override a setting; repeatable."
)
checkpoint_option = click.option(
    "--checkpoint",
    metavar="STEP|newest|base",
    default="newest",
    show_default=True,
    help="Which policy: a checkpoint by its step, the newest, or the base model before any training.",
)
