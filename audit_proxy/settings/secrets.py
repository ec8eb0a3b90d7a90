"""Secrets: read from a file or a command, never from the configuration itself, and never shown.

Invariants:

- A file is read only if nobody but its owner can, and if its owner is this process's user or root.
- No error text holds anything that was read, nor what a command wrote to standard error.
"""

import base64
import binascii
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from audit_proxy.settings.shapes import Secret

SECRET_MAX = 64 * 1024  # bytes
COMMAND_TIMEOUT_S = 20.0
KEY_BYTES = 32


class SecretError(ValueError):
    """A secret cannot be read, with what to do about it."""


def read_secret(secret: Secret, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes:
    """The secret's bytes without their last line break. Raises SecretError."""
    value = read_private(secret.file) if secret.file is not None else _run(secret.command or [], timeout_s)
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise SecretError(f"the secret from {_source(secret)} is empty")
    return value


def read_key(secret: Secret, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes:
    """A key of 32 bytes, kept as base64 text (as ``audit-proxy init`` writes it). Raises SecretError."""
    return _key(read_secret(secret, timeout_s=timeout_s), _source(secret))


def read_credential(secret: Secret, *, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """A value for the Authorization header, such as ``Bearer …``. Raises SecretError."""
    value = read_secret(secret, timeout_s=timeout_s)
    if not value.isascii() or not (text := value.decode()).isprintable() or text != text.strip():
        raise SecretError(f"{_source(secret)} does not hold the value of a header: one line of visible ASCII")
    return text


def check_secret(secret: Secret, read: Callable[[Secret], object]) -> str | None:
    """What is wrong with a secret, as far as can be seen without running its command. ``read``: how it will be read."""
    if secret.command is not None:
        if not secret.command:
            return "'command' is empty; name a program and its arguments"
        if shutil.which(secret.command[0]) is None:
            return f"the program {secret.command[0]!r} is not found or cannot be run"
        return None
    try:
        read(secret)
    except SecretError as error:
        return str(error)
    return None


def read_private(path: Path) -> bytes:
    """The bytes of a file that only its owner can read or change. Raises SecretError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold the start up
    except FileNotFoundError:
        raise SecretError(f"{path} does not exist; 'audit-proxy init' makes one") from None
    except OSError as error:
        raise SecretError(f"{path} cannot be read: {error.strerror}") from None
    try:
        _judge(path, os.fstat(descriptor))  # of the very file that is read, not of what the path names by then
        with open(descriptor, "rb", closefd=False) as file:
            value = file.read(SECRET_MAX + 1)
    finally:
        os.close(descriptor)
    if len(value) > SECRET_MAX:
        raise SecretError(f"{path} is longer than {SECRET_MAX} bytes")
    return value


def _judge(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"{path} is not a regular file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise SecretError(f"{path} can be used by others (mode {mode:04o}); run: chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise SecretError(f"{path} belongs to another user; make the user that runs audit-proxy its owner")


def _run(command: list[str], timeout_s: float) -> bytes:
    if not command:
        raise SecretError("'command' is empty; name a program and its arguments")
    try:
        done = subprocess.run(  # noqa: S603  (the operator's own command, from a file only they can change; no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SecretError(f"the command {command[0]!r} did not end within {timeout_s:g} s") from None
    except OSError as error:
        raise SecretError(f"the command {command[0]!r} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise SecretError(
            f"the command {command[0]!r} ended with exit code {done.returncode}; run it by hand to see why"
        )
    if len(done.stdout) > SECRET_MAX:
        raise SecretError(f"the command {command[0]!r} printed more than {SECRET_MAX} bytes")
    return done.stdout


def _key(text: bytes, source: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretError(
            f"{source} does not hold base64 text of {KEY_BYTES} bytes; 'audit-proxy init' makes such keys"
        )
    return key


def _source(secret: Secret) -> str:
    return str(secret.file) if secret.file is not None else f"the command {(secret.command or [''])[0]!r}"
