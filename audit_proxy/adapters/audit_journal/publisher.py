"""Publishes the log: entry bundles and tiles as records become durable, then the checkpoint that covers them.

Invariants:

- A checkpoint is put only when every tile and bundle it needs is durable; those are made of durable records only.
- Leaf hashes are those of the bytes that were committed, from memory: a journal altered in between does not get signed.
- State moves on only after the files it stands for are durable, so that a failed attempt is simply made again.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from audit_proxy.adapters.audit_journal import recovery
from audit_proxy.core.errors import LogUnusable
from audit_proxy.core.merkle import note, tiles, tree
from audit_proxy.ports import Clock, Files

_CHUNK_RECORDS = 16 * tiles.WIDTH


class Publisher:
    """Not thread-safe: one thread publishes."""

    def __init__(self, files: Files, key: note.VerifierKey, signing_key: bytes, clock: Clock) -> None:
        self._files = files
        self._key = key
        self._signing_key = signing_key
        self._clock = clock
        self._edge = tiles.Edge()
        self._bundle: list[bytes] = []  # the entries of the partial bundle at the edge
        self._written: set[str] = set()  # partial tiles and bundles of the last checkpoint
        self._completed: list[str] = []  # directories of partials that a full one made superfluous
        self._published = -1  # records under the last checkpoint
        self.checkpoint = b""  # the last one, signed
        self.checkpoint_at = 0.0  # seconds since the epoch, of the last checkpoint

    @property
    def size(self) -> int:
        """Records taken over; full tiles of these are durable."""
        return self._edge.size

    @property
    def signed_size(self) -> int:
        """Records under the last checkpoint."""
        return max(self._published, 0)

    def resume(self, found: recovery.Recovered) -> None:
        """Takes up what recovery found and publishes what the journal holds beyond. Raises LogUnusable, OSError."""
        self._edge = found.edge
        size = found.edge.size
        self._bundle = recovery.held_entries(self._files, size)
        signed = found.checkpoint
        if signed is not None and size == 0:
            # Tiles are missing or contradict the checkpoint: the journal must give the signed root.
            self.catch_up(signed.size)
            if tiles.edge_root(self._edge) != signed.root:
                raise LogUnusable(
                    f"the journal's first {signed.size} records do not give the root that the log signed: records were "
                    "altered; run 'audit-proxy log verify', and do not start on this directory"
                )
        self.catch_up(found.position.size)
        self.publish()

    def catch_up(self, size: int) -> None:
        """Takes over durable records up to ``size`` from the journal's files."""
        missing = recovery.lines(self._files, self._edge.size, size)
        while chunk := list(islice(missing, _CHUNK_RECORDS)):
            self.extend(chunk, [tree.leaf_hash(line) for line in chunk])

    def extend(self, lines: Sequence[bytes], leaves: Sequence[bytes]) -> None:
        """Takes over durable records with their leaf hashes; writes the bundles and tiles that became full."""
        edge, full = tiles.extend(self._edge, leaves)
        entries = [*self._bundle, *lines]
        first = self._edge.size // tiles.WIDTH
        whole = len(entries) // tiles.WIDTH
        self._put_durably(
            [
                *(
                    (
                        tiles.entries_path(first + i),
                        tiles.encode_bundle(entries[i * tiles.WIDTH : (i + 1) * tiles.WIDTH]),
                    )
                    for i in range(whole)
                ),
                *((tile.path, tile.hashes) for tile in full),
            ]
        )
        self._edge, self._bundle = edge, entries[whole * tiles.WIDTH :]
        self._completed += [f"{tiles.entries_path(first + i)}.p" for i in range(whole)]
        self._completed += [f"{tile.path}.p" for tile in full]

    def publish(self) -> None:
        """Puts the checkpoint of everything taken over, if it grew. Raises OSError."""
        if self._edge.size == self._published:
            return
        partial = [(tile.path, tile.hashes) for tile in tiles.partial_tiles(self._edge)]
        if self._bundle:
            path = tiles.entries_path(self._edge.size // tiles.WIDTH, len(self._bundle))
            partial.append((path, tiles.encode_bundle(self._bundle)))
        self._put_durably([(path, data) for path, data in partial if path not in self._written])
        checkpoint = note.Checkpoint(self._key.name, self._edge.size, tiles.edge_root(self._edge))
        signed = note.sign_checkpoint(checkpoint, self._signing_key)
        self._files.put(recovery.CHECKPOINT, signed)
        self._files.sync_directory("")
        self.checkpoint = signed
        self._published = self._edge.size
        self.checkpoint_at = self._clock.now()
        self._written = {path for path, _ in partial}
        self._remove_superfluous()

    def _put_durably(self, contents: Iterable[tuple[str, bytes]]) -> None:
        directories: dict[str, None] = {}
        for path, data in contents:
            directory = path.rpartition("/")[0]
            if directory not in directories:
                self._files.make_directory(directory)
                directories[directory] = None
            self._files.put(path, data)
        for directory in directories:
            self._files.sync_directory(directory)

    def _remove_superfluous(self) -> None:
        completed, self._completed = self._completed, []
        for directory in completed:
            for path in _contents(self._files, directory):
                self._files.remove(path)


def _contents(files: Files, directory: str) -> Iterator[str]:
    """The directory's files, then the directory itself; nothing when it does not exist."""
    names = files.names(directory)
    yield from (f"{directory}/{name}" for name in names)
    if names:
        yield directory
