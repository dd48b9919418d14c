"""Finds the manifest that the setting `swarm.manifest` means: a built-in one's name, a file, or a
swarm id."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from protocols.manifest import Manifest
from protocols.reasons import ManifestError
from swarm.errors import ConfigError
from swarm.home import Home

_BUILT_IN = Path(__file__).parent.parent / "manifests"
_SWARM_ID = re.compile(r"[0-9a-fA-F]{64}")


def built_in() -> dict[str, Manifest]:
    """Return the manifests that come with swarmd, by name."""
    return {path.stem: _read(path) for path in sorted(_BUILT_IN.glob("*.toml"))}


def find_manifest(reference: str, home: Home) -> Manifest | None:
    """Return the manifest that `reference` means; None for a swarm id whose manifest is not on this
    machine yet.

    A relative path is taken from the home. Raises `ConfigError` when there is no such manifest, or
    it cannot be used.
    """
    if _SWARM_ID.fullmatch(reference):
        candidates = [*built_in().values(), *([_read(home.manifest)] if home.manifest.exists() else [])]
        return next((manifest for manifest in candidates if manifest.swarm_id == reference.lower()), None)
    if not _is_path(reference):
        path = _BUILT_IN / f"{reference}.toml"
        if not path.exists():
            names = [path.stem for path in sorted(_BUILT_IN.glob("*.toml"))]
            near = difflib.get_close_matches(reference, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}; a file's name ends in .toml"
            raise ConfigError(f"there is no built-in manifest {reference!r}; {hint}")
        return _read(path)
    return _read(home.path / Path(reference).expanduser())


def absolute(reference: str) -> str:
    """Return `reference` as it is written into node.toml: a path is made absolute, from the working
    directory."""
    return str(Path(reference).expanduser().absolute()) if _is_path(reference) else reference


def _is_path(reference: str) -> bool:
    return "/" in reference or reference.endswith(".toml")


def _read(path: Path) -> Manifest:
    try:
        return Manifest.from_toml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the manifest {path}: {error}") from None
    except ManifestError as error:
        raise ConfigError(f"{path}: {error}") from None
