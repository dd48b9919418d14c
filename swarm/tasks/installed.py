"""The environment families that can be imported here, for `swarmd doctor`: `python -m swarm.tasks.installed` writes JSON.

In a process of its own, since a broken family must not cost more than one finding: {"versions": {family: version}, "refused":
{family: why none of its kinds can be used here}}, or {"error": what is wrong}.
"""

from __future__ import annotations

import json

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import load_environments


def installed() -> dict[str, object]:
    """What is written."""
    try:
        families = load_environments()
    except EnvironmentRefused as error:
        return {"error": str(error)}
    return {
        "versions": {family: environment.version for family, environment in families.items()},
        "refused": {
            family: "; ".join(sorted(set(environment.refused().values())))
            for family, environment in families.items()
            if not environment.names()
        },
    }


if __name__ == "__main__":
    print(json.dumps(installed()))
