"""The admin listener: consent, erasure, keys, retention, health, metrics, and the OpenAPI document that describes it.

``frontend`` has the listener and the way of every call: ``access`` (whose token, which role), ``trail`` (its record), then
``consent``, ``load``, ``keys`` or ``retention``, ``health``, ``openapi`` with its ``schemas``; ``problems`` has the refusals,
``call`` what a handler sees. I/O: the listener's sockets; everything else goes through ports.
"""

from audit_proxy.frontends.admin.frontend import AdminFrontend, AdminStore

__all__ = ["AdminFrontend", "AdminStore"]
