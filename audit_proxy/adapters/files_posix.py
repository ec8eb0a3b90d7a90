"""Files on a POSIX file system, with the calls that make each promise of ``ports.Files`` true."""

# ruff: noqa: PTH102, PTH103, PTH105, PTH106, PTH108, PTH116, PTH120, PTH123, PTH208
# (each promise of the port is one named system call; pathlib would hide which)
import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

_MODES = (0o640, 0o750)  # of files and directories
_PRIVATE_MODES = (0o600, 0o700)
_BLOCK = 1024 * 1024


class PosixFiles:
    """Implements ``ports.Files`` under ``root``, which is made when the first directory is. ``private``: for keys, no
    other user of the machine can read what is made.
    """

    def __init__(self, root: Path, *, private: bool = False) -> None:
        self._root = str(root)
        self._file_mode, self._directory_mode = _PRIVATE_MODES if private else _MODES
        self._durable: set[str] = set()  # directories whose own names are known to be durable

    def lock(self, path: str) -> Callable[[], None]:
        handle = os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._file_mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise
        return lambda: os.close(handle)

    def make_directory(self, path: str) -> None:
        self._make_durably(path)

    def names(self, path: str) -> list[str]:
        try:
            return os.listdir(self._at(path))
        except FileNotFoundError:
            return []

    def size(self, path: str) -> int:
        return os.stat(self._at(path)).st_size

    def read(self, path: str, offset: int = 0, count: int = -1) -> bytes:
        with open(self._at(path), "rb") as file:
            if offset:
                file.seek(offset)
            return file.read(count)

    def create(self, path: str) -> "PosixAppendFile":
        place = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        return PosixAppendFile(place, os.O_CREAT | os.O_EXCL, self._file_mode)

    def open_append(self, path: str) -> "PosixAppendFile":
        return PosixAppendFile(self._at(path), 0)

    def truncate(self, path: str, size: int) -> None:
        handle = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(handle, size)
            os.fsync(handle)
        finally:
            os.close(handle)

    def put(self, path: str, data: bytes) -> None:
        place = self._at(path)
        temporary = place + ".tmp"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, self._file_mode)
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, place)

    def remove(self, path: str) -> None:
        try:
            os.unlink(self._at(path))
        except IsADirectoryError:
            os.rmdir(self._at(path))
            self._durable.discard(path)

    def shred(self, path: str) -> None:
        handle = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            left = os.fstat(handle).st_size
            while left:
                left -= os.write(handle, bytes(min(left, _BLOCK)))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.unlink(self._at(path))

    def sync_directory(self, path: str) -> None:
        _sync_directory(self._at(path))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _make_durably(self, path: str) -> None:
        """Syncs the parent of a directory that exists too: whoever made it may have died before doing so."""
        if path in self._durable:
            return
        if path:
            self._make_durably(path.rpartition("/")[0])
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._at(path), self._directory_mode)
        else:
            os.makedirs(self._root, self._directory_mode, exist_ok=True)
        _sync_directory(os.path.dirname(self._at(path)) or ".")
        self._durable.add(path)


class PosixAppendFile:
    """Implements ``ports.AppendFile`` on a file descriptor."""

    def __init__(self, place: str, flags: int, mode: int = 0) -> None:
        self._handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, mode)

    def write(self, data: bytes) -> None:
        written = os.write(self._handle, data)
        if written != len(data):
            _write_all(self._handle, data[written:])

    def sync(self) -> None:
        os.fdatasync(self._handle)

    def close(self) -> None:
        os.close(self._handle)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync_directory(place: str) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
