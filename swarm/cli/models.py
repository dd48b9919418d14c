"""`models`: the models that could be trained on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm.cli.output import print_json, print_table
from swarm.cli.shared_options import home_option, json_option, set_option
from swarm.home import Home

if TYPE_CHECKING:
    from swarm.policy.fit.listing import Choice

_GIB = 2**30
_WAYS = {"none": "all weights", "lora": "LoRA", "qlora": "QLoRA"}
_WHERE = {"here": "here", "hub": "model hub", "consent": "model hub, gated", "package": "pip install"}


@click.command()
@home_option
@json_option
@set_option
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
def models(home: Home, as_json: bool, overrides: dict[str, str], folders: tuple[Path, ...]) -> None:
    """List models and how they fit this machine's memory.

    For each, the estimated memory (GiB) of training all its weights, a LoRA adapter, or one over
    4-bit weights; and the first of these that fits, which policy.adapter = auto takes. FOLDERS are
    further model folders to list. Any other causal language model of the hub works as well, but for
    the architectures named last.
    """
    from swarm.config.load import load
    from swarm.policy.fit.listing import list_models
    from swarm.policy.fit.unusable import REFUSED, refusal_by_name

    config = load(home.path, overrides).policy
    listing = list_models(config, folders)
    if as_json:
        print_json({**asdict(listing), "refused": list(REFUSED)})
        return
    click.echo(f"{listing.device}, {listing.dtype}: {listing.memory / _GIB:.1f} GiB for the policy (policy.memory)")
    rows = [
        {
            "model": each.model,
            "where": _WHERE[each.where],
            "licence": each.licence,
            "parameters": f"{each.parameters / 1e6:,.1f} M" if each.parameters else "-",
            **{way: f"{each.needs[kind] / _GIB:.1f}" if each.parameters else "-" for kind, way in _WAYS.items()},
            "fits": _fits(each),
        }
        for each in listing.choices
    ]
    print_table(rows, ["model", "where", "licence", "parameters", *_WAYS.values(), "fits"])
    unusable = [each.why_not["none"] for each in listing.choices if not each.parameters]
    by_name = "" if Path(config.model).is_dir() else refusal_by_name(config.model)
    click.echo("".join(f"\n{why}" for why in dict.fromkeys([*unusable, by_name]) if why), nl=False)
    click.echo("\nNo policy can be made of:\n" + "\n".join(f"  {each}" for each in REFUSED))


def _fits(choice: Choice) -> str:
    if not choice.parameters:
        return "no: see below"
    return _WAYS[choice.fits] if choice.fits else "no: " + ", ".join(dict.fromkeys(choice.why_not.values()))
