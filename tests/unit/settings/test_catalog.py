"""The platform's documents as they are read, before they are compiled."""

import codecs

import pytest

from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.settings import catalog
from audit_proxy.settings.catalog import categories, load_catalog
from audit_proxy.settings.model import Platform, Settings

OPENAPI = (
    '{"openapi": "3.0.3", "info": {"title": "T", "version": "1"}, "paths": {"/me": {"get": {"operationId": "getMe",'
    ' "security": [{"o": ["profile"]}], "responses": {"200": {"description": "me", "content": {"application/json":'
    ' {"schema": {"type": "object", "x-data-subject": "/id", "properties": {"id": {"type": "string",'
    ' "x-data-category": "user.unique_id"}}}}}}}}}}}'
)


@pytest.fixture
def read(tmp_path):
    """Compiles what is given as the platform's OpenAPI document, and as its overlay."""

    def compiled(openapi: bytes, overlay: bytes | None = None):
        (tmp_path / "openapi").write_bytes(openapi)
        named = None
        if overlay is not None:
            named = tmp_path / "overlay"
            named.write_bytes(overlay)
        platform = Platform(openapi=tmp_path / "openapi", overlay=named)
        return load_catalog(Settings.model_construct(platform=platform))

    return compiled


def test_json_and_yaml_with_and_without_a_byte_order_mark_are_one_platform(read):
    for text in (OPENAPI.encode(), codecs.BOM_UTF8 + OPENAPI.encode(), b"# yaml\n" + OPENAPI.encode()):
        assert [operation.id for operation in read(text).operations] == ["getMe"]


def test_the_hash_is_of_both_documents(read):
    """No byte can move from one document to the other unseen."""
    overlay = b'{"overlay": "1.0.0", "info": {"title": "O", "version": "1"}, "actions": [{"target": "$.info", "update": {"title": "U"}}]}'
    hashes = {
        read(OPENAPI.encode()).hash,
        read(OPENAPI.encode() + b" ").hash,
        read(OPENAPI.encode(), overlay).hash,
        read(OPENAPI.encode() + b" ", overlay).hash,
        read(OPENAPI.encode(), b" " + overlay).hash,
    }
    assert len(hashes) == 5
    assert all(len(one) == 16 for one in hashes)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (OPENAPI.replace('"paths"', '"paths": {}, "paths"').encode(), "the key 'paths' stands twice"),
        (
            b"# yaml\n" + OPENAPI.replace('"paths"', '"paths": {}, "paths"').encode(),
            "the key 'paths' stands here a second",
        ),
        (OPENAPI.replace('"3.0.3"', "NaN").encode(), "NaN is no value of JSON"),
        (OPENAPI.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a":' * 100_000, "not valid JSON"),
        (b"a: " + b"[" * 100_000, "nested deeper"),
        (b"[]", "must be an object"),
        (b"", "must be an object"),
        (b"{}", "openapi: must be 3.0.x or 3.1.x"),
    ],
)
def test_a_document_that_two_readers_could_read_differently_is_refused(read, tmp_path, document, what):
    with pytest.raises(CatalogError) as raised:
        read(document)
    assert what in str(raised.value)
    assert str(tmp_path / "openapi") in str(raised.value)


def test_a_document_past_its_bound_or_absent_is_refused(read, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "DOCUMENT_MAX", len(OPENAPI))
    read(OPENAPI.encode())
    with pytest.raises(CatalogError, match="longer than"):
        read(OPENAPI.encode() + b" ")
    gone = Settings.model_construct(platform=Platform(openapi=tmp_path / "gone"))
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(gone)


def test_categories_are_the_taxonomy_s():
    assert {"user.name", "user.contact.email"} <= categories()
