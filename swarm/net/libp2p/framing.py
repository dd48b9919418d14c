"""Length-prefixed frames on a stream, cut out of the chunks that arrive.

py-libp2p reads a varint prefix byte by byte, and every read of a Yamux stream takes several locks
and may send a window update. Reading chunks and cutting them here costs a fraction. Lengths are
checked as soon as they are there.
"""

from __future__ import annotations

from swarm.errors import NetworkError

CHUNK_BYTES = 65536


class VarintFrames:
    """Frames with an unsigned varint length, as GossipSub sends its RPCs."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def unfinished(self) -> bool:
        """Whether a frame has begun but not ended."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add a chunk; return the frames now complete. Raises `NetworkError` for one too long."""
        self._buffer += chunk
        frames: list[bytes] = []
        start = 0
        while True:
            size, body = self._length(start)
            if body < 0 or len(self._buffer) - body < size:
                break
            frames.append(bytes(self._buffer[body : body + size]))
            start = body + size
        del self._buffer[:start]
        return frames

    def _length(self, start: int) -> tuple[int, int]:
        """Return the length at `start` and the start of its frame; (0, -1) if it is incomplete."""
        size = 0
        for index in range(start, min(start + 5, len(self._buffer))):
            byte = self._buffer[index]
            size |= (byte & 0x7F) << (7 * (index - start))
            if size > self._max_bytes:
                raise NetworkError(f"a frame of at least {size} bytes is over the limit of {self._max_bytes}")
            if byte < 0x80:
                return size, index + 1
        if len(self._buffer) - start >= 5:
            raise NetworkError("a frame's length has more than five bytes")
        return 0, -1
