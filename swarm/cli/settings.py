"""`config`: whether the settings are right, what they are, and where each comes from."""

from __future__ import annotations

import click

from swarm.cli.output import print_json, print_table, printable
from swarm.cli.shared_options import home_option, json_option, set_option
from swarm.home import Home


@click.group()
def config() -> None:
    """Check and explain the node's settings."""


@config.command()
@home_option
@set_option
def check(home: Home, overrides: dict[str, str]) -> None:
    """Check node.toml, the environment and --set without starting anything; the exit code tells."""
    from swarm.cli.choosing import examine
    from swarm.config.load import load
    from swarm.config.manifest_lookup import find_manifest

    settings = load(home.path, overrides)
    manifest = find_manifest(settings.swarm.manifest, home)
    examine(settings, manifest)
    click.echo("the settings are right" + ("" if manifest else "; the manifest will be fetched from a bootstrap peer"))


@config.command()
@home_option
@set_option
@json_option
@click.option("--all", "every", is_flag=True, help="Also the settings that hardly any owner changes.")
@click.argument("key", required=False)
def explain(home: Home, overrides: dict[str, str], as_json: bool, every: bool, key: str | None) -> None:
    """Show the value and the origin of each setting that an owner decides, or of all.

    With KEY, any setting or section, show its meaning as well.
    """
    from swarm.config.explain import REST
    from swarm.config.explain import explain as explain_settings
    from swarm.config.load import resolve
    from swarm.config.toml import literal

    records = explain_settings(resolve(home.path, overrides), key, every=every)
    if as_json:
        print_json(records)
    elif key is None:
        rows = [record | {"value": literal(record["value"])} for record in records]
        print_table(rows, ["name", "value", "origin"])
        if not every:
            click.echo(f"{REST} more settings: swarmd config explain --all")
    else:
        for record in records:
            click.echo(f"{record['name']} = {printable(literal(record['value']))}    from: {record['origin']}")
            click.echo(f"  {record['help']}")
            click.echo(
                f"  {record['type']}{', ' * bool(record['allowed'])}{record['allowed']}; default {literal(record['default'])}"
            )


@config.command("example")
@click.option("--all", "every", is_flag=True, help="Also the settings that hardly any owner changes.")
def example_(every: bool) -> None:
    """Print a node.toml with the settings that an owner decides, or all, each with its meaning."""
    from swarm.config.explain import example

    click.echo(example(every=every), nl=False)
