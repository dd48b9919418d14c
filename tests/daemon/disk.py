"""A small disk that a test can fill, empty and make read-only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from processes import SOON_S

SIZE_MB = 32


class Disk:
    """A small file system of its own, which only processes entered into its mount namespace see."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        mount = f"mount -t tmpfs -o size={SIZE_MB}m,mode=700 none {place} && echo mounted && exec cat"
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._keeper.stdout is not None
        self.mounted = self._keeper.stdout.readline() == b"mounted\n"
        self.prefix = ["nsenter", "--target", str(self._keeper.pid), "--mount", "--"]
        # The same directory as seen from outside.
        self.inside = Path(f"/proc/{self._keeper.pid}/root{place}")

    def fill(self, leaving: int = 0) -> None:
        """Write a file until no more than `leaving` bytes are free."""
        with (self.inside / "ballast").open("ab", buffering=0) as file:
            while (room := self.free() - leaving) > 0:
                file.write(bytes(min(room, 1 << 20)))

    def free(self) -> int:
        """Free bytes."""
        state = os.statvfs(self.inside)
        return state.f_bavail * state.f_frsize

    def empty(self) -> None:
        """Undo `fill`."""
        (self.inside / "ballast").unlink()

    def remount(self, option: str) -> None:
        """`ro` or `rw`."""
        subprocess.run([*self.prefix, "mount", "-o", f"remount,{option}", str(self.place)], check=True, timeout=SOON_S)

    def close(self) -> None:
        """Unmount, by ending the only process that stays in the namespace."""
        self._keeper.kill()
        self._keeper.communicate()
