"""`models`: the models that could be trained on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from swarm.cli.output import print_json, print_table
from swarm.cli.shared_options import home_option, json_option, set_option
from swarm.home import Home

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
    further model folders to list. Any other causal language model of the hub works as well.
    """
    from swarm.config.load import load
    from swarm.policy.fit.listing import list_models

    listing = list_models(load(home.path, overrides).policy, folders)
    if as_json:
        print_json(asdict(listing))
        return
    click.echo(f"{listing.device}, {listing.dtype}: {listing.memory / _GIB:.1f} GiB for the policy (policy.memory)")
    rows = [
        {
            "model": each.model,
            "where": _WHERE[each.where],
            "licence": each.licence,
            "parameters": f"{each.parameters / 1e6:,.1f} M",
            **{way: f"{each.needs[kind] / _GIB:.1f}" for kind, way in _WAYS.items()},
            "fits": _WAYS[each.fits] if each.fits else "no: " + ", ".join(dict.fromkeys(each.why_not.values())),
        }
        for each in listing.choices
    ]
    print_table(rows, ["model", "where", "licence", "parameters", *_WAYS.values(), "fits"])
