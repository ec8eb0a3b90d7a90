"""Which resolver takes a token (port ``TokenResolver``): decided by the token's form alone, so that no token is ever tried
with two.

In this order: the beginning that a resolver was given; the form of a signed JWT (two dots, and a header that begins as a
JSON object does in base64url); the resolver that takes all others.
"""

from collections.abc import Mapping

from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.identity import Identity
from audit_proxy.ports import TokenResolver

_JSON_BEGINS = ("ey", "ew")  # base64url of '{"' or '{ ', and of '{' before a line break or tab


class ResolverByForm:
    """``by_beginning``: none of them may begin another. ``others`` takes what is left, JWTs too where ``jwt`` is None."""

    def __init__(
        self, by_beginning: Mapping[str, TokenResolver], jwt: TokenResolver | None, others: TokenResolver | None
    ) -> None:
        for one in by_beginning:
            if any(one.startswith(other) for other in by_beginning if other != one):
                raise ValueError("the beginning of one resolver's tokens begins another's")
        self._by_beginning = tuple(by_beginning.items())
        self._jwt = jwt
        self._others = others

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        """The port's method."""
        for beginning, resolver in self._by_beginning:
            if token.startswith(beginning):
                return await resolver.resolve(token, now)
        looks_signed = token.startswith(_JSON_BEGINS) and token.count(".") == 2
        taker = self._jwt if looks_signed and self._jwt is not None else self._others
        if taker is None:
            return Refusal(Reason.token_malformed, "the token has a form that no configured issuer's tokens have")
        return await taker.resolve(token, now)
