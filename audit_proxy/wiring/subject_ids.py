"""What says whom a platform's ids mean, from settings."""

from contextlib import AsyncExitStack

from audit_proxy.adapters.subject_ids_cached import CachedIds
from audit_proxy.adapters.subject_ids_http import HttpIds
from audit_proxy.adapters.subject_ids_identity import IdentityIds
from audit_proxy.adapters.subject_ids_table import TableIds
from audit_proxy.ports import Clock, HttpClient, SubjectIds
from audit_proxy.settings.model import Platform
from audit_proxy.settings.secrets import read_secret


async def open_subject_ids(platform: Platform, client: HttpClient, clock: Clock, stack: AsyncExitStack) -> SubjectIds:
    """By identity where nothing else is set; what it starts is closed with ``stack``. Raises ValueError, OSError."""
    settings, namespace = platform.subject_ids, platform.subject_namespace
    if settings is None:
        return IdentityIds(namespace)
    source: SubjectIds
    if settings.table is not None:
        source = table = TableIds(settings.table, namespace, reload_s=settings.reload_s)
        stack.push_async_callback(table.close)
        await table.start()
    else:
        assert settings.url is not None  # settings give exactly one
        secret = read_secret(settings.secret).decode() if settings.secret is not None else None
        source = HttpIds(settings.url, namespace, client, secret=secret, timeout_s=settings.timeout_s)
    return CachedIds(
        source,
        clock,
        entries=settings.cache_entries,
        cache_s=settings.cache_s,
        unmapped_cache_s=settings.unmapped_cache_s,
    )
