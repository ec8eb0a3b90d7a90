"""The ``identity`` section of ``audit-proxy.yaml``: who may speak, and how their tokens are read."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from audit_proxy.core.introspection import BASIC, FACTS, PLACES, RFC_7662, SECRET, TOKEN, parse_pointer, places
from audit_proxy.settings.gateway import Gateway
from audit_proxy.settings.shapes import Model, Namespace, Seconds, Secret, fetched_safely

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]


Status = Annotated[int, Field(ge=100, le=599)]
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 section 5.6.2


def named_audience(value: str | list[str]) -> str | list[str]:
    """The same. Raises ValueError where nothing is named."""
    if not value or (isinstance(value, list) and "" in value):
        raise ValueError("name at least one audience")
    return value


class Issuer(Model):
    """One issuer of tokens; algorithms are pinned."""

    issuer: str  # the exact ``iss``
    audience: str | list[str]
    algorithms: list[Algorithm] = Field(min_length=1)
    jwks_file: Path | None = None
    jwks_url: str | None = None  # https, or http on this very machine
    unsafe_jwks_over_http: bool = False  # whoever can change the answer on its way can sign tokens
    jwks_refresh_s: Seconds = 300.0
    jwks_max_age_s: Seconds = 14_400.0  # in an outage: how long the last good set serves; then 503 keys_unavailable
    jwks_refetch_interval_s: Seconds = 10.0  # tokens that name an unknown key cause at most one fetch in this time
    hmac_secret: Secret | None = None
    leeway_s: float = Field(default=0.0, ge=0, le=300)
    require_typ: str | None = None  # e.g. "at+jwt" (RFC 9068)
    app_claim: list[str] = Field(
        default=["client_id", "azp"], min_length=1
    )  # the first present; a claim name, as it is, before dots are a path
    holder_claim: str = "sub"
    holder_namespace: Namespace = "person"
    holder_app_scoped: bool = False  # its ids are the app's own; platform.subject_ids says whom they mean
    app_only_claim: str | None = None  # a claim whose presence marks an app-only token (false and null: absent)
    app_only_value: str | None = None  # if set, only this value of that claim does, e.g. "client-credentials"
    scope_claim: list[str] = Field(default=["scope", "scp"], min_length=1)  # several present must agree

    @model_validator(mode="after")
    def _keys(self) -> Self:
        if [self.jwks_file, self.jwks_url, self.hmac_secret].count(None) != 2:
            raise ValueError("give exactly one of 'jwks_file', 'jwks_url' and 'hmac_secret'")
        if any(a.startswith("HS") != (self.hmac_secret is not None) for a in self.algorithms):
            raise ValueError("HS* algorithms go with 'hmac_secret', and only with it")
        if self.app_only_value is not None and self.app_only_claim is None:
            raise ValueError("'app_only_value' goes with 'app_only_claim'")
        return self

    @model_validator(mode="after")
    def _fetched_safely(self) -> Self:
        if self.jwks_url is None:
            return self
        fetched_safely(self.jwks_url, self.unsafe_jwks_over_http, "jwks_url", "unsafe_jwks_over_http")
        if self.jwks_max_age_s <= self.jwks_refresh_s:
            raise ValueError("'jwks_max_age_s' must be longer than 'jwks_refresh_s', or keys end between two fetches")
        return self

    @field_validator("audience")
    @classmethod
    def _named(cls, value: str | list[str]) -> str | list[str]:
        return named_audience(value)


class FactPointers(Model):
    """JSON Pointers (RFC 6901) to the facts in an answer about a token."""

    active: str | None = None  # must be true; where none is named, the answer's status 200 says so
    app: str | None = None
    holder: str | None = None  # absent, null or the app's id: a token without a holder
    scopes: str | None = None  # a text of scopes or an array
    expires_at: str | None = None  # seconds since the epoch; 0: never
    expires_in: str | None = None  # seconds from now
    not_before: str | None = None
    issuer: str | None = None  # where present, must be the issuer's name above
    audience: str | None = None

    @model_validator(mode="after")
    def _pointers(self) -> Self:
        for name in FACTS:
            text = getattr(self, name)
            if text is not None:
                try:
                    parse_pointer(text)
                except ValueError as error:
                    raise ValueError(f"'{name}': {error}") from None
        return self


class TokenRequest(Model):
    """A request about a token; what is left out is as RFC 7662 says, with the client's credentials in HTTP Basic.

    In values of headers, query, form and JSON stand the places {token}, {secret} and {basic} (client id and secret).
    """

    url: str  # without places
    unsafe_over_http: bool = False  # whoever can change the answer on its way can make tokens
    method: Literal["GET", "POST"] = "POST"
    headers: dict[str, str] = Field(default={"Authorization": "Basic {basic}"})
    query: dict[str, str] = Field(default={})
    form: dict[str, str] | None = None  # with POST, where there is no JSON either: token and token_type_hint
    json_body: dict[str, JsonValue] | None = None
    answer: FactPointers = FactPointers(**RFC_7662)
    inactive_status: list[Status] = Field(default=[])  # statuses that say the token is not valid
    silent_status: list[Status] = Field(default=[])  # those that say nothing of it, e.g. that it has no holder

    @model_validator(mode="after")
    def _form(self) -> Self:
        fetched_safely(self.url, self.unsafe_over_http, "url", "unsafe_over_http")
        if "{" in self.url or "#" in self.url:
            raise ValueError("'url' holds no places and no fragment; put the token into 'query', 'headers' or a body")
        if self.form is not None and self.json_body is not None:
            raise ValueError("give one of 'form' and 'json_body'")
        if self.method == "GET" and (self.form is not None or self.json_body is not None):
            raise ValueError("a GET has no body; put the token into 'query' or 'headers'")
        for name in self.headers:
            if HEADER_NAME.match(name) is None or name.lower() in ("host", "content-length", "transfer-encoding"):
                raise ValueError("'headers' has a name that is none or not yours to set")
        found = places([self.headers, self.query, self.body_form or {}, self.json_body or {}])
        if unknown := found - PLACES:
            raise ValueError(f"no place is called {{{min(unknown)}}}; known: {', '.join(sorted(PLACES))}")
        if TOKEN not in found:
            raise ValueError("{token} stands nowhere; put it into 'headers', 'query' or a body")
        return self

    @property
    def body_form(self) -> dict[str, str] | None:
        """The form that is sent."""
        if self.form is None and self.json_body is None and self.method == "POST":
            return {"token": "{token}", "token_type_hint": "access_token"}
        return self.form


class Introspection(Model):
    """A platform that is asked about opaque tokens: RFC 7662, or requests of its own."""

    issuer: str = Field(min_length=1)
    token_prefix: str = Field(
        default="", pattern=r"^[!#-+\--\[\]-~]*$"
    )  # how its tokens begin; "": all that are not JWTs
    client_id: str | None = None
    client_secret: Secret | None = None
    requests: list[TokenRequest] = Field(min_length=1, max_length=4)  # made in order; one fact comes from one of them
    audience: str | list[str] | None = None  # None: whatever the answer says
    holder_namespace: Namespace = "person"
    holder_app_scoped: bool = False  # its ids are the app's own; platform.subject_ids says whom they mean
    leeway_s: float = Field(default=0.0, ge=0, le=300)
    timeout_s: Seconds = 2.0  # of one request
    cache_s: Seconds = 30.0  # how long an answer is remembered, so how long a revoked token can still pass
    negative_cache_s: Seconds = 5.0  # the same for tokens that are not active
    cache_entries: int = Field(default=100_000, gt=0)

    @field_validator("audience")
    @classmethod
    def _named(cls, value: str | list[str] | None) -> str | list[str] | None:
        return None if value is None else named_audience(value)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        used = places([[one.headers, one.query, one.body_form or {}, one.json_body or {}] for one in self.requests])
        if used & {SECRET, BASIC} and self.client_secret is None:
            raise ValueError("a request uses the client's secret; give 'client_secret'")
        if BASIC in used and self.client_id is None:
            raise ValueError("a request uses {basic}; give 'client_id'")
        given = [name for one in self.requests for name in FACTS if getattr(one.answer, name) is not None]
        if any(given.count(name) > 1 for name in FACTS if name != "active"):
            raise ValueError("a fact is named by two requests; it comes from one")
        if "app" not in given:
            raise ValueError("no request's 'answer' names the app")
        if self.audience is not None and "audience" not in given:
            raise ValueError("'audience' is judged by the fact of that name; no request's 'answer' names it")
        return self


class Identity(Model):
    issuers: list[Issuer] = Field(default=[])  # of signed JWTs
    introspection: list[Introspection] = Field(default=[])  # of opaque tokens
    gateway: Gateway | None = None  # that has verified the token and names app, holder and scopes in headers
    token_cache_entries: int = Field(default=100_000, gt=0)
    unsafe_token_in_query: bool = False  # accepts ?access_token= (RFC 6750 section 2.3); it goes on in the header
    realm: str = Field(default="api", pattern=r"^[ !#-\[\]-~]{1,100}$")  # of the WWW-Authenticate challenge

    @field_validator("issuers")
    @classmethod
    def _once(cls, value: list[Issuer]) -> list[Issuer]:
        if len({one.issuer for one in value}) != len(value):
            raise ValueError("each issuer stands here once; its tokens have one set of rules")
        return value

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.issuers and not self.introspection and self.gateway is None:
            raise ValueError("nobody could speak; give at least one of 'issuers', 'introspection' and 'gateway'")
        prefixes = [one.token_prefix for one in self.introspection]
        if len(set(prefixes)) != len(prefixes):
            raise ValueError("two platforms under 'introspection' have tokens of the same 'token_prefix'")
        if any(one and other.startswith(one) and one != other for one in prefixes for other in prefixes):
            raise ValueError("the 'token_prefix' of one platform under 'introspection' begins another's")
        return self

    @property
    def app_scoped_namespaces(self) -> set[str]:
        """Namespaces of issuers whose holders' ids are app-scoped."""
        return {one.holder_namespace for one in self._every if one.holder_app_scoped}

    @property
    def holder_namespaces(self) -> set[str]:
        """Where holders' ids are from."""
        return {one.holder_namespace for one in self._every}

    @property
    def _every(self) -> Sequence[Issuer | Introspection | Gateway]:
        return (*self.issuers, *self.introspection, *([self.gateway] if self.gateway is not None else ()))
