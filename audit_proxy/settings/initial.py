"""A first configuration: keys, admin tokens, and the shipped files with what is known filled in.

Invariants:

- Nothing that exists is overwritten, ever: a new key beside an old log would orphan it.
- Every file is made with mode 0600, complete on disk, or not at all.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from audit_proxy.settings import admin_tokens
from audit_proxy.settings.secrets import KEY_BYTES
from audit_proxy.settings.shipped import shipped

ADMIN_TOKENS: dict[str, admin_tokens.Role] = {"operator": "admin", "consent-service": "consent", "monitoring": "reader"}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the operator knows already; what is None stays to be filled in."""

    upstream: str | None = None
    openapi: Path | None = None
    overlay: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    jwks_url: str | None = None
    jwks_file: Path | None = None
    algorithms: tuple[str, ...] = ("RS256",)


@dataclass(frozen=True, slots=True)
class Made:
    """What was made. ``tokens`` by name, stored nowhere else."""

    files: tuple[Path, ...]
    tokens: Mapping[str, str] = field(repr=False)


class FilesExist(Exception):  # noqa: N818  (the answer is no, nothing broke)
    """Files that would have been overwritten."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        super().__init__(", ".join(map(str, files)))


def make(directory: Path, answers: Answers) -> Made:
    """Makes a configuration in ``directory``, which may exist. Raises FilesExist, and OSError with nothing left behind."""
    tokens_text, tokens = admin_tokens.create(ADMIN_TOKENS)
    folder = shipped()
    texts = {
        "audit-proxy.yaml": filled((folder / "audit-proxy.yaml").read_text("utf-8"), answers, directory),
        "policy.yaml": (folder / "policy.yaml").read_text("utf-8"),
        "apps.yaml": (folder / "apps.yaml").read_text("utf-8"),
        "budgets.yaml": (folder / "budgets.yaml").read_text("utf-8"),
        "admin-tokens.yaml": tokens_text,
        "keys/log-signing.key": _new_key(),
        "keys/pseudonym.key": _new_key(),
        "keys/cursor.key": _new_key(),
    }
    existing = [directory / name for name in texts if os.path.lexists(directory / name)]
    if existing:
        raise FilesExist(existing)
    for place in (directory, directory / "keys", directory / "state"):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[Path] = []
    try:
        for name, text in texts.items():
            _write_new(directory / name, text)
            made.append(directory / name)
    except FileExistsError as error:  # made by somebody else since the look above
        _remove(made)
        raise FilesExist([Path(error.filename)]) from None
    except OSError:
        _remove(made)
        raise
    return Made(tuple(made), tokens)


def make_key(path: Path) -> bytes:
    """Makes a key of its own in a new file; its 32 bytes. Raises FileExistsError, OSError."""
    text = _new_key()
    _write_new(path, text)
    return base64.b64decode(text)


def filled(template: str, answers: Answers, directory: Path) -> str:
    """The shipped ``audit-proxy.yaml`` with the answers in place of what is to be filled in."""
    text = template
    if answers.upstream is not None:
        text = _line(text, "  url: https://FILL-IN.example ", f"  url: {_scalar(answers.upstream)} ")
    if answers.openapi is not None:
        text = _line(text, "  openapi: FILL-IN/openapi.yaml ", f"  openapi: {_path(answers.openapi, directory)} ")
        if answers.overlay is None:
            text = _line(text, "  overlay: FILL-IN/overlay.yaml ", "  # overlay: overlay.yaml ")
    if answers.overlay is not None:
        text = _line(text, "  overlay: FILL-IN/overlay.yaml ", f"  overlay: {_path(answers.overlay, directory)} ")
    if answers.issuer is not None:
        text = _line(text, "issuer: https://FILL-IN.example/ ", f"issuer: {_scalar(answers.issuer)} ")
    if answers.audience is not None:
        text = _line(text, "audience: FILL-IN ", f"audience: {_scalar(answers.audience)} ")
    url = "      jwks_url: https://FILL-IN.example/.well-known/jwks.json\n"
    if answers.jwks_url is not None:
        text = _line(text, url, f"      jwks_url: {_scalar(answers.jwks_url)}\n")
    elif answers.jwks_file is not None:
        text = _line(text, url, "      # jwks_url: https://issuer.example/.well-known/jwks.json\n")
        named = _path(answers.jwks_file, directory)
        text = _line(text, "      # jwks_file: keys/issuer.jwks.json\n", f"      jwks_file: {named}\n")
    return _line(text, "algorithms: [RS256] ", f"algorithms: [{', '.join(answers.algorithms)}] ")


def _line(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"the shipped configuration does not hold {old!r} once")
    return text.replace(old, new)


def _scalar(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON text is a YAML text


def _path(path: Path, directory: Path) -> str:
    """Relative to the configuration where it lies below it, so that the folder can be moved."""
    absolute, base = path.absolute(), directory.absolute()
    return _scalar(str(absolute.relative_to(base) if absolute.is_relative_to(base) else absolute))


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n"


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
