"""Asking a platform about an opaque token: the requests to make, and what their answers say, as values.

RFC 7662 and a platform's own endpoint are the same here: a request whose headers, query and body hold the token in named
places, and JSON Pointers (RFC 6901) to the facts in the answer.

Invariants:

- A token is placed by encoders (percent-encoding, JSON), never by joining texts, and only where a value stands: never in
  a path, a name or a host. Texts are filled in once: what a token spells is not read for places again.
- Only ``true`` is active. A fact that is there and malformed is a refusal, never a partial identity.
- A token without a holder in the answer, or whose holder is its app, is app-only (RFC 7662 section 2.2, RFC 9068).
"""

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.exchange import Call
from audit_proxy.core.identity import TIME_MAX, Identity, Verified, holder_subject, parse_scopes, valid_app
from audit_proxy.core.jose import strict_object

OPAQUE_MAX = 4096  # characters
ANSWER_MAX = 64 * 1024  # bytes
TOKEN, SECRET, BASIC = "token", "secret", "basic"
PLACES = frozenset({TOKEN, SECRET, BASIC})
FACTS = ("active", "app", "holder", "scopes", "expires_at", "expires_in", "not_before", "issuer", "audience")
RFC_7662: Mapping[str, str] = {
    "active": "/active",
    "app": "/client_id",
    "holder": "/sub",
    "scopes": "/scope",
    "expires_at": "/exp",
    "not_before": "/nbf",
    "issuer": "/iss",
    "audience": "/aud",
}

_OPAQUE = re.compile(r"[\x21\x23-\x2B\x2D-\x5B\x5D-\x7E]+\Z")  # RFC 6749 appendix A.12 without space, '"', ',' and '\'
_PLACE = re.compile(r"\{(\w*)\}")
_DIGITS = re.compile(r"[0-9]{1,15}\Z")
_ABSENT = object()

Pointer = tuple[str, ...]


def parse_pointer(text: str) -> Pointer:
    """A JSON Pointer's reference tokens (RFC 6901 section 3). Raises ValueError."""
    if text and not text.startswith("/"):
        raise ValueError("a JSON Pointer begins with '/'")
    if re.search(r"~(?![01])", text):
        raise ValueError("in a JSON Pointer '~' is written '~0' and '/' in a name '~1'")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def places(value: Any) -> set[str]:
    """The names in braces in a template's texts."""
    if isinstance(value, str):
        return set(_PLACE.findall(value))
    if isinstance(value, Mapping):
        return set().union(*map(places, value.values()))
    if isinstance(value, list):
        return set().union(*map(places, value))
    return set()


@dataclass(frozen=True, slots=True)
class Asking:
    """One request about a token, and where the facts stand in its answer.

    ``form`` or ``json`` is the body, or neither. ``inactive``: statuses that say the token is not valid; ``silent``: those
    that say nothing of it (no facts); any other but 200 is an outage.
    """

    method: str
    url: str  # without places
    headers: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] | None
    json: Any
    facts: Mapping[str, Pointer]
    inactive: frozenset[int] = frozenset()
    silent: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """How one issuer's answers become an identity. ``audiences`` empty: not judged."""

    issuer: str
    holder_namespace: str
    audiences: frozenset[str] = frozenset()
    holder_app_scoped: bool = False


def basic_credentials(client_id: str, secret: str) -> str:
    """A client's credentials for HTTP Basic, each form-encoded first (RFC 6749 section 2.3.1)."""
    return base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def opaque_refusal(token: str) -> Refusal | None:
    """Why a text cannot be an opaque token."""
    if len(token) > OPAQUE_MAX:
        return Refusal(Reason.token_malformed, f"the token is longer than {OPAQUE_MAX} characters")
    if _OPAQUE.match(token) is None:
        return Refusal(Reason.token_malformed, "the token has a character that no token has")
    return None


def render(asking: Asking, values: Mapping[str, str]) -> Call:
    """The request with its places filled in: ``values`` by name."""

    def filled(text: str) -> str:
        return _PLACE.sub(lambda found: values[found[1]], text)

    url = asking.url
    if asking.query:
        pairs = [(name, filled(value)) for name, value in asking.query.items()]
        url += ("&" if "?" in url else "?") + urlencode(pairs, quote_via=quote, safe="")
    headers = {"Accept": "application/json"} | {name: filled(value) for name, value in asking.headers.items()}
    body: bytes | None = None
    if asking.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode([(name, filled(value)) for name, value in asking.form.items()]).encode()
    elif asking.json is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(_filled(asking.json, filled)).encode()
    return Call(asking.method, url, headers, body)


def _filled(value: Any, fill: Any) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {name: _filled(one, fill) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, fill) for one in value]
    return value


def facts_of(asking: Asking, body: bytes) -> dict[str, Any]:
    """The facts that an answer holds, by their names in ``FACTS``. Raises NotStrict where it is not one JSON object."""
    document = strict_object(body)
    found = {name: _at(document, pointer) for name, pointer in asking.facts.items()}
    return {name: value for name, value in found.items() if value is not _ABSENT and value is not None}


def read_facts(
    askings: Sequence[Asking], answers: Sequence[Mapping[str, Any]], rules: Rules, now: float
) -> Verified | Refusal:
    """What the answers to all requests say together. ``now`` in seconds since the epoch, when they were asked.

    Judges everything but time: see ``judge_time``.
    """
    for asking, answer in zip(askings, answers, strict=True):
        if "active" in asking.facts and answer.get("active") is not True:
            return Refusal(Reason.token_invalid, "the token is not active")
    facts = {name: value for answer in answers for name, value in answer.items()}
    if facts.get("issuer", rules.issuer) != rules.issuer:
        return Refusal(Reason.token_invalid, "the token is of another issuer")
    if rules.audiences and not rules.audiences & _audience(facts.get("audience")):
        return Refusal(Reason.token_invalid, "the token is not meant for this API")
    app = valid_app(facts.get("app"))
    if app is None:
        return _malformed("what was learned of the token names no app")
    scopes = parse_scopes(facts.get("scopes", ""))
    if scopes is None:
        return _malformed("the token's scopes are malformed")
    holder = None
    named = facts.get("holder", "")
    if named != "" and str(named) != app:
        holder = holder_subject(rules.holder_namespace, named)
        if holder is None:
            return _malformed("the token's holder is no id")
    expires_at, not_before = _expiry(facts, now), _seconds(facts.get("not_before", 0))
    if expires_at is None or not_before is None:
        return _malformed("one of the token's times is not a number of seconds")
    return Verified(
        Identity(rules.issuer, app, holder, scopes, expires_at, app_scoped=rules.holder_app_scoped),
        not_before,
    )


def _expiry(facts: Mapping[str, Any], now: float) -> float | None:
    """When the token ends, infinity where nothing says so (0 says never); None where what says so is no time."""
    at, within = _seconds(facts.get("expires_at", 0)), _seconds(facts.get("expires_in", TIME_MAX - 1))
    if at is None or within is None:
        return None
    return min(at or math.inf, now + within if "expires_in" in facts else math.inf)


def _seconds(value: object) -> float | None:
    """A number of seconds; some platforms write it as a text of digits."""
    if isinstance(value, str) and _DIGITS.match(value) is not None:
        value = int(value)
    if (value.__class__ is int or value.__class__ is float) and 0 <= value < TIME_MAX:
        return float(value)
    return None


def _audience(value: object) -> frozenset[str]:
    found = value if isinstance(value, list) else [value]
    return frozenset(one for one in found if isinstance(one, str))


def _at(value: Any, pointer: Pointer) -> Any:
    for part in pointer:
        if isinstance(value, dict):
            value = value.get(part, _ABSENT)
        elif isinstance(value, list) and _DIGITS.match(part) is not None and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.token_malformed, detail)
