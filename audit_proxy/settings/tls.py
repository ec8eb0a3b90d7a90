"""TLS: which files, and the contexts that they make.

Invariants:

- TLS 1.2 at least; no compression, no renegotiation by the client.
- With ``client_ca`` a client's certificate is verified by exactly those authorities; the system's are never consulted.
- The private key is read only where nobody but its owner can (see ``secrets``).
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from cryptography import x509
from pydantic import model_validator

from audit_proxy.settings.secrets import SecretError, read_private
from audit_proxy.settings.shapes import Model


class TlsError(ValueError):
    """The files make no TLS server, with what to do about it."""


class Tls(Model):
    """A listener's TLS. PEM files: ``certificate`` holds the server's own first, then those that lead to its root."""

    certificate: Path
    key: Path  # mode 0600 or stricter, without a passphrase
    client_ca: Path | None = None  # authorities of clients' certificates
    client_certificate: Literal["required", "optional"] = "required"  # where client_ca is named

    @model_validator(mode="after")
    def _clients(self) -> Self:
        if self.client_certificate == "optional" and self.client_ca is None:
            raise ValueError("'client_certificate' goes with 'client_ca', and only with it")
        return self


def server_context(tls: Tls) -> ssl.SSLContext:
    """The context of a listener. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    load_identity(context, tls)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_certificate == "required" else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(cafile=tls.client_ca)
        except OSError as error:  # an ssl.SSLError is one
            raise TlsError(f"{tls.client_ca}: {_why(error, 'holds no PEM certificate of an authority')}") from error
    return context


def trusting_context(ca: Path | None) -> ssl.SSLContext:
    """The context of calls to a service whose certificate ``ca`` (PEM), or the system's authorities, vouch for. Raises
    TlsError.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise TlsError(f"{ca}: {_why(error, 'holds no PEM certificate of an authority')}") from error


def load_identity(context: ssl.SSLContext, tls: Tls) -> None:
    """Puts certificate and key into a context, for connections from now on. Raises TlsError; the context is then as before."""
    try:
        chain = x509.load_pem_x509_certificates(tls.certificate.read_bytes())
    except OSError as error:
        raise TlsError(f"{tls.certificate}: {_why(error, '')}") from error
    except ValueError as error:
        raise TlsError(f"{tls.certificate}: holds no PEM certificate") from error
    if chain[0].not_valid_after_utc < datetime.now(UTC):
        raise TlsError(
            f"{tls.certificate}: expired on {chain[0].not_valid_after_utc:%Y-%m-%d}; put a new one in its place"
        )
    try:
        read_private(tls.key)
    except SecretError as error:
        raise TlsError(str(error)) from error
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for target in (scratch, context):
        try:
            # an empty passphrase keeps OpenSSL from asking the terminal for one
            target.load_cert_chain(tls.certificate, tls.key, password="")
        except (OSError, ValueError) as error:
            text = "is no unencrypted PEM key, or not that of the certificate"
            raise TlsError(f"{tls.key}: {text} {tls.certificate}") from error


def _why(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
