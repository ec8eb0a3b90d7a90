"""The platform's documents, read and compiled: JSON or YAML as the vendor wrote it.

Unlike our own configuration, a vendor's YAML may have unquoted status codes as keys (``200:``); they are read as text.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from audit_proxy.core.catalog import Catalog, compile_catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.settings.files import core_scalar
from audit_proxy.settings.model import Settings

DOCUMENT_MAX = 64 * 1024 * 1024  # bytes
_NODES_MAX = 2_000_000


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
        value = json.loads(data) if data.lstrip()[:1] == b"{" else _yaml(data)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise CatalogError(f"{path}: is neither JSON nor YAML: {error}") from error
    if not isinstance(value, dict):
        raise CatalogError(f"{path}: must be an object")
    return value


def _yaml(data: bytes) -> Any:
    loader = yaml.CSafeLoader(data) if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader(data)
    try:
        root = loader.get_single_node()
    finally:
        loader.dispose()
    return _value(root, [0])


def _value(node: yaml.Node | None, count: list[int]) -> Any:
    count[0] += 1
    if count[0] > _NODES_MAX:
        raise ValueError(f"more than {_NODES_MAX} values, aliases written out")
    if node is None:
        return None
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(  # noqa: TRY004  (the document's fault, not a caller's)
                    f"line {key.start_mark.line + 1}: a key must be a scalar"
                )
            if key.value in found:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value!r} stands here a second time")
            found[key.value] = _value(value, count)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(one, count) for one in node.value]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None and node.tag != "!"
    return core_scalar(node.value) if plain else node.value
