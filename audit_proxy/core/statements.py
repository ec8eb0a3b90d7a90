"""Statements about consent as operators hand them in: one grant or one withdrawal, from an API body or a file's line.

Invariants:

- Parse or refuse: unknown keys, keys given twice, control characters, a scope that RFC 6749 does not allow, a purpose that
  is no dotted key, a date without an offset: the statement is refused, never repaired.
- A refused line never takes the lines after it along, and none disappears: each line of a file is a statement or a
  ``Refused``. What stands inside an unclosed CSV quote is refused too, because text someone else wrote (``evidence``)
  could otherwise pass itself off as a line of its own.
- Reasons name keys and rules, never values.
"""

import csv
import datetime as dt
import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from audit_proxy.core.identity import SUBJECT_ID_MAX, parse_scopes

ALL_APPS = "*"  # a withdrawal from every app
APP_MAX = 256  # characters
SCOPES_MAX = 4096  # characters of a grant's scopes, joined by spaces
SOURCE_MAX = 256
EVIDENCE_MAX = 2048
LINE_MAX = 64 * 1024  # bytes of one line of a file

Form = Literal["ndjson", "csv"]

_APP = re.compile(r"[\x20-\x7E]{1,256}\Z")  # RFC 6749 appendix A.1, VSCHAR
_PURPOSE = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*\Z")
_CONTROLS = r"\x00-\x1F\x7F-\x9F\u2028\u2029\uD800-\uDFFF"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_SUBJECT = re.compile(rf"[a-z][a-z0-9_.-]{{0,62}}:[^{_CONTROLS}]{{1,{SUBJECT_ID_MAX}}}\Z")
_KEY = re.compile(rb'"([^"]*)"\s*:')
_MAYBE_WITHDRAWN = re.compile(rb'"withdrawn"\s*:\s*(?!\s|false)')


@dataclass(frozen=True, slots=True)
class GrantStatement:
    """One consent of a subject for an app. Times in seconds since the epoch.

    ``scopes``: sorted scope tokens joined by spaces. ``granted_at`` None: the statement does not say when; such a
    statement in a file never lifts a withdrawal.
    """

    app: str
    subject: str
    scopes: str
    purpose: str
    expires_at: float | None = None
    granted_at: float | None = None
    source: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class WithdrawalStatement:
    """A subject's withdrawal from one app, or from all of them (``ALL_APPS``). ``withdrawn_at`` None: now."""

    app: str
    subject: str
    withdrawn_at: float | None = None
    source: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is no statement, and why. ``maybe_withdrawal``: it may have been meant as a withdrawal."""

    reason: str
    maybe_withdrawal: bool


Statement = GrantStatement | WithdrawalStatement
Line = tuple[int, Statement | Refused]  # the line's number, from 1


class StatementInvalid(ValueError):  # noqa: N818  (says what is wrong, like Unavailable)
    """Not a statement; the text says which rule it breaks."""


class FileInvalid(ValueError):  # noqa: N818  (as above)
    """The file cannot be read line by line at all (a CSV header that is none)."""


_Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]  # RFC 3339, with its offset


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    app: str
    subject: str
    scopes: list[str] | str | None = None
    purpose: str | None = None
    expires_at: _Time | None = None
    granted_at: _Time | None = None
    source: str = ""
    evidence: str = ""
    withdrawn: bool = False
    withdrawn_at: _Time | None = None


KEYS = _Keys.__struct_fields__
_decode = msgspec.json.Decoder(_Keys).decode


@functools.lru_cache(maxsize=4096)
def check_app(app: str, *, all_apps: bool = False) -> str:
    """The app's id, or StatementInvalid. ``.`` and ``..`` cannot be named in a URL, so no app is called so."""
    if app == ALL_APPS:
        if not all_apps:
            raise StatementInvalid("app: '*' is for withdrawals only")
    elif _APP.match(app) is None or app in (".", ".."):
        raise StatementInvalid("app: 1 to 256 printable ASCII characters")
    return app


def check_subject(subject: str) -> str:
    """``namespace:id``, or StatementInvalid."""
    if _SUBJECT.match(subject) is None:
        raise StatementInvalid(
            f"subject: namespace:id, the id of 1 to {SUBJECT_ID_MAX} characters, none of them a control character"
        )
    return subject


@functools.lru_cache(maxsize=4096)
def _scopes(text: str) -> str:
    tokens = parse_scopes(text)
    if tokens is None:
        raise StatementInvalid("scopes: scope tokens of RFC 6749 section 3.3, separated by single spaces")
    if not tokens:
        raise StatementInvalid("scopes: at least one scope")
    return " ".join(sorted(tokens))


def _canonical_scopes(scopes: list[str] | str | None) -> str:
    if scopes is None:
        raise StatementInvalid("scopes: missing")
    if not isinstance(scopes, str):
        if any(" " in scope or not scope for scope in scopes):
            raise StatementInvalid("scopes: one scope token an item")
        scopes = " ".join(scopes)
    if len(scopes) > SCOPES_MAX:
        raise StatementInvalid(f"scopes: at most {SCOPES_MAX} characters")
    return _scopes(scopes)


@functools.lru_cache(maxsize=4096)
def _purpose(purpose: str | None) -> str:
    if purpose is None:
        raise StatementInvalid("purpose: missing")
    if len(purpose) > 256 or _PURPOSE.match(purpose) is None:
        raise StatementInvalid("purpose: a dotted fideslang data use such as marketing.advertising")
    return purpose


def _text(name: str, text: str, limit: int) -> str:
    if text and (len(text) > limit or _CONTROL.search(text) is not None):
        raise StatementInvalid(f"{name}: at most {limit} characters, none of them a control character")
    return text


def _seconds(name: str, value: dt.datetime | None) -> float | None:
    if value is None:
        return None
    seconds = value.timestamp()
    if not 0 < seconds <= 253_402_300_799:  # the end of year 9999 in UTC: later has no RFC 3339 form
        raise StatementInvalid(f"{name}: between 1970 and 9999")
    return seconds


def _statement(keys: _Keys) -> Statement:
    subject = check_subject(keys.subject)
    source = _text("source", keys.source, SOURCE_MAX)
    evidence = _text("evidence", keys.evidence, EVIDENCE_MAX)
    if keys.withdrawn:
        # A scope or purpose beside a withdrawal would read as "withdraw only this", which there is not.
        for name in ("scopes", "purpose", "expires_at", "granted_at"):
            if getattr(keys, name) is not None:
                raise StatementInvalid(f"{name}: does not go with withdrawn")
        app = check_app(keys.app, all_apps=True)
        return WithdrawalStatement(app, subject, _seconds("withdrawn_at", keys.withdrawn_at), source, evidence)
    if keys.withdrawn_at is not None:
        raise StatementInvalid("withdrawn_at: goes with withdrawn only")
    return GrantStatement(
        check_app(keys.app),
        subject,
        _canonical_scopes(keys.scopes),
        _purpose(keys.purpose),
        _seconds("expires_at", keys.expires_at),
        _seconds("granted_at", keys.granted_at),
        source,
        evidence,
    )


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise StatementInvalid("a key stands twice")
    return keys


_load = json.JSONDecoder(object_pairs_hook=_no_twice).decode


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = _load(line.decode())
    except StatementInvalid:
        raise
    except (ValueError, RecursionError) as error:  # malformed, not UTF-8, or nested beyond reason
        raise StatementInvalid("not one JSON object in UTF-8") from error
    if not isinstance(value, dict):
        raise StatementInvalid("not one JSON object in UTF-8")
    return value


def _wrong_key(error: msgspec.ValidationError) -> StatementInvalid:
    text = str(error)
    return StatementInvalid("a key that is not known" if text.startswith("Object contains unknown") else text)


def _from_keys(keys: dict[str, Any]) -> Statement:
    try:
        return _statement(msgspec.convert(keys, _Keys))
    except msgspec.ValidationError as error:
        raise _wrong_key(error) from error


def statement(line: bytes) -> Statement:
    """One JSON object as a statement. Raises StatementInvalid."""
    # Without escapes, _KEY finds every key of a statement: only a line with escapes, or one where something looks like a
    # key given twice, needs the slower parse that tells for certain.
    names = _KEY.findall(line)
    if b"\\" in line or len(set(names)) != len(names):
        return _from_keys(_object(line))
    try:
        return _statement(_decode(line))
    except msgspec.ValidationError as error:
        raise _wrong_key(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StatementInvalid("not one JSON object in UTF-8") from error


def _about(body: bytes, app: str, subject: str, allowed: frozenset[str], **fixed: bool) -> Statement:
    keys = _object(body)
    if not keys.keys() <= allowed:
        raise StatementInvalid("keys here: " + ", ".join(sorted(allowed)))
    return _from_keys({**keys, **fixed, "app": app, "subject": subject})


_PUT_KEYS = frozenset({"scopes", "purpose", "expires_at", "granted_at", "source", "evidence"})
_WITHDRAW_KEYS = frozenset({"source", "evidence"})


def grant(body: bytes, app: str, subject: str) -> GrantStatement:
    """A put's body: a grant without ``app`` and ``subject``, which the path names. Raises StatementInvalid."""
    made = _about(body, app, subject, _PUT_KEYS)
    assert isinstance(made, GrantStatement)
    return made


def withdrawal(body: bytes, app: str, subject: str) -> WithdrawalStatement:
    """A withdrawal's body: empty, or an object of ``source`` and ``evidence``. Raises StatementInvalid."""
    made = _about(body or b"{}", app, subject, _WITHDRAW_KEYS, withdrawn=True)
    assert isinstance(made, WithdrawalStatement)
    return made


class StatementReader:
    """Cuts a file handed in as blocks into lines and reads each. One reader a file."""

    def __init__(self, form: Form) -> None:
        self._read: Callable[[bytes], Statement | Refused | None] = (
            _ndjson_line if form == "ndjson" else _CsvLines().read
        )
        self._rest = b""
        self._too_long = False
        self.lines = 0  # read so far, blank ones too

    def feed(self, block: bytes) -> Iterator[Line]:
        """The lines that this block completes. Raises FileInvalid."""
        *whole, rest = (self._rest + block).split(b"\n")
        for line in whole:
            yield from self._line(line)
        if len(rest) > LINE_MAX:
            self._too_long, rest = True, rest[:1]  # remembered, not kept
        self._rest = rest

    def finish(self) -> Iterator[Line]:
        """The last line, where no line break ends it."""
        if self._rest:
            yield from self._line(self._rest)
        self._rest = b""

    def _line(self, line: bytes) -> Iterator[Line]:
        self.lines += 1
        if self.lines == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that spreadsheets write
        if self._too_long or len(line) > LINE_MAX:
            self._too_long = False
            yield self.lines, Refused(f"longer than {LINE_MAX} bytes", maybe_withdrawal=True)
            return
        read = self._read(line.removesuffix(b"\r"))
        if read is not None:
            yield self.lines, read


def _ndjson_line(line: bytes) -> Statement | Refused | None:
    if not line.strip():
        return None
    try:
        return statement(line)
    except StatementInvalid as error:
        return Refused(str(error), _MAYBE_WITHDRAWN.search(line) is not None)


class _CsvLines:
    """RFC 4180 with a header line; ``scopes`` holds tokens separated by spaces; an empty field is an absent key."""

    def __init__(self) -> None:
        self._header: list[str] | None = None
        self._quoted = 0  # bytes swallowed inside an unclosed quote, 0: outside

    def read(self, line: bytes) -> Statement | Refused | None:
        if self._header is None:
            self._header = _csv_header(line)
            return None
        if self._quoted:
            closes = line.count(b'"') % 2 == 1 or self._quoted > LINE_MAX
            self._quoted = 0 if closes else self._quoted + len(line) + 1
            return Refused("inside a quote that an earlier line opened", maybe_withdrawal="withdrawn" in self._header)
        if not line.strip():
            return None
        try:
            row = next(csv.reader([line.decode()], strict=True))
        except csv.Error as error:
            self._quoted = len(line) if "end of data" in str(error) else 0
            return Refused(
                "a field with a line break, or with text after its closing quote",
                maybe_withdrawal="withdrawn" in self._header,
            )
        except ValueError:
            return Refused("not UTF-8", maybe_withdrawal="withdrawn" in self._header)
        if len(row) != len(self._header):
            return Refused("not as many fields as the header", maybe_withdrawal="withdrawn" in self._header)
        keys: dict[str, Any] = {name: field for name, field in zip(self._header, row, strict=True) if field}
        withdrawn = keys.get("withdrawn", "false")
        if withdrawn in ("true", "false"):
            keys["withdrawn"] = withdrawn == "true"
        try:
            return _from_keys(keys)
        except StatementInvalid as error:
            return Refused(str(error), maybe_withdrawal=withdrawn != "false")


def _csv_header(line: bytes) -> list[str]:
    try:
        header = next(csv.reader([line.decode()], strict=True), [])
    except (csv.Error, ValueError) as error:
        raise FileInvalid("line 1 is no CSV header") from error
    if not set(header) <= set(KEYS) or len(set(header)) != len(header) or not {"app", "subject"} <= set(header):
        raise FileInvalid("line 1 must name columns among: " + ", ".join(KEYS))
    return header
