"""A vault of cursors that remembers what it sealed, for tests of the core."""


class MemoryVault:
    """Hands out numbers; what they stand for is kept here."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[bytes, bytes]] = {}

    def seal(self, frame: bytes, binding: bytes) -> bytes:
        sealed = b"sealed" + len(self._kept).to_bytes(8, "big") + bytes(len(frame))
        self._kept[sealed] = (frame, binding)
        return sealed

    def open(self, sealed: bytes, binding: bytes) -> bytes | None:
        frame, bound = self._kept.get(sealed, (None, None))
        return frame if bound == binding else None
