"""Checkpoints kept in a file, which should lie on another machine's disk (port ``CheckpointTarget``).

Invariants:

- Notes are appended, nothing else is ever done to the file: not cut, not replaced, not made. Where it is missing, another
  disk is not mounted, or somebody took it away: both are told, neither is papered over by a new file.
- A torn end stays where it is; the next note stands behind a separator and is found by every reader.
- A file that has become shorter than this process knew it is told once, as a failed push; then it goes on from there.
- A file system that hangs holds up a thread of its own and nobody else.
"""

import asyncio
import contextlib
import threading
from collections.abc import Sequence

from audit_proxy.core.errors import PushFailed
from audit_proxy.core.merkle import kept
from audit_proxy.ports import Files

_END_BYTES = 4096  # read back to see whether the last entry is whole


class CheckpointFile:
    """``name``: of the file under ``files``."""

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self._name = name
        self._size = 0  # of the file as this process left it
        self._busy = False

    async def put(self, notes: Sequence[bytes]) -> None:
        """The port's method."""
        if self._busy:
            raise PushFailed("the file system does not answer; the write before still waits for it")
        self._busy = True
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def settle(error: Exception | None) -> None:
            if done.done():  # given up
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def work() -> None:
            error: Exception | None = None
            try:
                self._append(notes)
            except FileNotFoundError:
                error = PushFailed("there is no such file; mount its disk, or make it there once, empty")
            except OSError as exc:
                error = PushFailed(exc.strerror or type(exc).__name__)
            except Exception as exc:  # noqa: BLE001  (whoever waits is told)
                error = exc
            self._busy = False
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(settle, error)

        threading.Thread(target=work, name="checkpoint-file", daemon=True).start()
        await done

    def _append(self, notes: Sequence[bytes]) -> None:
        size = self._files.size(self._name)
        if size < self._size:
            lost, self._size = self._size - size, size
            raise PushFailed(f"somebody has made the file shorter, by {lost} bytes or more: checkpoints in it are gone")
        end = self._files.read(self._name, max(0, size - _END_BYTES), _END_BYTES)
        data = b"".join(notes) if kept.ends_whole(end) else kept.SEPARATOR + b"".join(notes)
        file = self._files.open_append(self._name)
        try:
            file.write(data)
            file.sync()
        finally:
            file.close()
        self._size = size + len(data)
