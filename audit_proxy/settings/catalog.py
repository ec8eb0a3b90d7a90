"""The platform's documents, read and compiled: JSON or YAML as the vendor wrote it.

Unlike our own configuration, a vendor's YAML may have unquoted status codes as keys (``200:``); they are read as text.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from audit_proxy.core.catalog import Catalog, compile_catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.settings.files import ConfigProblems, foreign_yaml
from audit_proxy.settings.model import Settings

DOCUMENT_MAX = 64 * 1024 * 1024  # bytes


def categories() -> frozenset[str]:
    """The data categories of the fideslang taxonomy."""
    return frozenset(one.fides_key for one in DEFAULT_TAXONOMY.data_category or ())


def load_catalog(settings: Settings) -> Catalog:
    """Reads and compiles the configured platform. Raises CatalogError, naming the file."""
    platform = settings.platform
    digest = hashlib.sha256()
    openapi = _read(platform.openapi, digest)
    overlay = _read(platform.overlay, digest) if platform.overlay is not None else None
    try:
        return compile_catalog(
            openapi,
            overlay,
            namespace=platform.subject_namespace,
            hash=digest.hexdigest()[:16],
            categories=categories(),
        )
    except CatalogError as error:
        raise CatalogError(f"{platform.openapi}: {error}") from error


def _read(path: Path, digest: "hashlib._Hash") -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > DOCUMENT_MAX:
        raise CatalogError(f"{path}: longer than {DOCUMENT_MAX} bytes")
    digest.update(len(data).to_bytes(8, "big") + data)
    try:
        value = json.loads(data) if data.lstrip()[:1] == b"{" else foreign_yaml(path, data)
    except ConfigProblems as error:
        raise CatalogError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CatalogError(f"{path}: must be an object")
    return value
