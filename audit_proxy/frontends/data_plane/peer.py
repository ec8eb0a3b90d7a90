"""The other end of a connection, as TLS verified it."""

import asyncio
from functools import lru_cache
from hashlib import sha256

from cryptography import x509

from audit_proxy.core.exchange import Peer


def peer_of(transport: asyncio.BaseTransport | None) -> Peer | None:
    """The client whose certificate this connection's handshake verified; None without one. About 1 µs."""
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    # the dict is filled only for a certificate that was verified, the bytes for any that was shown
    if tls is None or not tls.getpeercert():
        return None
    return certified(tls.getpeercert(binary_form=True))


@lru_cache(maxsize=1000)
def certified(certificate: bytes) -> Peer:
    """The names of a client by its certificate (DER)."""
    parsed = x509.load_der_x509_certificate(certificate)
    names = {f"sha256:{sha256(certificate).hexdigest()}", f"subject:{parsed.subject.rfc4514_string()}"}
    try:
        others = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Peer(frozenset(names))
    names.update(f"dns:{name.lower()}" for name in others.get_values_for_type(x509.DNSName))
    names.update(f"uri:{uri}" for uri in others.get_values_for_type(x509.UniformResourceIdentifier))
    return Peer(frozenset(names))
