"""A file system for tests that keeps, at a crash, only what it was made to promise.

It implements ``ports.Files`` in memory and writes down every operation. ``crash(at, survive)`` gives the file system as a
power cut after operation ``at`` may leave it: synced bytes and synced names are there; of unsynced bytes of a file some
beginning survives, or a later piece with a hole of zeros before it; of unsynced changes to a directory's names some
beginning survives. ``survive(n)`` chooses how many of ``n`` do.

Faults: ``fail[operation]`` is a list of OSError (or None) to raise at the next calls of that name. After a failed ``sync``
the kernel has forgotten that the bytes were dirty: they can be read, no later sync writes them, a crash loses them.
"""

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Survive = Callable[[int], int]


@dataclass
class Inode:
    live: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, bytes) not synced yet

    def write(self, data: bytes) -> None:
        self.dirty.append((len(self.live), data))
        self.live += data

    def sync(self) -> None:
        for offset, data in self.dirty:
            self.reach(offset, data)
        self.dirty = []

    def reach(self, offset: int, data: bytes) -> None:
        if len(self.durable) < offset:
            self.durable += bytes(offset - len(self.durable))
        self.durable[offset : offset + len(data)] = data

    def overwrite(self, data: bytes) -> None:
        self.dirty.append((0, data))
        self.live[: len(data)] = data

    def truncate(self, size: int) -> None:
        self.sync()
        del self.live[size:]
        del self.durable[size:]


class Disk:
    """Inodes and names, live and durable: what a replay of the operations builds."""

    def __init__(self) -> None:
        self.inodes: dict[int, Inode] = {}
        self.live: dict[str, int | None] = {"": None}  # path -> inode, None: a directory
        self.durable: dict[str, int | None] = {"": None}
        self.changes: dict[str, list[tuple[str, ...]]] = {}  # directory -> unsynced changes of its names

    def apply(self, operation: tuple) -> None:
        match operation:
            case ("mkdir", path):
                self._name(path, None)
            case ("create", path, number):
                self.inodes[number] = Inode()
                self._name(path, number)
            case ("write", number, data):
                self.inodes[number].write(data)
            case ("overwrite", number, data):
                self.inodes[number].overwrite(data)
            case ("sync", number):
                self.inodes[number].sync()
            case ("sync failed", number):
                self.inodes[number].dirty = []
            case ("truncate", number, size):
                self.inodes[number].truncate(size)
            case ("rename", source, target):
                self.live[target] = self.live.pop(source)
                self._change(target, ("rename", source, target))
            case ("remove", path):
                del self.live[path]
                self._change(path, ("remove", path))
            case ("syncdir", directory):
                for change in self.changes.pop(directory, []):
                    self._reach(change)

    def survivors(self, survive: Survive) -> "Disk":
        """This disk after a crash now."""
        for directory in sorted(self.changes):
            changes = self.changes[directory]
            for change in changes[: survive(len(changes))]:
                self._reach(change)
        after = Disk()
        for path in sorted(self.durable):
            parent = path.rpartition("/")[0]
            if path and parent in after.live:
                number = self.durable[path]
                after.live[path] = after.durable[path] = number
                if number is not None:
                    content = self._content(self.inodes[number], survive)
                    after.inodes[number] = Inode(bytearray(content), bytearray(content))
        return after

    def _content(self, inode: Inode, survive: Survive) -> bytes:
        kept = Inode(durable=bytearray(inode.durable))
        total = sum(len(data) for _, data in inode.dirty)
        left = survive(total)
        hole = survive(4) == 1 and left > 4  # pages reach a disk in any order: the first unsynced bytes may be zeros
        for offset, data in inode.dirty:
            piece = data[:left]
            left -= len(piece)
            if hole and piece:
                zeros = min(len(piece), 1 + survive(len(piece)))
                piece = bytes(zeros) + piece[zeros:]
                hole = False
            if piece:
                kept.reach(offset, piece)
        return bytes(kept.durable)

    def _name(self, path: str, number: int | None) -> None:
        self.live[path] = number
        self._change(path, ("name", path, number))

    def _change(self, path: str, change: tuple) -> None:
        self.changes.setdefault(path.rpartition("/")[0], []).append(change)

    def _reach(self, change: tuple) -> None:
        match change:
            case ("name", path, number):
                self.durable[path] = number
            case ("rename", source, target):
                self.durable[target] = self.durable.pop(source, self.live.get(target))
            case ("remove", path):
                self.durable.pop(path, None)


class SimulatedFiles:
    """Implements ``ports.Files``. ``operations`` holds what was done, and marks that a test puts between."""

    def __init__(self, start: Disk | None = None) -> None:
        self._disk = start or Disk()
        self._start = _copy(self._disk)
        self._mutex = threading.RLock()
        self._next = max(self._disk.inodes, default=0) + 1
        self._locked = False
        self.operations: list[tuple] = []
        self.fail: dict[str, list[OSError | None]] = {}

    # What tests do

    def mark(self, kind: str, value: object) -> None:
        self.operations.append(("mark", kind, value))

    def marks(self, kind: str, until: int | None = None) -> list:
        return [o[2] for o in self.operations[:until] if o[0] == "mark" and o[1] == kind]

    def crash(self, at: int, survive: Survive) -> "SimulatedFiles":
        disk = _copy(self._start)
        for operation in self.operations[:at]:
            disk.apply(operation)
        return SimulatedFiles(disk.survivors(survive))

    def alter(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """What an attacker with the disk does."""
        inode = self._inode(path)
        content = change(bytes(inode.live))
        inode.live, inode.durable, inode.dirty = bytearray(content), bytearray(content), []

    # ports.Files

    def lock(self, path: str) -> Callable[[], None]:
        if self._locked:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        self._locked = True

        def release() -> None:
            self._locked = False

        return release

    def make_directory(self, path: str) -> None:
        parts = path.split("/") if path else []
        for n in range(len(parts)):
            place = "/".join(parts[: n + 1])
            if place not in self._disk.live:
                self._do("mkdir", place)
            self._do("syncdir", place.rpartition("/")[0])

    def names(self, path: str) -> list[str]:
        prefix = path + "/" if path else ""
        with self._mutex:
            return [
                p[len(prefix) :] for p in self._disk.live if p and p.startswith(prefix) and "/" not in p[len(prefix) :]
            ]

    def size(self, path: str) -> int:
        return len(self._inode(path).live)

    def read(self, path: str, offset: int = 0, count: int = -1) -> bytes:
        live = self._inode(path).live
        return bytes(live[offset:] if count < 0 else live[offset : offset + count])

    def create(self, path: str) -> "SimulatedAppendFile":
        self._fault("create")
        if path in self._disk.live:
            self._do("remove", path)
        return SimulatedAppendFile(self, self._new(path))

    def open_append(self, path: str) -> "SimulatedAppendFile":
        self._inode(path)
        return SimulatedAppendFile(self, self._disk.live[path])

    def truncate(self, path: str, size: int) -> None:
        self._fault("truncate")
        self._inode(path)
        self._do("truncate", self._disk.live[path], size)

    def put(self, path: str, data: bytes) -> None:
        self._fault("put")
        temporary = path + ".tmp"
        if temporary in self._disk.live:
            self._do("remove", temporary)
        number = self._new(temporary)
        self._do("write", number, data)
        self._do("sync", number)
        self._do("rename", temporary, path)

    def remove(self, path: str) -> None:
        if path not in self._disk.live:
            raise FileNotFoundError(path)
        self._do("remove", path)

    def shred(self, path: str) -> None:
        self._fault("shred")
        inode = self._inode(path)
        number = self._disk.live[path]
        self._do("overwrite", number, bytes(len(inode.live)))
        self._do("sync", number)
        self._do("remove", path)

    def sync_directory(self, path: str) -> None:
        self._fault("sync_directory")
        self._do("syncdir", path)

    def _new(self, path: str) -> int:
        if path.rpartition("/")[0] not in self._disk.live:
            raise FileNotFoundError(path)
        with self._mutex:
            number, self._next = self._next, self._next + 1
            self._do("create", path, number)
        return number

    def _inode(self, path: str) -> Inode:
        number = self._disk.live.get(path)
        if number is None:
            raise FileNotFoundError(path)
        return self._disk.inodes[number]

    def _do(self, *operation: object) -> None:
        with self._mutex:
            self.operations.append(operation)
            self._disk.apply(operation)

    def _fault(self, name: str) -> None:
        faults = self.fail.get(name)
        if faults and (fault := faults.pop(0)) is not None:
            raise fault


class SimulatedAppendFile:
    def __init__(self, files: SimulatedFiles, number: int) -> None:
        self._files = files
        self._number = number

    def write(self, data: bytes) -> None:
        try:
            self._files._fault("write")
        except OSError:
            self._files._do("write", self._number, data[: len(data) // 2])  # a short write, then the fault
            raise
        self._files._do("write", self._number, data)

    def sync(self) -> None:
        try:
            self._files._fault("sync")
        except OSError:
            self._files._do("sync failed", self._number)
            raise
        self._files._do("sync", self._number)

    def close(self) -> None:
        pass


def _copy(disk: Disk) -> Disk:
    copy = Disk()
    copy.inodes = {n: Inode(bytearray(i.live), bytearray(i.durable), list(i.dirty)) for n, i in disk.inodes.items()}
    copy.live, copy.durable = dict(disk.live), dict(disk.durable)
    copy.changes = {k: list(v) for k, v in disk.changes.items()}
    return copy
