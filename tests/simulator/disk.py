"""A disk that fails when told to, under the real files: for the running proxy, where the simulated file system is too far away.

``with_faults`` lets the wiring build the log on it: a ``ports.Files`` that passes everything on to ``PosixFiles``, or fails.
"""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from audit_proxy.adapters.files_posix import PosixAppendFile, PosixFiles

CHANGES = ("create", "open_append", "truncate", "put", "make_directory", "sync_directory", "write", "sync")


@dataclass
class FailingDisk:
    """``break_("EIO")``: every change fails with it; with operations, only those do. ``hang``: they wait. ``heal`` ends both."""

    error: str | None = None
    operations: tuple[str, ...] = CHANGES
    running: threading.Event = field(default_factory=threading.Event)
    failed: int = 0
    used_after_a_failed_sync: list[str] = field(default_factory=list)  # what the log did to a segment given up

    def __post_init__(self) -> None:
        self.running.set()

    def break_(self, error: str, *operations: str) -> None:
        self.error, self.operations = error, operations or CHANGES

    def hang(self) -> None:
        self.running.clear()

    def heal(self) -> None:
        self.error = None
        self.running.set()

    def before(self, operation: str) -> None:
        self.running.wait()
        if self.error is not None and operation in self.operations:
            self.failed += 1
            raise OSError(getattr(errno, self.error), os.strerror(getattr(errno, self.error)))


class FailingFiles(PosixFiles):
    def __init__(self, root: Path, disk: FailingDisk) -> None:
        super().__init__(root)
        self._disk = disk

    def create(self, path: str) -> Any:
        self._disk.before("create")
        return FailingAppendFile(super().create(path), self._disk)

    def open_append(self, path: str) -> Any:
        self._disk.before("open_append")
        return FailingAppendFile(super().open_append(path), self._disk)

    def truncate(self, path: str, size: int) -> None:
        self._disk.before("truncate")
        super().truncate(path, size)

    def put(self, path: str, data: bytes) -> None:
        self._disk.before("put")
        super().put(path, data)

    def make_directory(self, path: str) -> None:
        self._disk.before("make_directory")
        super().make_directory(path)

    def sync_directory(self, path: str) -> None:
        self._disk.before("sync_directory")
        super().sync_directory(path)


class FailingAppendFile:
    def __init__(self, file: PosixAppendFile, disk: FailingDisk) -> None:
        self._file = file
        self._disk = disk
        self._given_up = False

    def write(self, data: bytes) -> None:
        self._note("write")
        self._disk.before("write")
        self._file.write(data)

    def sync(self) -> None:
        self._note("sync")
        try:
            self._disk.before("sync")
        except OSError:
            self._given_up = True
            raise
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _note(self, operation: str) -> None:
        if self._given_up:
            self._disk.used_after_a_failed_sync.append(operation)


def with_faults(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """The next proxy's log stands on this disk."""
    disk = FailingDisk()
    files: Callable[[Path], FailingFiles] = lambda root: FailingFiles(root, disk)  # noqa: E731
    monkeypatch.setattr("audit_proxy.wiring.log.PosixFiles", files)
    return disk
