"""The one judgement of a whole configuration, for ``serve`` and ``check-config`` alike: files, platform, and how they fit.

A problem stops the start; a doubt is said and stops nothing, since a platform may have words of its own.
"""

import difflib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fideslang.default_taxonomy import DEFAULT_TAXONOMY

from audit_proxy.core.catalog import Catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.core.catalog.model import Field, ObjectPlan
from audit_proxy.core.policy import App, Policy
from audit_proxy.settings.budgets import budget_doubts
from audit_proxy.settings.catalog import load_catalog
from audit_proxy.settings.files import ConfigProblems, Problem, read_yaml
from audit_proxy.settings.load import Loaded, load, load_settings_only
from audit_proxy.settings.model import Settings
from audit_proxy.settings.policy import unknown_operations
from audit_proxy.settings.reviews import unreviewed_problems

_CLOSE = 0.8  # how alike two scopes must be to think of a slip of the pen


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration without problems, and its platform compiled. ``doubts``: likely slips."""

    loaded: Loaded
    catalog: Catalog
    doubts: tuple[str, ...]


def check(path: Path) -> Checked:
    """Reads and judges everything. Raises ConfigProblems with all problems of all files, the platform's included."""
    problems: list[Problem] = []
    loaded = catalog = settings = None
    try:
        loaded = load(path)
        settings = loaded.settings
    except ConfigProblems as error:
        problems += error.problems
        settings = _settings_alone(path)
    if settings is not None and _documents_there(settings):
        try:
            catalog = load_catalog(settings)
            problems += _rules_without_operation(settings, catalog)
            problems += unreviewed_problems(loaded, catalog) if loaded is not None else ()
            if catalog.pages and not settings.cursors.keys:
                text = "cursors.keys: name a key; the platform's description marks cursors (x-cursor), which are sealed"
                problems.append(Problem(str(path), 0, 0, text))
        except CatalogError as error:
            problems.append(Problem("catalog", 0, 0, str(error)))
    if problems or loaded is None or catalog is None:
        raise ConfigProblems(problems)
    about_budgets = budget_doubts(loaded.budgets, loaded.apps, loaded.policy.unknown_app, time.time())
    every = [*doubts(loaded.policy, loaded.apps, catalog), *about_budgets]
    if loaded.default_budgets:
        every.append(f"budgets: there is no {loaded.settings.budgets}; the default budgets hold")
    return Checked(loaded, catalog, tuple(every))


def doubts(policy: Policy, apps: Mapping[str, App], catalog: Catalog) -> Iterator[str]:
    """Purposes that are no data use of the fideslang taxonomy, and approved scopes that nearly are the platform's."""
    profile = [policy.unknown_app] if policy.unknown_app is not None else []
    every = [*apps.values(), *profile]
    uses = {use.fides_key for use in DEFAULT_TAXONOMY.data_use or ()}
    for purpose, count in sorted(Counter(app.purpose for app in every if app.purpose).items()):
        if purpose not in uses:
            close = difflib.get_close_matches(purpose, uses, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            yield f"{_apps(count)}: the purpose '{purpose}' is no data use of the taxonomy{hint}"
    asked = _scopes(catalog)
    for scope, count in sorted(Counter(scope for app in every for scope in app.approved_scopes).items()):
        close = [] if scope in asked else difflib.get_close_matches(scope, asked, n=1, cutoff=_CLOSE)
        if close:
            yield f"{_apps(count)}: nothing on the platform asks for the scope '{scope}'; did you mean '{close[0]}'?"


def _settings_alone(path: Path) -> Settings | None:
    try:
        return load_settings_only(path)
    except ConfigProblems:  # told already
        return None


def _documents_there(settings: Settings) -> bool:
    documents = (settings.platform.openapi, settings.platform.overlay)
    return all(one is None or one.is_file() for one in documents)  # else told already, or still to be filled in


def _rules_without_operation(settings: Settings, catalog: Catalog) -> Collection[Problem]:
    try:
        return unknown_operations(read_yaml(settings.policy), {operation.id for operation in catalog.operations})
    except ConfigProblems:  # told already
        return ()


def _scopes(catalog: Catalog) -> set[str]:
    """Every scope that an operation, a parameter or a field asks for, or that another one implies."""
    found = {scope for implied in catalog.scope_implies.values() for scope in implied} | set(catalog.scope_implies)
    fields: list[Field] = []
    for operation in catalog.operations:
        found.update(*operation.requirements)
        parameters = [*operation.parameters.values(), *(operation.body.parameters.values() if operation.body else ())]
        found.update(*(one.scopes for one in parameters))
        fields += (media.field for response in operation.responses.values() for media in response.media.values())
    seen: set[int] = set()
    while fields:
        field = fields.pop()
        if id(field) not in seen:
            seen.add(id(field))
            found |= field.scopes
            fields += _inside(field)
    return found


def _inside(field: Field) -> Iterable[Field]:
    plans: list[ObjectPlan] = [field.object] if field.object is not None else []
    if field.variants is not None:
        plans += field.variants[1].values()
    if field.item is not None:
        yield field.item
    for plan in plans:
        yield from plan.fields.values()
        if plan.additional is not None:
            yield plan.additional


def _apps(count: int) -> str:
    return f"{count} app{'s' if count != 1 else ''}"
