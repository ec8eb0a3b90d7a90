"""What is a request to this API at all, beyond what the HTTP parser refuses by itself.

Invariants:

- One reading only: what another server could frame, route or answer differently is refused in every mode, before anything
  is judged or forwarded. It is counted, not recorded: no operation and nobody's data is named by it.
- Origin form only (RFC 9112 section 3.2.1): CONNECT, TRACE, ``OPTIONS *`` and absolute targets ask a proxy or a server for
  things that no operation of a platform's API describes; TRACE would echo what the proxy adds.

The parser is llhttp, in aiohttp strict for requests: it refuses Content-Length with Transfer-Encoding or twice, folded
lines, bare CR and LF, white space around names, control characters, and chunk sizes that are no plain hexadecimal number.
"""

import re
from itertools import chain

from aiohttp import HttpVersion10, HttpVersion11, web

from audit_proxy.core.errors import Reason, Refusal

_TARGET = re.compile(r"/[!\"$-~]*\Z")  # visible ASCII without '#'
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")  # RFC 3986 host and port, no user
_PROXYING = frozenset({"CONNECT", "TRACE"})


def unacceptable(request: web.BaseRequest, header_bytes: int | None) -> Refusal | None:
    """Why a parsed request is not taken. ``header_bytes``: the most that all names and values may have together; None: its
    fields are known to be acceptable.
    """
    if request.version is not HttpVersion11 and request.version != HttpVersion10:
        return _malformed("the version must be HTTP/1.0 or HTTP/1.1")
    if _TARGET.match(request.raw_path) is None or request.method in _PROXYING:
        return _malformed("the request must name a path of this API, percent-encoded, in origin form")
    if header_bytes is None:
        return None
    headers = request.headers
    host = headers.get("Host")
    if (host is None or _HOST.match(host) is None) and (host is not None or request.version is HttpVersion11):
        return _malformed("the Host header must be a host, with a port or without")
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or request.version is not HttpVersion11):
        return _malformed("the only transfer coding is 'chunked', in HTTP/1.1")
    if sum(map(len, chain.from_iterable(request.raw_headers))) > header_bytes:
        return Refusal(Reason.request_too_large, f"the headers are larger than {header_bytes} bytes")
    return None


def _malformed(detail: str) -> Refusal:
    return Refusal(Reason.request_malformed, detail)
