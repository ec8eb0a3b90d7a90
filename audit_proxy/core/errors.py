"""Reason ids: why something was refused or withheld.

Invariants:

- One id means one thing, and is the same in answer, log line, metric and record.
- A refusal is a returned value (``Refusal``); an exception is a fault.
- ``Refusal.detail`` is for the app's developer: it never holds a token, an id, a query string or a body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a request was refused, or an answer withheld as a whole. Status codes are the front end's choice."""

    __hash__ = str.__hash__  # Enum's own is a Python function, and dictionaries on the hot path ask for it

    # the request itself
    path_not_normal = "path_not_normal"
    query_not_normal = "query_not_normal"
    request_too_large = "request_too_large"
    request_not_inspectable = "request_not_inspectable"
    request_malformed = "request_malformed"
    app_gone = "app_gone"  # the app ended its connection before its answer was there
    app_too_slow = "app_too_slow"  # in sending its request or in taking its answer; the connection is cut
    # identity
    token_missing = "token_missing"
    token_repeated = "token_repeated"
    token_misplaced = "token_misplaced"
    token_malformed = "token_malformed"
    token_invalid = "token_invalid"
    token_expired = "token_expired"
    token_not_yet_valid = "token_not_yet_valid"
    issuer_unknown = "issuer_unknown"
    keys_unavailable = "keys_unavailable"
    introspection_unavailable = "introspection_unavailable"
    holder_unavailable = "holder_unavailable"  # whom the token's app-scoped holder is cannot be looked up now
    # operation
    operation_not_described = "operation_not_described"
    method_not_described = "method_not_described"
    parameter_not_described = "parameter_not_described"
    parameter_invalid = "parameter_invalid"
    field_not_described = "field_not_described"
    cursor_invalid = "cursor_invalid"  # a cursor that was not sealed for this app, holder and parameter
    # policy and app status
    scope_missing = "scope_missing"
    scope_not_approved = "scope_not_approved"
    app_unknown = "app_unknown"
    app_suspended = "app_suspended"
    app_quarantined = "app_quarantined"  # it reached too many people; only a person releases it
    holder_blocked = "holder_blocked"  # one user's tokens reached too many people in this app
    over_budget = "over_budget"  # no new people for the app until its window has room
    # the platform's answer
    upstream_unreachable = "upstream_unreachable"
    upstream_timeout = "upstream_timeout"
    upstream_protocol_error = "upstream_protocol_error"
    redirect_refused = "redirect_refused"
    response_not_described = "response_not_described"
    response_not_inspectable = "response_not_inspectable"
    response_too_large = "response_too_large"
    not_found = "not_found"
    # our own state
    audit_unavailable = "audit_unavailable"
    overloaded = "overloaded"
    internal_error = "internal_error"


class Consent(StrEnum):
    """On what ground a field left, or why it did not: the ``consent`` of a record's ``disclosed`` and ``withheld``."""

    __hash__ = str.__hash__

    # grounds to disclose
    token = "token"  # the holder's own token
    grant = "grant"  # the third party's own grant
    public = "public"  # the content is public
    unsafe_holder_speaks = "unsafe_holder_speaks"  # the catalog lets the holder speak for others, as in 2014
    # grounds to withhold
    no_grant = "no_grant"
    grant_expired = "grant_expired"
    grant_purpose = "grant_purpose"
    grant_scope = "grant_scope"
    withdrawn = "withdrawn"
    scope_missing = "scope_missing"
    subject_unresolved = "subject_unresolved"
    subject_unmapped = "subject_unmapped"
    subjects_unavailable = "subjects_unavailable"
    unclassified = "unclassified"
    aggregate = "aggregate"
    cursor_unsealable = "cursor_unsealable"  # paging state that no parameter takes, is too long, or leads elsewhere
    consent_not_loaded = "consent_not_loaded"
    consent_unavailable = "consent_unavailable"
    over_budget = "over_budget"  # the page would have passed the app's budget
    app_restricted = "app_restricted"  # too many people: the app gets the data of its own users only


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request or an answer that does not pass, and what its sender may be told."""

    reason: Reason
    detail: str = ""
    scopes: frozenset[str] = frozenset()  # the scopes that would have sufficed, for RFC 6750's challenge
    retry_after_s: int = 0  # 0: trying again later is no use, or nobody knows when


class Unavailable(Exception):  # noqa: N818  (a condition of a dependency, not a bug of ours)
    """A dependency behind a port cannot answer now. Callers fail closed."""


class ConsentUnavailable(Unavailable):
    """The consent store cannot be asked."""


class SubjectIdsUnavailable(Unavailable):
    """Whom some ids mean cannot be learned now. ``known``: the subjects of those that are known all the same, by raw id."""

    def __init__(self, known: Mapping[str | int, str]) -> None:
        super().__init__("subject ids cannot be looked up")
        self.known = known


class CallFailed(Unavailable):
    """A service of the operator's gave no usable answer. The text quotes neither address nor content."""


class PushFailed(Unavailable):
    """A target did not take a checkpoint. The text quotes neither address nor content."""


class AuditUnavailable(Unavailable):
    """The audit log did not take the record durably: nothing may be released."""


class KeysUnavailable(Unavailable):
    """The pseudonym keys cannot be changed now: their files cannot be written, or another process is changing them."""


class DetectionUnavailable(Unavailable):
    """What apps reached, or their status, cannot be stored now."""


class LogUnusable(Exception):  # noqa: N818  (a fact about the directory, not a bug of ours)
    """The audit log cannot be opened: another process has it, or its files contradict its signed checkpoint."""


class KeysUnusable(LogUnusable):
    """The keys that the audit log's pseudonyms come from are missing, damaged, or not those of this log."""


class DetectionUnusable(LogUnusable):
    """What was stored of apps' use and status cannot be read."""
