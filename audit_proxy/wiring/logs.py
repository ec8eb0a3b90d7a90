"""Operational logs: structlog, one JSON object a line on standard error.

Invariant: a log line never holds a token, a raw id, a query string or a body; call sites pass names and numbers only,
and exceptions are named by type, because their texts and tracebacks can quote data.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

_encoder = msgspec.json.Encoder(enc_hook=str)


def configure_logs(level: str) -> None:
    """Configures structlog, and the standard library's loggers (aiohttp's, asyncio's) to say no more than a type."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Quiet())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _render(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    return _encoder.encode(event).decode() + "\n"


class _Quiet(logging.Formatter):
    """A library's message may quote what it read; its template may not."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] is not None else None
        return _encoder.encode(
            {
                "level": record.levelname.lower(),
                "logger": record.name,
                "event": "library",
                "template": str(record.msg)[:80] if record.args else "",
                "error": kind,
            }
        ).decode()
