"""Where a request carries its access token (RFC 6750 section 2).

Invariants:

- One token a request: where two stand, whom the platform would take it for is not known, so neither is used.
- A token belongs in the ``Authorization`` header. In the query it gets into other people's logs and browsers' histories:
  refused, unless a setting permits it. In a body it is always refused.
"""

from collections.abc import Iterable

from audit_proxy.core.errors import Reason, Refusal

PARAMETER = "access_token"  # RFC 6750 sections 2.2 and 2.3

MISSING = Refusal(Reason.token_missing, "the request carries no bearer token")
IN_BODY = Refusal(Reason.token_misplaced, "the body holds an access token; send it in the Authorization header alone")
_REPEATED = Refusal(
    Reason.token_repeated, "the request carries more than one token; send one, in the Authorization header"
)
_IN_QUERY = Refusal(Reason.token_misplaced, "the query holds an access token; send it in the Authorization header")
_MALFORMED = Refusal(Reason.token_malformed, "the Authorization header must be 'Bearer' and one token")


def bearer_token(
    authorization: str | None, query: Iterable[tuple[str, str]], *, unsafe_in_query: bool = False
) -> str | Refusal:
    """The request's one token. ``authorization``: the header's value, several joined by commas as RFC 9110 section 5.3
    says; ``query``: decoded pairs.
    """
    in_query = [value for name, value in query if name == PARAMETER]
    if in_query:
        if authorization is not None or len(in_query) > 1:
            return _REPEATED
        if not unsafe_in_query:
            return _IN_QUERY
        return in_query[0] or _MALFORMED
    if authorization is None:
        return MISSING
    if "," in authorization:
        return _REPEATED
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        return _MALFORMED
    return token
