"""The one entry that reads the whole configuration, and says everything that is wrong with it at once.

Invariants:

- What is still to be filled in, unreadable, readable by others, or unknown stops the start.
- So does a file that anybody on the machine can change: it names the commands that are run for secrets.
"""

import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import jwt
from pydantic import BaseModel, ValidationError

from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.core.jose import JWKS_MAX, PRIVATE_KEY, NotStrict, hmac_keys, parse_jwks
from audit_proxy.core.policy import App, Policy
from audit_proxy.settings import admin_tokens
from audit_proxy.settings.apps import OTHER, parse_apps
from audit_proxy.settings.audit import Audit
from audit_proxy.settings.budgets import parse_budgets, unknown_apps
from audit_proxy.settings.files import ConfigProblems, Document, Loc, Problem, read_yaml
from audit_proxy.settings.model import Settings
from audit_proxy.settings.policy import HASH_LENGTH, parse_policy
from audit_proxy.settings.secrets import check_secret, read_credential, read_key, read_secret
from audit_proxy.settings.shapes import Secret
from audit_proxy.settings.tls import Tls, TlsError, server_context, trusting_context
from audit_proxy.settings.validate import validated

__all__ = ["FILL_IN", "ConfigProblems", "Loaded", "Problem", "load", "load_settings_only"]

FILL_IN = "FILL-IN"  # stands in a new configuration wherever only its owner knows the value
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A whole configuration. Paths in ``settings`` are absolute; ``apps`` by client id; hashes of the files' bytes."""

    settings: Settings
    policy: Policy
    apps: Mapping[str, App]
    apps_hash: str
    budgets: Budgets
    default_budgets: bool  # there is no budgets.yaml


def load(path: Path) -> Loaded:
    """Reads ``audit-proxy.yaml`` and all it names. Raises ConfigProblems with every problem in every file."""
    problems: list[Problem] = []
    document = read_yaml(path)
    settings = policy = apps = None
    try:
        settings = _settings(document)
    except ConfigProblems as error:
        problems += error.problems
    problems += _changeable(document)
    problems += _unfilled(document)
    problems += _files_named(document)
    policy_document = _companion(document, "policy", problems)
    if policy_document is not None:
        try:
            policy = parse_policy(policy_document)
        except ConfigProblems as error:
            problems += error.problems
    apps_document = _companion(document, "apps", problems)
    if apps_document is not None:
        try:
            apps = {entry.id: entry.app() for entry in parse_apps(apps_document).apps}
        except ConfigProblems as error:
            problems += error.problems
    budgets = Budgets()
    budgets_document = _companion(document, "budgets", problems) if _has_budgets(document) else None
    if budgets_document is not None:
        try:
            budgets = parse_budgets(budgets_document)
            problems += unknown_apps(budgets_document, apps) if apps is not None else ()
        except ConfigProblems as error:
            problems += error.problems
    if problems or settings is None or policy is None or apps is None or apps_document is None:
        files = list(dict.fromkeys(problem.file for problem in problems))
        raise ConfigProblems(sorted(problems, key=lambda one: (files.index(one.file), one.line, one.column)))
    apps = _labelled(apps, settings.metrics.max_app_labels)
    apps_hash = sha256(apps_document.data).hexdigest()[:HASH_LENGTH]
    return Loaded(settings, policy, apps, apps_hash, budgets, budgets_document is None)


def _labelled(apps: Mapping[str, App], limit: int) -> dict[str, App]:
    """The first ``limit`` apps are their own label in metrics, the others share one: the same ones on every node."""
    return {
        client_id: app if number < limit else replace(app, label=OTHER)
        for number, (client_id, app) in enumerate(apps.items())
    }


def load_settings_only(path: Path) -> Settings:
    """``audit-proxy.yaml`` alone, for commands that need no more. Raises ConfigProblems."""
    return _settings(read_yaml(path))


def _settings(document: Document) -> Settings:
    return _absolute(validated(Settings, document), document.path.parent.absolute())


def _absolute(model: M, base: Path) -> M:
    """The model with each relative path in it taken from ``base``."""
    return model.model_copy(update={name: _rebased(getattr(model, name), base) for name in type(model).model_fields})


def _rebased(value: Any, base: Path) -> Any:
    if isinstance(value, Path):
        return base / value
    if isinstance(value, BaseModel):
        return _absolute(value, base)
    if isinstance(value, list):
        return [_rebased(one, base) for one in value]
    return value


def _companion(document: Document, name: str, problems: list[Problem]) -> Document | None:
    """The document that the main one names (or its default), even where the main one has other problems."""
    named = _at(document.value, (name,))
    path = document.path.parent / (named if isinstance(named, str) else Settings.model_fields[name].default)
    try:
        companion = read_yaml(path)
    except ConfigProblems as error:
        problems += error.problems
        return None
    problems += _changeable(companion)
    return companion


def _has_budgets(document: Document) -> bool:
    """Whether ``budgets.yaml`` is to be read: it is named, or there."""
    default = document.path.parent / Settings.model_fields["budgets"].default
    return _at(document.value, ("budgets",)) is not None or default.exists()


def _changeable(document: Document) -> Iterator[Problem]:
    if document.path.stat().st_mode & stat.S_IWOTH:
        yield Problem(
            str(document.path), 0, 0, f"can be changed by anybody on this machine; run: chmod o-w {document.path}"
        )


def _unfilled(document: Document) -> Iterator[Problem]:
    for loc, value in _texts(document.value, ()):
        if FILL_IN in value:
            yield document.problem(loc, f"{document.named(loc)}: still to be filled in; replace {FILL_IN}")


def _texts(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield from _texts(inside, (*loc, name))
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _texts(inside, (*loc, number))


def _at(value: Any, loc: Loc) -> Any:
    """The value at ``loc`` in a parsed file, None where there is none."""
    for part in loc:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _files_named(document: Document) -> Iterator[Problem]:
    """Problems with the files that the main one names. Judged from the parsed text, so that one problem hides no other."""
    base = document.path.parent.absolute()
    yield from _keys_of_the_log(document, base)
    yield from _keys_of_cursors(document, base)
    for listener in ("data", "admin"):
        yield from _tls_at(document, base, (listener, "tls"))
    yield from _secret_at(document, base, ("upstream", "service_credential"), read_credential)
    issuers = _at(document.value, ("identity", "issuers"))
    for number, issuer in enumerate(issuers if isinstance(issuers, list) else []):
        place: Loc = ("identity", "issuers", number)
        names = _at(issuer, ("algorithms",))
        pinned = frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
        yield from _secret_at(document, base, (*place, "hmac_secret"), shared_for=pinned)
        yield from _jwks_at(document, base, (*place, "jwks_file"), pinned)
    platforms = _at(document.value, ("identity", "introspection"))
    for number in range(len(platforms) if isinstance(platforms, list) else 0):
        yield from _secret_at(document, base, ("identity", "introspection", number, "client_secret"))
    yield from _secret_at(document, base, ("platform", "subject_ids", "secret"))
    targets = _at(document.value, ("audit", "checkpoints", "targets"))
    for number in range(len(targets) if isinstance(targets, list) else 0):
        place = ("audit", "checkpoints", "targets", number)
        yield from _secret_at(document, base, (*place, "secret"))
        named = _at(document.value, (*place, "ca"))
        if isinstance(named, str) and (problem := _authority_problem(base / named)) is not None:
            yield document.problem((*place, "ca"), f"{document.named((*place, 'ca'))}: {problem}")
    for name in ("openapi", "overlay"):
        loc = ("platform", name)
        named = _at(document.value, loc)
        if isinstance(named, str) and FILL_IN not in named and not (base / named).is_file():
            yield document.problem(loc, f"{document.named(loc)}: {base / named} is no file")
    table = ("platform", "subject_ids", "table")
    named = _at(document.value, table)
    if isinstance(named, str) and FILL_IN not in named and not (base / named).is_file():
        yield document.problem(table, f"{document.named(table)}: {base / named} is no file")
    named = _at(document.value, ("admin", "tokens_file")) or "admin-tokens.yaml"
    if isinstance(named, str):
        try:
            admin_tokens.load(base / named)
        except ConfigProblems as error:
            yield from error.problems


def _keys_of_the_log(document: Document, base: Path) -> Iterator[Problem]:
    sources = []
    named = _at(document.value, ("audit", "directory"))
    log = base / (named if isinstance(named, str) else Audit.model_fields["directory"].default)
    begun = (log / "checkpoint").exists()
    for name in ("signing_key", "pseudonym_key"):
        for problem in _secret_at(document, base, ("audit", name), read_key):
            also = (
                f"; the log in {log} goes on with the key it began with only: put back a copy of that" if begun else ""
            )
            yield replace(problem, text=problem.text + also)
        sources.append(_at(document.value, ("audit", name)))
    if sources[0] is not None and sources[0] == sources[1]:
        yield document.problem(
            ("audit", "pseudonym_key"), "audit.pseudonym_key: is the signing key; use a key of its own"
        )


def _keys_of_cursors(document: Document, base: Path) -> Iterator[Problem]:
    keys = _at(document.value, ("cursors", "keys"))
    others = [_at(document.value, ("audit", name)) for name in ("signing_key", "pseudonym_key")]
    for number, key in enumerate(keys if isinstance(keys, list) else []):
        loc: Loc = ("cursors", "keys", number)
        yield from _secret_at(document, base, loc, read_key)
        if key in (*others, *keys[:number]):
            yield document.problem(loc, f"{document.named(loc)}: is another key's; use a key of its own")


def _secret_at(
    document: Document,
    base: Path,
    loc: Loc,
    read: Callable[[Secret], object] = read_secret,
    *,
    shared_for: frozenset[str] = frozenset(),
) -> Iterator[Problem]:
    try:
        secret = _absolute(Secret.model_validate(_at(document.value, loc)), base)
    except ValidationError:  # absent, or told already with the rest of the file
        return
    problem = check_secret(secret, read)
    if problem is None and shared_for and secret.file is not None:
        try:
            hmac_keys(read_secret(secret), shared_for)
        except ValueError as error:
            problem = str(error)
    if problem is not None:
        yield document.problem(loc, f"{document.named(loc)}: {problem}")


def _tls_at(document: Document, base: Path, loc: Loc) -> Iterator[Problem]:
    try:
        server_context(_absolute(Tls.model_validate(_at(document.value, loc)), base))
    except ValidationError:  # absent, or told already with the rest of the file
        return
    except TlsError as error:
        yield document.problem(loc, f"{document.named(loc)}: {error}")


def _authority_problem(ca: Path) -> str | None:
    try:
        trusting_context(ca)
    except TlsError as error:
        return str(error)
    return None


def _jwks_at(document: Document, base: Path, loc: Loc, pinned: frozenset[str]) -> Iterator[Problem]:
    named = _at(document.value, loc)
    if not isinstance(named, str) or FILL_IN in named or not pinned:
        return
    problem = _jwks_problem(base / named, pinned)
    if problem is not None:
        yield document.problem(loc, f"{document.named(loc)}: {base / named}: {problem}")


def _jwks_problem(path: Path, pinned: frozenset[str]) -> str | None:
    try:
        with path.open("rb") as file:
            document = file.read(JWKS_MAX + 1)
        usable, unusable = parse_jwks(document, pinned)
        for jwk in usable:
            jwt.PyJWK(dict(jwk.members), min(jwk.algorithms))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except NotStrict as error:
        return str(error)
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):  # e.g. a point that is not on its curve
        return "one of its keys has numbers that are no key"
    leaked = [text for text in unusable if text.endswith(PRIVATE_KEY)]
    if leaked:
        return "; ".join(leaked)
    if not usable:
        return "no usable key: " + ("; ".join(unusable[:10]) or "the set is empty")
    return None
