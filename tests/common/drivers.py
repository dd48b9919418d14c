"""An NVIDIA driver's program, as a shell script that is found first."""

from __future__ import annotations

from pathlib import Path

import pytest


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Make it in `folder`; it can be written again, with `#!/bin/sh` before it."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return program
