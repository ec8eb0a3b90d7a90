"""The listeners' certificates: made into contexts at start, read anew on SIGHUP."""

import ssl

import structlog

from audit_proxy.settings.tls import Tls, TlsError, load_identity, server_context

_log = structlog.get_logger("audit_proxy")


class Certificates:
    """Every context that was made, with what it was made of."""

    def __init__(self) -> None:
        self._made: list[tuple[ssl.SSLContext, Tls]] = []

    def context(self, tls: Tls | None) -> ssl.SSLContext | None:
        """A listener's context; None for plain HTTP. Raises TlsError."""
        if tls is None:
            return None
        context = server_context(tls)
        self._made.append((context, tls))
        return context

    def reload(self) -> None:
        """Certificates and keys anew, for connections from now on. What cannot be used leaves the former one in force."""
        for context, tls in self._made:
            try:
                load_identity(context, tls)
            except TlsError as error:
                _log.error("certificate_kept", problem=str(error))
            else:
                _log.info("certificate_loaded", certificate=str(tls.certificate))
