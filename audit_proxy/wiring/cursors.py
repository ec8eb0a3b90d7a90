"""What seals a platform's paging state, from settings."""

from audit_proxy.adapters.cursors_aessiv import AesSivVault
from audit_proxy.core.catalog import Catalog
from audit_proxy.core.cursors import Cursors
from audit_proxy.settings.model import Settings
from audit_proxy.settings.secrets import read_key


def open_cursors(settings: Settings, catalog: Catalog) -> Cursors | None:
    """None where the platform's description marks no cursors. Raises ValueError (a key)."""
    if not catalog.pages:
        return None
    vault = AesSivVault([read_key(one) for one in settings.cursors.keys])
    origins = (settings.upstream.url, *catalog.servers)
    return Cursors(catalog, vault.seal, vault.open, origins=origins, base=settings.data.public_url or "")
