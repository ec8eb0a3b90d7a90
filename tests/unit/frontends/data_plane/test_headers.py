"""Forwarding headers and trust, where a socket of the tests cannot come from."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from audit_proxy.frontends.data_plane.headers import PeerTrust, add_forwarding, judged_response, to_upstream


def forwarding(peer, headers=(), *, trusted=False):
    result = CIMultiDict()
    incoming = CIMultiDictProxy(CIMultiDict(headers))
    add_forwarding(result, incoming, peer, trusted=trusted, via="proxy", scheme="https")
    return dict(result)


def test_an_address_of_ipv6_is_quoted_in_forwarded_and_plain_in_x_forwarded_for():
    """RFC 7239 section 6."""
    assert forwarding("2001:db8::1") == {
        "Forwarded": 'for="[2001:db8::1]";proto=https',
        "X-Forwarded-For": "2001:db8::1",
        "X-Forwarded-Proto": "https",
        "Via": "1.1 proxy",
    }


def test_a_peer_without_an_address_is_unknown():
    """As behind a Unix socket."""
    assert forwarding(None)["Forwarded"] == "for=unknown;proto=https"


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("10.1.2.3", True), ("11.1.2.3", False), ("2001:db8::1", True), ("::1", False), (None, False), ("unix", False)],
)
def test_only_configured_networks_are_trusted(peer, trusted):
    assert (peer in PeerTrust(["10.0.0.0/8", "2001:db8::/32"])) is trusted


def test_without_networks_nobody_is_trusted():
    assert "127.0.0.1" not in PeerTrust([])


@pytest.mark.parametrize(
    "name", ["Transfer-Encoding", "Content-Length", "Host", "Connection", "Upgrade", "Range", "If-None-Match"]
)
def test_a_description_passes_nothing_that_frames_or_conditions(name):
    """A catalog that describes such a header, as vendors do, lets it through in neither direction of a judged operation."""
    headers = CIMultiDictProxy(CIMultiDict({name: "chunked", "X-Version": "7"}))
    described = frozenset({name.lower(), "x-version"})
    asked = to_upstream(headers, judged=True, described=described, credential=None, forward_token=True)
    assert name not in asked
    assert asked["X-Version"] == "7"
    if name in ("Transfer-Encoding", "Connection", "Upgrade"):
        assert dict(judged_response(headers, described)) == {"X-Version": "7"}


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Original-URL", "X-Forwarded-Method"])
def test_a_description_passes_nothing_that_names_another_operation(name):
    """What is judged is what is asked."""
    headers = CIMultiDictProxy(CIMultiDict({name: "DELETE"}))
    asked = to_upstream(headers, judged=True, described=frozenset({name.lower()}), credential=None, forward_token=True)
    assert name not in asked
