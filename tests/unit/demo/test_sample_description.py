"""The sample platform's OpenAPI document and overlay: valid, plain, and complete."""

import json
import re

import pytest
import yaml
from openapi_spec_validator import validate

from audit_proxy.core.catalog import compile_catalog
from audit_proxy.core.catalog.overlay import apply_overlay
from audit_proxy.settings.catalog import categories
from audit_proxy.settings.shipped import shipped

SAMPLE = shipped() / "platforms" / "sample"


@pytest.fixture(scope="module")
def openapi():
    return yaml.safe_load((SAMPLE / "openapi.yaml").read_text())


@pytest.fixture(scope="module")
def overlay():
    return yaml.safe_load((SAMPLE / "overlay.yaml").read_text())


def compiled(openapi, overlay):
    return compile_catalog(openapi, overlay, hash="x", categories=categories())


def test_the_vendors_file_is_plain_openapi(openapi):
    """The description is valid OpenAPI 3.1 and holds no extension of ours."""
    validate(openapi)
    assert not re.findall(r"(?:^|[{,])\s*x-[a-z-]+:", (SAMPLE / "openapi.yaml").read_text(), re.MULTILINE)


def test_the_overlay_applies_completely(openapi, overlay):
    """Every action of the overlay has a target, and what comes out is still valid OpenAPI."""
    merged, findings = apply_overlay(openapi, overlay)
    assert findings == []
    validate(merged)


def test_nothing_is_forgotten(openapi, overlay):
    """The compiled catalog has no findings: every leaf has a category that the taxonomy knows."""
    assert compiled(openapi, overlay).findings == ()


def test_every_operation_is_reviewed_as_it_is(openapi, overlay):
    """The demo enforces; after a change, ``audit-proxy catalog review`` (see the platform's README)."""
    states = {one.id: one.review_state.value for one in compiled(openapi, overlay).operations}
    assert states == dict.fromkeys(states, "reviewed")


def test_without_the_overlay_nothing_is_classified(openapi):
    """The vendor's file alone leaves findings: it is the overlay that says whose data it is."""
    assert compile_catalog(openapi, None, hash="x", categories=categories()).findings


def test_only_two_operations_are_nobodys(openapi, overlay):
    """Unjudged as a whole: the status and the blobs, and nothing else by accident."""
    assert {one.id for one in compiled(openapi, overlay).operations if one.unjudged} == {
        "getStatus",
        "getMedia",
        "putMedia",
    }


def test_scopes_are_declared(openapi, overlay):
    """Every scope that an operation, a property or an implication names is one that the document declares."""
    merged, _ = apply_overlay(openapi, overlay)
    scheme = merged["components"]["securitySchemes"]["oauth"]
    declared = set(scheme["flows"]["authorizationCode"]["scopes"])
    named = set(scheme["x-scope-implies"]) | {one for many in scheme["x-scope-implies"].values() for one in many}

    def collect(value):
        if isinstance(value, dict):
            named.update(value.get("x-required-scopes", ()))
            for alternative in value.get("security", ()) if isinstance(value.get("security"), list) else ():
                named.update(alternative.get("oauth", ()))
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(merged)
    assert named <= declared
    assert json.dumps(sorted(declared - named)) == "[]"
