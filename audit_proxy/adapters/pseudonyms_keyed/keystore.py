"""The files of the pseudonym keys: ``<epoch>.top.<generation>``, ``<epoch>.<step>.<generation>``, one part each.

Invariants:

- A part is replaced by its next generation: that is durable under its name before the former one is overwritten and
  removed, and of several generations the highest counts. So no crash loses keys, and none brings back what was erased.
- What a crash left to overwrite is overwritten at the next start and before the next change.
- Only one process changes files at a time; others that share them see the new generations by name.
- Keys are made here once, for the first epoch and by ``rotate``; what is missing is never made anew.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from audit_proxy.core.errors import KeysUnavailable, KeysUnusable
from audit_proxy.core.pseudonyms import tree
from audit_proxy.core.pseudonyms.epoch import (
    EPOCH_ID_BYTES,
    TOP_BYTES,
    Epoch,
    PartInvalid,
    decode_shard,
    decode_top,
    encode_part,
    new_top,
    open_epoch,
)
from audit_proxy.ports import Files

LOCK_WAIT_S = 5.0  # how long another process may take for its change
_POLL_S = 0.02
_READINGS = 10  # of files that another process replaces meanwhile
_TOP = "top"
_NAME = re.compile(r"([0-9]{6})\.(top|[0-9a-f]{2})\.([0-9]{8})\Z")

_Part = tuple[int, str]  # epoch's number; "top" or the shard's step in hex


class KeyStore:
    """Every method but the constructor does I/O, and is called by one thread at a time. ``master``: the pseudonym key."""

    def __init__(self, files: Files, master: bytes) -> None:
        self._files = files
        self._master = master
        self._loaded: dict[_Part, int] = {}  # the generation of each part that is in memory
        self._epochs: Mapping[int, Epoch] = {}
        self.identity = b""  # the first epoch's id, which stays when its keys have expired
        self.readings = 0  # times that something was read which other processes had changed

    @property
    def epochs(self) -> Mapping[int, Epoch]:
        """The live epochs by number. The mapping is never changed, an epoch's keys are."""
        return self._epochs

    @property
    def current(self) -> Epoch:
        """The epoch in force."""
        return self._epochs[max(self._epochs)]

    def open(self, now: float, *, create: bool) -> None:
        """Reads the keys, overwriting first what a crash left. ``create``: makes the first epoch where there is none.
        Raises KeysUnusable, KeysUnavailable.
        """
        with self._changing():
            if self._epochs:
                return
            if self._loaded or not create:
                raise KeysUnusable("there are no pseudonym keys")
            self._begin(1, now)

    def load(self) -> None:
        """Reads what other processes changed. Raises KeysUnusable, OSError."""
        for _ in range(_READINGS):
            found = self._newest(self._files.names(""))
            if found == self._loaded:
                return
            try:
                self._read(found)
            except (FileNotFoundError, PartInvalid) as exc:
                if self._newest(self._files.names("")) != found:
                    continue  # replaced while it was read
                raise KeysUnusable(f"the pseudonym keys cannot be read: {exc}") from exc
            return
        raise KeysUnusable("the pseudonym keys cannot be read: other processes keep changing them")

    def erase(self, subject: str) -> int:
        """See ``ports.SubjectKeys``."""
        with self._changing():
            return sum([self._erase(epoch, subject) for epoch in self._epochs.values()])

    def rotate(self, now: float) -> int:
        """See ``ports.KeyEpochs``."""
        with self._changing():
            number = max(self._epochs) + 1
            self._begin(number, now)
            return number

    def expire(self, number: int) -> None:
        """See ``ports.KeyEpochs``."""
        with self._changing():
            if number == max(self._epochs):
                raise ValueError("the epoch in force cannot expire")
            if number in self._epochs:
                self._replace((number, _TOP), encode_part(msgspec.structs.replace(self._epochs[number].top, block=b"")))
                self._epochs = {n: epoch for n, epoch in self._epochs.items() if n != number}
                self._sweep()

    # Changing

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            self._files.make_directory("")
            release = self._lock()
            try:
                self.load()
                self._sweep()
                yield
            finally:
                release()
        except OSError as exc:
            raise KeysUnavailable(
                f"the pseudonym keys cannot be changed: {exc.strerror or type(exc).__name__}"
            ) from exc

    def _lock(self) -> Callable[[], None]:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return self._files.lock("lock")
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
            time.sleep(_POLL_S)

    def _begin(self, number: int, now: float) -> None:
        top = new_top(number, os.urandom(EPOCH_ID_BYTES), now, self._master, os.urandom(TOP_BYTES))
        self._replace((number, _TOP), encode_part(top))
        self._epochs = {**self._epochs, number: open_epoch(top, self._master)}
        self.identity = self.identity or top.id

    def _erase(self, epoch: Epoch, subject: str) -> bool:
        path = epoch.path_of(subject)
        changed = tree.puncture(epoch.blocks, path)
        if not changed:
            return False
        self._replace((epoch.number, f"{path[0]:02x}"), encode_part(epoch.shard(path[0], changed)))
        if b"" in changed:
            self._replace_top(epoch, changed[b""])
        epoch.apply(changed)
        return True

    def _replace_top(self, epoch: Epoch, block: bytes) -> None:
        top = msgspec.structs.replace(epoch.top, block=block)
        self._replace((epoch.number, _TOP), encode_part(top))
        epoch.top = top

    def _replace(self, part: _Part, data: bytes) -> None:
        generation = self._loaded.get(part, 0) + 1
        self._files.put(_name(part, generation), data)
        self._files.sync_directory("")
        if generation > 1:
            self._files.shred(_name(part, generation - 1))
            self._files.sync_directory("")
        self._loaded[part] = generation  # last: when something failed, the next look at the files finds what is new

    def _sweep(self) -> None:
        """Ends what a crash broke off: former generations, what was being written, keys that a shard stands in for."""
        names = self._files.names("")
        newest = self._newest(names)
        kept = {
            _name(part, generation) for part, generation in newest.items() if part[1] == _TOP or part[0] in self._epochs
        }
        left = [name for name in names if name not in kept and _NAME.match(name.removesuffix(".tmp"))]
        for name in left:
            self._files.shred(name)
        if left:
            self._files.sync_directory("")
        self._loaded = {part: generation for part, generation in newest.items() if _name(part, generation) in kept}
        for epoch in self._epochs.values():
            if epoch.blocks[b""] != epoch.top.block:
                self._replace_top(epoch, epoch.blocks[b""])

    # Reading

    @staticmethod
    def _newest(names: list[str]) -> dict[_Part, int]:
        found: dict[_Part, int] = {}
        for match in filter(None, map(_NAME.match, names)):
            part = (int(match[1]), match[2])
            found[part] = max(found.get(part, 0), int(match[3]))
        return found

    def _read(self, found: Mapping[_Part, int]) -> None:
        """Takes over the parts that are newer than what is in memory."""
        news = {part for part, generation in found.items() if generation != self._loaded.get(part)}
        epochs = dict(self._epochs)
        tops = {number: decode_top(self._bytes(found, (number, which))) for number, which in news if which == _TOP}
        for number, top in tops.items():
            if number == 1:
                self.identity = top.id
            if not top.block:
                epochs.pop(number, None)
            elif number in epochs:
                epochs[number].top = top
            else:
                epochs[number] = open_epoch(top, self._master)
        for number, which in news:
            if which != _TOP and number in epochs:  # what is left of an expired epoch may be overwritten already
                epochs[number].put(decode_shard(self._bytes(found, (number, which))))
        self._check_whole(found, epochs)
        self._epochs = epochs
        self._loaded = dict(found)
        self.readings += 1

    def _bytes(self, found: Mapping[_Part, int], part: _Part) -> bytes:
        return self._files.read(_name(part, found[part]))

    @staticmethod
    def _check_whole(found: Mapping[_Part, int], epochs: Mapping[int, Epoch]) -> None:
        """A part that somebody removed must not look like people who were erased, nor like an epoch that never was."""
        for number in range(1, max((number for number, _ in found), default=0) + 1):
            if (number, _TOP) not in found:
                raise PartInvalid(f"epoch {number} is missing")
        for epoch in epochs.values():
            for step in tree.removed(epoch.top.block):
                if (epoch.number, f"{step:02x}") not in found:
                    raise PartInvalid(f"shard {step:02x} of epoch {epoch.number} is missing")


def _name(part: _Part, generation: int) -> str:
    return f"{part[0]:06d}.{part[1]}.{generation:08d}"
