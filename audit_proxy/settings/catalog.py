"""The platform's documents, read and compiled: JSON or YAML as the vendor wrote it.

Invariants:

- Unlike our own configuration, a vendor's YAML may have unquoted status codes as keys (``200:``); they are read as text.
- A key that stands twice in one object is refused in both notations: else two readers could see two platforms.
"""

import codecs
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from audit_proxy.core.catalog import Catalog, compile_catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.settings.files import ConfigProblems, foreign_yaml
from audit_proxy.settings.model import Settings

DOCUMENT_MAX = 64 * 1024 * 1024  # bytes


def categories() -> frozenset[str]:
    """The data categories of the fideslang taxonomy."""
    return frozenset(one.fides_key for one in DEFAULT_TAXONOMY.data_category or ())


def load_catalog(settings: Settings, *, more: Sequence[dict[str, Any]] = ()) -> Catalog:
    """Reads and compiles the configured platform, with ``more`` actions at its overlay's end. Raises CatalogError, naming
    the file.
    """
    platform = settings.platform
    digest = hashlib.sha256()
    openapi = _read(platform.openapi, digest)
    overlay = _read(platform.overlay, digest) if platform.overlay is not None else None
    if more:
        overlay = {"overlay": "1.0.0", **(overlay or {}), "actions": [*((overlay or {}).get("actions") or ()), *more]}
    try:
        return compile_catalog(
            openapi,
            overlay,
            hash=digest.hexdigest()[:16],
            categories=categories(),
        )
    except CatalogError as error:
        raise CatalogError(f"{platform.openapi}: {error}") from error


def _read(path: Path, digest: "hashlib._Hash") -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(DOCUMENT_MAX + 1)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > DOCUMENT_MAX:
        raise CatalogError(f"{path}: longer than {DOCUMENT_MAX} bytes")
    digest.update(len(data).to_bytes(8, "big") + data)
    try:
        text = data.removeprefix(codecs.BOM_UTF8)
        value = _DECODER.decode(text.decode("utf-8")) if text.lstrip()[:1] == b"{" else foreign_yaml(path, data)
    except ConfigProblems as error:
        raise CatalogError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CatalogError(f"{path}: must be an object")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object; remove one")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)
