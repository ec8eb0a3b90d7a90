"""Token resolvers from settings."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from audit_proxy.adapters.keys_jwks import FixedKeys, JwksUrl, key_set
from audit_proxy.adapters.tokens_by_form import ResolverByForm
from audit_proxy.adapters.tokens_introspection import IntrospectionConfig, IntrospectionResolver
from audit_proxy.adapters.tokens_jwt import IssuerConfig, JwtResolver
from audit_proxy.core.gateway import GatewayRules
from audit_proxy.core.identity import ClaimRules
from audit_proxy.core.introspection import BASIC, SECRET, Asking, Rules, basic_credentials, parse_pointer
from audit_proxy.core.jose import hmac_keys
from audit_proxy.ports import HttpClient, IssuerKeys, TokenResolver
from audit_proxy.settings.gateway import Gateway
from audit_proxy.settings.identity import Identity, Introspection, Issuer, TokenRequest
from audit_proxy.settings.secrets import read_secret

Gauge = Callable[[str, str, Callable[[], float | None]], None]  # name, help, what reads it


async def open_tokens(settings: Identity, client: HttpClient, stack: AsyncExitStack, gauge: Gauge) -> TokenResolver:
    """A resolver for every configured issuer; what it starts is closed with ``stack``."""
    issuers: list[IssuerConfig] = []
    keys: dict[str, IssuerKeys] = {}
    for one in settings.issuers:
        issuers.append(_config(one))
        keys[one.issuer] = await _keys(one, client, stack)
    fetched = [one for one in keys.values() if isinstance(one, JwksUrl)]
    if fetched:
        gauge("issuer_keys_age_seconds", "Age of the oldest issuer's key set.", lambda: _oldest(fetched))
    signed = JwtResolver(issuers, keys, cache_entries=settings.token_cache_entries) if issuers else None
    if signed is not None and not settings.introspection:
        return signed
    opaque: dict[str, TokenResolver] = {}
    for platform in settings.introspection:
        opaque[platform.token_prefix] = resolver = IntrospectionResolver(_introspection(platform), client)
        stack.push_async_callback(resolver.close)
    return ResolverByForm({one: resolver for one, resolver in opaque.items() if one}, signed, opaque.get(""))


def gateway_rules(one: Gateway | None) -> GatewayRules | None:
    """Whose headers are believed; None: identity comes from tokens alone."""
    if one is None:
        return None
    return GatewayRules(
        issuer=one.issuer,
        certificates=frozenset(one.certificates),
        app_header=one.app_header,
        holder_header=one.holder_header,
        scopes_header=one.scopes_header,
        holder_namespace=one.holder_namespace,
        holder_app_scoped=one.holder_app_scoped,
    )


def _config(one: Issuer) -> IssuerConfig:
    audiences = one.audience if isinstance(one.audience, list) else [one.audience]
    claims = ClaimRules(
        issuer=one.issuer,
        audiences=frozenset(audiences),
        holder_namespace=one.holder_namespace,
        app_claims=tuple(one.app_claim),
        holder_claim=one.holder_claim,
        holder_app_scoped=one.holder_app_scoped,
        app_only_claim=one.app_only_claim,
        app_only_value=one.app_only_value,
        scope_claims=tuple(one.scope_claim),
    )
    return IssuerConfig(claims, frozenset(one.algorithms), one.leeway_s, one.require_typ)


def _introspection(one: Introspection) -> IntrospectionConfig:
    secret = read_secret(one.client_secret).decode("utf-8") if one.client_secret is not None else ""
    audiences = one.audience if isinstance(one.audience, list) else [one.audience] if one.audience is not None else []
    return IntrospectionConfig(
        Rules(one.issuer, one.holder_namespace, frozenset(audiences), one.holder_app_scoped),
        tuple(map(_asking, one.requests)),
        {SECRET: secret, BASIC: basic_credentials(one.client_id or "", secret)},
        cache_s=one.cache_s,
        negative_cache_s=one.negative_cache_s,
        cache_entries=one.cache_entries,
        timeout_s=one.timeout_s,
        leeway_s=one.leeway_s,
    )


def _asking(one: TokenRequest) -> Asking:
    pointers = one.answer.model_dump(exclude_none=True)
    return Asking(
        one.method,
        one.url,
        one.headers,
        one.query,
        one.body_form,
        one.json_body,
        {name: parse_pointer(text) for name, text in pointers.items()},
        frozenset(one.inactive_status),
        frozenset(one.silent_status),
    )


async def _keys(one: Issuer, client: HttpClient, stack: AsyncExitStack) -> IssuerKeys:
    pinned = frozenset(one.algorithms)
    if one.hmac_secret is not None:
        return FixedKeys(hmac_keys(read_secret(one.hmac_secret), pinned))
    if one.jwks_file is not None:
        return FixedKeys(key_set(one.jwks_file.read_bytes(), pinned))
    assert one.jwks_url is not None  # settings give exactly one
    keys = JwksUrl(
        one.jwks_url,
        pinned,
        client,
        refresh_s=one.jwks_refresh_s,
        max_age_s=one.jwks_max_age_s,
        refetch_interval_s=one.jwks_refetch_interval_s,
    )
    stack.push_async_callback(keys.close)
    await keys.start()
    return keys


def _oldest(fetched: Sequence[JwksUrl]) -> float | None:
    return max((age for age in (one.age_s for one in fetched) if age is not None), default=None)
