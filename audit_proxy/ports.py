"""What the pipeline needs from outside, as Protocols. One contract suite a port runs against every adapter.

Adapters translate their vendor's exceptions into ``core.errors`` at one visible place.
"""

from asyncio import Future
from collections.abc import AsyncIterable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from audit_proxy.core.consent import Standing
from audit_proxy.core.detection.account import Kept, Status
from audit_proxy.core.detection.findings import Finding, Verdict
from audit_proxy.core.detection.uses import Use
from audit_proxy.core.errors import Refusal
from audit_proxy.core.exchange import Answer, Call
from audit_proxy.core.identity import Identity
from audit_proxy.core.inspection import RawId
from audit_proxy.core.jose import KeySet
from audit_proxy.core.policy import App
from audit_proxy.core.statements import Form, GrantStatement, WithdrawalStatement


class TokenResolver(Protocol):
    """Verifies an app's credential. Facts may be cached by token hash, never past the token's expiry."""

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        """The token's identity, or why it is refused. ``now`` in seconds since the epoch. Raises nothing of its own."""
        ...


class IssuerKeys(Protocol):
    """The keys that verify one issuer's tokens."""

    @property
    def current(self) -> KeySet | None:
        """The set in force, or None while there is none (``keys_unavailable``). The same object until keys change."""
        ...

    async def renewed(self, seen: KeySet) -> KeySet | None:
        """The set in force after the source was asked for keys that ``seen`` lacks, as often as it may be asked; None where
        that failed or took too long (``keys_unavailable``). Raises nothing of its own.
        """
        ...


class HttpClient(Protocol):
    """Calls the operator's own services: issuers' keys, introspection, subject ids."""

    async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
        """The answer, of at most ``limit`` bytes, within ``timeout_s`` seconds; else raises CallFailed. A redirect is an
        answer like others.
        """
        ...


class AppRegistry(Protocol):
    """Registered apps."""

    def find(self, client_id: str) -> App | None:
        """The app with that OAuth client id, or None."""
        ...


class SubjectIds(Protocol):
    """Whom a platform's ids mean: many platforms give each app ids of its own for the same people."""

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        """The subject (``namespace:canonical id``) of each id as that app sees it, in one batched look-up; an id that is not
        mapped is left out. A number and its text are the same id. Raises SubjectIdsUnavailable.
        """
        ...


class ConsentStore(Protocol):
    """Grants of subjects for apps."""

    @property
    def loaded(self) -> bool:
        """Whether a first load has completed; before, no third party is disclosed (``consent_not_loaded``)."""
        ...

    async def standings(self, app: str, subjects: Sequence[str]) -> Mapping[str, Standing]:
        """Every asked subject's standing towards the app, in one batched look-up; a subject the store does not know
        maps to ``NOTHING_KNOWN``. Equal standings should be the same object. Raises ConsentUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class HeldGrant:
    """A grant as the store holds it. ``in_effect``: no withdrawal came after it (it may have expired)."""

    grant: GrantStatement
    recorded_at: float  # seconds since the epoch
    in_effect: bool


@dataclass(frozen=True, slots=True)
class Held:
    """All that a consent store holds of one subject towards one app. The withdrawals include those from all apps."""

    grants: tuple[HeldGrant, ...]
    withdrawals: tuple[WithdrawalStatement, ...]
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """How far an import has come. Each line but blank ones (and a CSV header) is in exactly one of the counts from ``taken``
    to ``refused``.

    ``superseded``: grants that a withdrawal or a newer grant stands against. ``problems``: the first refused lines as
    (line number, reason). ``done``: the file was read to its end; ``loaded``: the store's flag afterwards.
    """

    lines: int = 0
    taken: int = 0
    unchanged: int = 0
    superseded: int = 0
    refused: int = 0
    withdrawals_refused: int = 0  # of the refused lines, those that may have been meant as withdrawals
    problems: tuple[tuple[int, str], ...] = ()
    done: bool = False
    loaded: bool = False


class ConsentAdmin(Protocol):
    """Single changes to grants, and a look at them. All raise ConsentUnavailable; changes are durable on return."""

    async def put(self, grant: GrantStatement) -> Literal["taken", "superseded"]:
        """Stores the grant in place of the pair's one for that purpose. Without ``granted_at`` it is given now and lifts a
        withdrawal; with one, it is superseded by whatever came after.
        """
        ...

    async def withdraw(self, withdrawal: WithdrawalStatement) -> float:
        """Withdraws the subject from the app, or from all; the time it counts from, in seconds since the epoch."""
        ...

    async def held(self, app: str, subject: str) -> Held:
        """What is stored about the pair, with its evidence."""
        ...


class ConsentLoad(Protocol):
    """Loading many statements at once."""

    async def load(self, blocks: AsyncIterable[bytes], form: Form, progress: Callable[[Loaded], None]) -> Loaded:
        """Reads a file block by block; ``progress`` is called after each transaction. When the file breaks off, the lines
        that came whole stay taken. What was taken is durable on return or raise.

        Marks the store loaded at the file's end, unless every line was refused or one that may have been a withdrawal.
        Raises ConsentUnavailable, FileInvalid, and what ``blocks`` raises.
        """
        ...

    async def mark_loaded(self) -> None:
        """An operator's word that the store is loaded. Raises ConsentUnavailable."""
        ...


class Budgets(Protocol):
    """Who reached whom, against the data budgets: ``core.detection.ledger.Ledger`` within one process. Apps by client id, people
    and holders by key; ``now`` in seconds since the epoch.
    """

    def reserve(self, now: float, use: Use, *, acts: bool = True) -> Verdict:
        """Judges a page that is about to leave and counts it, in one step. ``acts`` False: it leaves whatever is found."""
        ...

    def opened(self, finding: Finding, record: str) -> None:
        """The finding was recorded under this id, and is open until somebody closes it."""
        ...

    def stored(self, app: str) -> Kept:
        """What is to be stored of an app besides its counts."""
        ...

    def status(self, app: str) -> Status: ...

    def blocks(self, app: str, holder: int, now: float) -> bool:
        """Whether one holder's tokens are blocked in the app."""
        ...

    def blocks_any(self, app: str, now: float) -> bool:
        """Whether any holder's are."""
        ...


class BudgetStore(Protocol):
    """Where the apps' status is kept over a restart."""

    def put(self, kept: Kept) -> None:
        """Stores it, durably on return. Raises DetectionUnavailable."""
        ...


class AuditLog(Protocol):
    """The tamper-evident log of one writer."""

    def append(self, *lines: bytes) -> "Future[int]":
        """Takes one record: its line or its parts, each a JSON object without line break of at most 65,535 bytes. The future
        gives the first line's index in the log once all are durable, one behind the other, or raises AuditUnavailable.
        Records become durable in the order of their append.
        """
        ...


class CheckpointTarget(Protocol):
    """Something off this machine that keeps the log's checkpoints."""

    async def put(self, notes: Sequence[bytes]) -> None:
        """Keeps signed notes, oldest first, behind all it keeps already; they are durable there on return. One that fails
        may be kept all the same, and the call can be given up. Raises PushFailed.
        """
        ...


class Pseudonymizer(Protocol):
    """Keyed pseudonyms of subjects for records."""

    def pseudonyms(self, subjects: Sequence[str]) -> list[str]:
        """22 characters of base64url (128 bits) for each subject, in order; the word ``erased`` for one who was erased."""
        ...


class Erasures(Protocol):
    """Who was erased."""

    def erased(self, subjects: Sequence[str]) -> Collection[str]:
        """Those of the subjects whose pseudonym can no longer be computed."""
        ...


class SubjectKeys(Protocol):
    """What single people's pseudonyms come from. Both raise KeysUnavailable."""

    async def erase(self, subject: str) -> int:
        """Removes what the subject's pseudonyms come from, in every live epoch, durably: nobody can compute them again. In
        how many epochs that had not been done before. When it raises, some may be done: ask again.
        """
        ...

    async def names(self, subject: str) -> Mapping[int, str]:
        """The subject's pseudonym in every live epoch, by its number; none where the subject was erased."""
        ...


class KeyEpochs(Protocol):
    """The times in which people have one pseudonym. All raise KeysUnavailable; changes are durable on return."""

    async def live(self) -> Mapping[int, float]:
        """When each live epoch began, in seconds since the epoch, by its number. The highest is in force."""
        ...

    async def rotate(self) -> int:
        """Begins a new epoch, everybody has another pseudonym from now on; its number."""
        ...

    async def expire(self, number: int) -> None:
        """Destroys an epoch's keys: nobody can tell any more whom its records are about. Not the one in force."""
        ...


class CursorVault(Protocol):
    """Seals platforms' cursors, authenticated, so that whoever holds one learns nothing of it and can make none."""

    def seal(self, frame: bytes, binding: bytes) -> bytes:
        """The frame sealed to that binding, never the same twice; at most 64 bytes longer."""
        ...

    def open(self, sealed: bytes, binding: bytes) -> bytes | None:
        """The frame, or None where ``sealed`` was not made by a vault of the same keys for that binding."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...


class Metrics(Protocol):
    """Counts. Labels come from fixed or configured sets only: never a subject, a path, a token or an address."""

    def request(self, app: str, operation: str, outcome: str, seconds: float, upstream: float) -> None: ...
    def denial(self, app: str, reason: str) -> None: ...
    def disclosed(self, app: str, relation: str, categories: tuple[str, ...], subjects: int) -> None: ...
    def withheld(self, app: str, categories: tuple[str, ...], subjects: int) -> None: ...
    def unclassified(self, operation: str, values: int) -> None: ...
    def unmapped(self, app: str, ids: int) -> None: ...
    def record(self, kind: str) -> None: ...
    def fail_open(self, where: str) -> None: ...
    def finding(self, app: str, detector: str, severity: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention did: the record that tells it, and the index of the first record that is kept, now and before."""

    record_id: str
    minimum: int
    former: int


class LogRetention(Protocol):
    """What becomes of a log over the years. All raise OSError and LogUnusable when files cannot be changed or read."""

    async def pack(self) -> int:
        """Packs the segments that are sealed; how many were."""
        ...

    async def prunable(self, before: float) -> tuple[int, int]:
        """The minimum index that ``prune`` would put in force, and the one that is."""
        ...

    async def prune(self, before: float, actor: str | None) -> Pruned | None:
        """Removes segments whose records are all older than ``before`` (seconds since the epoch), once a durable record that
        names ``actor`` says so and a checkpoint covers it; None when there are none. Raises AuditUnavailable.
        """
        ...

    async def span(self) -> tuple[float, float] | None:
        """When the oldest record that is kept was made, and the first of the segment being written, in seconds since the
        epoch; None without any.
        """
        ...


class AppendFile(Protocol):
    """A file open for appending. Every method raises OSError; after one did, what the file holds is unknown."""

    def write(self, data: bytes) -> None:
        """Appends all of ``data``; durable only after ``sync``."""
        ...

    def sync(self) -> None:
        """Makes everything written durable (``fdatasync``)."""
        ...

    def close(self) -> None: ...


class Files(Protocol):
    """One directory of files, as the audit log needs it: what is durable when is part of each method's promise, so that
    the same log runs on a file system that forgets at a crash. Paths are relative, with ``/``. Raises OSError.
    """

    def lock(self, path: str) -> "Callable[[], None]":
        """Takes the directory for this process and gives what releases it. Raises BlockingIOError when it is taken."""
        ...

    def make_directory(self, path: str) -> None:
        """The directory exists, durably, with all its parents."""
        ...

    def names(self, path: str) -> list[str]:
        """Names in a directory, in no order; none when it does not exist."""
        ...

    def size(self, path: str) -> int:
        """A file's size in bytes. Raises FileNotFoundError."""
        ...

    def read(self, path: str, offset: int = 0, count: int = -1) -> bytes:
        """``count`` bytes from ``offset`` (-1: to the end), fewer at the end. Raises FileNotFoundError."""
        ...

    def create(self, path: str) -> AppendFile:
        """A new empty file, in place of any that has the name; its name is durable after ``sync_directory``."""
        ...

    def open_append(self, path: str) -> AppendFile:
        """An existing file, for appending."""
        ...

    def truncate(self, path: str, size: int) -> None:
        """Cuts a file, durably; what stays is durable too."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """A whole file, all or nothing: its content is durable before the name shows it, the name after
        ``sync_directory``.
        """
        ...

    def remove(self, path: str) -> None:
        """Removes a file or an empty directory, not durably."""
        ...

    def shred(self, path: str) -> None:
        """Overwrites a file's bytes in place, durably, then removes it, not durably. Whatever lies below may still keep
        a copy: a file system that never writes in place, snapshots, the spare blocks of an SSD.
        """
        ...

    def sync_directory(self, path: str) -> None:
        """Makes the names in a directory durable."""
        ...
