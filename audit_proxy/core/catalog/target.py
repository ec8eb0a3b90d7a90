"""A request target in its one normal form, or a refusal.

Invariants:

- What is judged is what the upstream gets: ``Target.text`` is rebuilt from the decoded parts, never copied.
- Anything that two servers could read differently has no single normal form and is refused: dot segments, empty
  segments, encoded slashes, backslashes, ``;`` parameters, control characters, a percent sign that survives decoding,
  invalid UTF-8, and text that Unicode normalisation (NFKC) would change.
- An encoded slash is kept, as ``%2F`` and in no other form, only for a caller that can say which segments may hold one.
- Origin form only (RFC 9112 section 3.2.1).

Sources: RFC 3986 sections 2.1, 3.3, 6.2.2; RFC 9112 section 3.2; the WHATWG form-urlencoded parser for queries.
"""

import re
import unicodedata
from collections.abc import Collection
from urllib.parse import quote

import msgspec

from audit_proxy.core.errors import Reason, Refusal

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?\Z|/\Z")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._~-]*\Z")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_BAD = re.compile(r"[\x00-\x20\x7f\\;/?#%]")  # in a decoded segment
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATH_SAFE = "-._~!$&'()*+,=:@"  # RFC 3986 pchar without ';'
_QUERY_SAFE = "-._~!$'()*,:@/"


class Target(msgspec.Struct, frozen=True):
    """``segments`` decoded; ``query`` pairs decoded, in order; ``text`` what is sent upstream."""

    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    text: str


def _refuse(detail: str, reason: Reason = Reason.path_not_normal) -> Refusal:
    return Refusal(reason, detail)


def parse_target(raw: str, *, encoded_slash: bool = False) -> Target | Refusal:
    """The target in normal form. ``raw`` as it stood in the request line.

    ``encoded_slash``: a segment may hold one; what lies between slashes is then judged like a segment of its own.
    """
    if not raw.startswith("/"):
        return _refuse("the request target must begin with '/' (origin form)")
    path, mark, query_text = raw.partition("?")
    if _PLAIN_PATH.match(path) is not None:
        segments: tuple[str, ...] = tuple(path[1:].split("/"))
        normal = path
    else:
        decoded: list[str] = []
        for part in path[1:].split("/"):
            segment = _segment(part, encoded_slash=encoded_slash)
            if isinstance(segment, Refusal):
                return segment
            decoded.append(segment)
        if "" in decoded[:-1]:
            return _refuse("the path has an empty segment ('//')")
        segments = tuple(decoded)
        normal = "/" + "/".join(quote(part, safe=_PATH_SAFE) for part in segments)
    if not mark:
        return Target(segments, (), normal)
    query = parse_query(query_text)
    if isinstance(query, Refusal):
        return query
    if not query:
        return Target(segments, (), normal)
    return Target(segments, query, f"{normal}?{encode_query(query)}")


def without_parameter(target: Target, name: str) -> Target:
    """The target without any query parameter of that name."""
    return with_query(target, tuple(pair for pair in target.query if pair[0] != name))


def with_query(target: Target, query: tuple[tuple[str, str], ...]) -> Target:
    """The target with another query, of decoded pairs."""
    path = target.text.partition("?")[0]
    return Target(target.segments, query, f"{path}?{encode_query(query)}" if query else path)


def without_raw_parameter(raw: str, name: str) -> str:
    """A request target as it came, without any query parameter of that name, however it is spelled."""
    path, mark, query = raw.partition("?")
    kept = [one for one in query.split("&") if _decode(one.partition("=")[0].replace("+", " ")) != name]
    return f"{path}?{'&'.join(kept)}" if mark and any(kept) else path if mark and query else raw


def without_values(target: Target, names: Collection[str], values: Collection[str]) -> Target | None:
    """The target without these values of the array parameters ``names``; None where one of them would hold nothing."""
    query: list[tuple[str, str]] = []
    for name, value in target.query:
        kept = value
        if name in names:
            kept = ",".join(one for one in value.split(",") if one not in values)
        if kept or not value:
            query.append((name, kept))
    if {name for name, _ in query} != {name for name, _ in target.query}:
        return None
    path = target.text.partition("?")[0]
    return Target(target.segments, tuple(query), f"{path}?{encode_query(tuple(query))}")


def encode_query(query: tuple[tuple[str, str], ...]) -> str:
    """Pairs as a query string: everything but unreserved and a few harmless characters percent-encoded."""
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in query)


def _encode(text: str) -> str:
    return text if _PLAIN_VALUE.match(text) is not None else quote(text, safe=_QUERY_SAFE)


def _segment(part: str, *, encoded_slash: bool) -> str | Refusal:
    text = _decode(part)
    if text is None:
        return _refuse("the path has an invalid percent-encoding or is not UTF-8")
    pieces = text.split("/") if encoded_slash else (text,)
    if len(pieces) > 1 and "" in pieces:
        return _refuse("the path has an encoded slash at the edge of a segment or beside another slash")
    for piece in pieces:
        if piece in (".", "..") or piece.rstrip(" .") == "" != piece:
            return _refuse("the path has a dot segment")
        if _PATH_BAD.search(piece) is not None:
            return _refuse(
                "the path has a control character, space, backslash, ';', or an encoded '/', '?', '#' or '%'"
            )
    if not text.isascii() and unicodedata.normalize("NFKC", text) != text:
        return _refuse("the path has text that Unicode normalisation would change")
    return text


def _decode(part: str) -> str | None:
    if _ESCAPE.search(part) is not None:
        return None
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), part.encode("utf-8", "surrogateescape"))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def parse_query(text: str) -> tuple[tuple[str, str], ...] | Refusal:
    """Form-encoded pairs, decoded, in order; empty pieces are skipped."""
    pairs: list[tuple[str, str]] = []
    for piece in text.split("&"):
        if not piece:
            continue
        name, _, value = piece.partition("=")
        plain_name, plain_value = _decode(name.replace("+", " ")), _decode(value.replace("+", " "))
        if plain_name is None or plain_value is None:
            return _refuse("the query has an invalid percent-encoding or is not UTF-8", Reason.query_not_normal)
        if _CONTROL.search(plain_name) is not None or _CONTROL.search(plain_value) is not None or "#" in piece:
            return _refuse("the query has a control character or '#'", Reason.query_not_normal)
        pairs.append((plain_name, plain_value))
    return tuple(pairs)
