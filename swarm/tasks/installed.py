"""Writes the installed environment families as JSON, for `swarmd doctor`.

`python -m swarm.tasks.installed` is a process of its own, since a broken family must not cost more
than one finding. It writes {"versions": {family: version}, "refused": {family: why none of its
kinds can be used here}}, or {"error": message}.
"""

from __future__ import annotations

import json

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import load_environments


def installed() -> dict[str, object]:
    """Return the object to write."""
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
