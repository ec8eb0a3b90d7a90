"""Paging state, sealed: what a platform calls ``after`` or ``next`` may hold people's ids, also those of withheld people.

Invariants:

- An app never sees a cursor of the platform's, and the platform gets only cursors that it gave out itself, to this app and
  holder, for this parameter: all of that is bound to the seal.
- Two cursors look unrelated even where they are equal, and their length tells one of six sizes.
- A URL with a cursor leads to a described operation, through this proxy, or does not leave. A person it names is one that the
  app named itself, the holder, or one of those it stands inside of, who permit; a token in it is taken out.

Text forms: a sealed cursor is unpadded base64url of what the vault makes of a frame; a frame is the cursor's length (two bytes,
big-endian), its UTF-8, and zeros up to the next of the sizes. ``Link`` headers: RFC 8288 section 3.
"""

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import msgspec

from audit_proxy.core.bearer import PARAMETER
from audit_proxy.core.catalog.matcher import Match, Matcher
from audit_proxy.core.catalog.model import NONE, Catalog, Cursor, Field, Operation, Parameter
from audit_proxy.core.catalog.paging import taken_by
from audit_proxy.core.catalog.parameters import judge_parameters
from audit_proxy.core.catalog.target import Target, encode_query, parse_target, without_parameter
from audit_proxy.core.errors import Refusal
from audit_proxy.core.inspection import RawId

SIZES = (64, 128, 256, 512, 1024, 2048)  # of frames, in bytes
OVERHEAD_MAX = 64  # bytes that a vault may add to a frame
SEALED_MAX = (SIZES[-1] + OVERHEAD_MAX) * 4 // 3 + 1  # characters
LINK_MAX = 8192  # characters of a URL that is looked at
_LENGTH = 2
_PLAIN_URL = re.compile(r"[!\"$-\[\]-~]+\Z")  # visible ASCII without '#' and the backslash
_SEALED = re.compile(r"[A-Za-z0-9_-]+\Z")
_LINK = re.compile(
    r'[ \t]*<([^<>]*)>((?:[ \t]*;[ \t]*[a-z*]+(?:=(?:"[^"\\]*"|[^\s",;]+))?)*)[ \t]*(?:,|\Z)', re.IGNORECASE
)
_RELATION = re.compile(r';[ \t]*rel="?(first|last|next|prev|previous)"?[ \t]*(?:;|\Z)', re.IGNORECASE)
_DEFAULT_PORTS = (None, 80, 443)
_encode = msgspec.json.encode

Vault = Callable[[bytes, bytes], bytes]
"""(frame, binding) -> the sealed bytes, never the same twice."""
OpenVault = Callable[[bytes, bytes], bytes | None]
"""(sealed bytes, binding) -> the frame, or None where they are not of this vault and binding."""


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom cursors are sealed: the app, and the person whose token it is."""

    app: str
    holder: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """What an answer's links are judged by. ``path`` and ``values`` as the request had them; ``named``: whom the request
    names, and the holder, by raw id.
    """

    reader: Reader
    operation: Operation
    path: str
    values: Collection[str] = ()  # of all its parameters
    named: Collection[str] = ()


class Cursors:
    """A platform's paging state. ``origins``: URLs it says it is at; ``base``: where apps reach the proxy, "" makes links
    relative.
    """

    def __init__(
        self, catalog: Catalog, seal: Vault, open_: OpenVault, *, origins: Iterable[str], base: str = ""
    ) -> None:
        self._operations: Mapping[str, Operation] = {one.id: one for one in catalog.operations}
        self._matcher = Matcher(catalog.operations)
        self._encoded_slash = any(
            parameter.encoded_slash for one in catalog.operations for parameter in one.parameters.values()
        )
        self._seal = seal
        self._open = open_
        self._hosts = {_host(one) for one in (*origins, base) if one}
        self._base = base

    # -- values ------------------------------------------------------------------------------------------------------

    def opened(self, reader: Reader, operation: Operation, parameter: Parameter, text: str) -> str | None:
        """The platform's cursor that a parameter holds; None where it does not open."""
        if not text or text in parameter.plain:
            return text
        if len(text) > SEALED_MAX or _SEALED.match(text) is None:
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            return None
        if _text(sealed) != text:  # a second spelling
            return None
        frame = self._open(sealed, binding(reader, operation, parameter))
        return None if frame is None else unframed(frame)

    def sealed(self, reader: Reader, operation: Operation, parameter: Parameter, text: str) -> str | None:
        """A cursor of the platform's, sealed; None where it is too long."""
        if not text or text in parameter.plain:
            return text
        frame = framed(text)
        return None if frame is None else _text(self._seal(frame, binding(reader, operation, parameter)))

    # -- answers -----------------------------------------------------------------------------------------------------

    def place(self, page: Page, place: Field, value: str | int, subjects: tuple[RawId, ...]) -> str | None:
        """What leaves in place of paging state in a body, inside what is about ``subjects``; None: nothing can."""
        assert place.cursor is not None  # asked for such places alone
        return self._state(page, place.cursor, str(value), frozenset(map(str, subjects)))

    def header(self, page: Page, name: str, cursor: Cursor, value: str) -> tuple[str | None, bool]:
        """A response header's value with its paging state sealed (None: nothing of it can leave), and whether all is there."""
        if not cursor.link or name.lower() != "link":
            found = self._state(page, cursor, value.strip(), frozenset())
            return found, found is not None
        links: list[str] = []
        whole, at = True, 0
        while at < len(value):
            one = _LINK.match(value, at)
            if one is None:
                whole = False
                break
            at = one.end()
            relation = _RELATION.search(one[2])
            url = self._state(page, cursor, one[1], frozenset()) if relation is not None else None
            if url is None or relation is None:
                whole = False
            else:
                links.append(f'<{url}>; rel="{relation[1].lower()}"')
        return ", ".join(links) or None, whole

    def _state(self, page: Page, cursor: Cursor, text: str, subjects: Collection[str]) -> str | None:
        if cursor.link:
            return self._link(page, text, subjects) if text else text
        taker = taken_by(cursor, page.operation, self._operations)
        return self.sealed(page.reader, *taker, text) if taker is not None else None

    def _link(self, page: Page, url: str, subjects: Collection[str]) -> str | None:
        target = self._target(page, url)
        match = self._matcher.find("GET", target.segments) if target is not None else None
        if target is None or not isinstance(match, Match):
            return None
        operation = match.operation
        asked = judge_parameters(match, target, "", b"")
        if isinstance(asked, Refusal) or any(one not in page.named and one not in subjects for one in asked.people):
            return None
        for name, value in zip(operation.path_names, match.path_values, strict=True):
            if _foreign(page, operation.parameters["path", name], value):
                return None
        query: list[tuple[str, str]] = []
        for name, value in target.query:
            parameter = operation.parameters["query", name]
            left: str | None = value
            if parameter.cursor:
                left = None if operation.unjudged else self.sealed(page.reader, operation, parameter, value)
            if left is None or _foreign(page, parameter, value):
                return None
            query.append((name, left))
        path = target.text.partition("?")[0]
        return f"{self._base}{path}?{encode_query(tuple(query))}" if query else self._base + path

    def _target(self, page: Page, url: str) -> Target | None:
        """Where a URL of the platform's leads, without a token; None where that is not on the platform, or not plain."""
        if len(url) > LINK_MAX or _PLAIN_URL.match(url) is None:
            return None
        try:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                if (
                    parts.scheme.lower() not in ("http", "https")
                    or "@" in parts.netloc
                    or _host(url) not in self._hosts
                ):
                    return None
            elif not url.startswith(("/", "?")) or url.startswith("//"):
                return None
        except ValueError:
            return None
        path = parts.path or ("/" if parts.netloc else page.path)
        target = parse_target(f"{path}?{parts.query}" if parts.query else path, encoded_slash=self._encoded_slash)
        return without_parameter(target, PARAMETER) if isinstance(target, Target) else None


def _foreign(page: Page, parameter: Parameter, value: str) -> bool:
    """Whether a link looks somebody up by what the app did not say."""
    return parameter.categories != NONE and not parameter.names_person and value not in page.values


def binding(reader: Reader, operation: Operation, parameter: Parameter) -> bytes:
    """What a cursor is sealed to."""
    return _encode(("cursor", 1, reader.app, reader.holder, operation.id, parameter.place, parameter.name))


def quotes(body: bytes, cursors: Iterable[str]) -> bool:
    """Whether a JSON text holds one of these cursors, as it is or as it stands in a query."""
    return any(one in body for text in cursors for one in (_encode(text)[1:-1], quote(text, safe="").encode()))


def framed(text: str) -> bytes | None:
    """A cursor's frame, None where there is none so large."""
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:  # half a character: no parameter can bring it back
        return None
    size = next((one for one in SIZES if one >= _LENGTH + len(raw)), None)
    return None if size is None else (len(raw).to_bytes(_LENGTH, "big") + raw).ljust(size, b"\0")


def unframed(frame: bytes) -> str | None:
    """The cursor in a frame, None where it is none."""
    end = _LENGTH + int.from_bytes(frame[:_LENGTH], "big")
    if len(frame) not in SIZES or end > len(frame):
        return None
    try:
        return frame[_LENGTH:end].decode("utf-8")
    except UnicodeDecodeError:
        return None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _host(url: str) -> tuple[str | None, int | None]:
    """A URL's host and port; none for those of http and https, which links of one platform mix. Raises ValueError."""
    parts = urlsplit(url)
    return parts.hostname, None if parts.port in _DEFAULT_PORTS else parts.port
