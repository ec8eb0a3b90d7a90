"""Reviews of the catalog: what enforce needs of them, and how they get into the overlay.

Invariants:

- What is in enforce has been reviewed as it is now, unless ``unsafe_enforce_unreviewed`` permits it.
- A review is a line of its own at the end of the overlay; nothing else of the file changes, which is checked.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audit_proxy.core.catalog import Catalog, Operation
from audit_proxy.core.catalog.reviews import COMPONENTS, MARK, Review, ReviewState, target
from audit_proxy.core.policy import App, Mode, Policy
from audit_proxy.settings.apps import AppsFile
from audit_proxy.settings.catalog import load_catalog
from audit_proxy.settings.files import ConfigProblems, Document, Loc, Problem, foreign_yaml, read_yaml
from audit_proxy.settings.load import Loaded
from audit_proxy.settings.model import Settings
from audit_proxy.settings.validate import validated

_SHOWN = 6  # operations that one problem names
_NEW = 'overlay: 1.0.0\ninfo: { title: Reviews, version: "1" }\nactions:\n'
_ACTIONS = re.compile(r"^actions:[ \t]*(?:#.*)?\r?\n(?:[ \t]*(?:#.*)?\r?\n)*([ ]*)- ", re.MULTILINE)
_LINE = re.compile(r'[ ]*- \{ target: ("(?:[^"\\]|\\.)*"), update: \{ x-reviewed: \{.*\} \} \}[ \t]*\r?\n?')


class NotReviewable(Exception):  # noqa: N818  (wrong use, told to whoever asked)
    """The review cannot be made; the text says why and what to do. ``lines``: what to write by hand, where that helps."""

    def __init__(self, text: str, lines: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.lines = tuple(lines)


# -- what enforce needs ----------------------------------------------------------------------------------------------------


def one_of_each_mode(policy: Policy, apps: Iterable[App]) -> list[App | None]:
    """Enough apps to find every mode with: one for each that apps have, the default profile, and none at all."""
    everyone = (*apps, *((policy.unknown_app,) if policy.unknown_app is not None else ()))
    return [None, *{app.mode: app for app in everyone}.values()]


def modes_of(policy: Policy, apps: Collection[App | None], operation: str) -> set[Mode]:
    """The modes in which an operation can be asked for. ``apps`` as from ``one_of_each_mode``."""
    return {policy.mode_for(app, operation) for app in apps}


def not_reviewed(policy: Policy, apps: Iterable[App], catalog: Catalog) -> list[Operation]:
    """The operations that are in enforce, for some app at least, and not reviewed as they are now."""
    some = one_of_each_mode(policy, apps)
    return [
        one
        for one in catalog.operations
        if one.review_state is not ReviewState.reviewed and Mode.enforce in modes_of(policy, some, one.id)
    ]


def unreviewed_problems(loaded: Loaded, catalog: Catalog) -> Iterator[Problem]:
    """A problem at each place that puts unreviewed operations into enforce, unless policy permits it."""
    policy = loaded.policy
    found = not_reviewed(policy, loaded.apps.values(), catalog)
    if not found or policy.unsafe_enforce_unreviewed:
        return
    document = read_yaml(loaded.settings.policy)
    by_place: dict[Loc | None, list[Operation]] = {}
    for one in found:
        by_place.setdefault(_place(policy, one.id), []).append(one)
    for loc, operations in by_place.items():
        where, key = (document, loc) if loc is not None else _apps_place(loaded)
        yield where.problem(key, f"mode: enforce, but {_told(operations)}")


def _place(policy: Policy, operation: str) -> Loc | None:
    """Where ``policy.yaml`` puts an operation into enforce; None where an app's mode does."""
    rule = policy.operations.get(operation)
    if rule is not None and rule.mode is not None:
        return ("operations", operation, "mode")
    if policy.mode is Mode.enforce:
        return ("mode",)
    profile = policy.unknown_app
    return ("unknown_apps", "mode") if profile is not None and profile.mode is Mode.enforce else None


def _apps_place(loaded: Loaded) -> tuple[Document, Loc]:
    document = read_yaml(loaded.settings.apps)
    modes = [one.mode for one in validated(AppsFile, document).apps]
    return document, ("apps", modes.index(Mode.enforce), "mode")


def _told(operations: Sequence[Operation]) -> str:
    parts = []
    for state, text in (
        (ReviewState.unreviewed, "nobody has reviewed"),
        (ReviewState.stale, "changed since the review:"),
    ):
        names = [one.id for one in operations if one.review_state is state]
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{text} {', '.join(names[:_SHOWN])}{more}")
    return (
        "; ".join(parts)
        + ". See 'audit-proxy catalog status'; then review them ('audit-proxy catalog review'), let them "
        "run in monitor, or permit it by 'unsafe_enforce_unreviewed: true'"
    )


# -- how a review gets into the overlay ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reviewed:
    """``text``: the whole overlay with the reviews in it, which are its last ``lines``. ``changed``: operations whose state did."""

    text: str
    lines: tuple[str, ...]
    changed: tuple[Operation, ...]


def reviewed(settings: Settings, names: Sequence[str], by: str, at: str) -> Reviewed:
    """The overlay with reviews of these operations and components, as they are now. Raises NotReviewable, CatalogError."""
    if Review.parse({"by": by, "at": at, "of": "-"}) is None:
        raise NotReviewable("--by must be a printable text that is not empty, --at a date like 2026-11-25")
    before = load_catalog(settings)
    targets = _targets(before, names)
    # which components have a review of their own decides what is seen: so first with reviews of nothing
    marked = load_catalog(settings, more=_actions(targets, {name: Review(by, at, "-") for name in targets}))
    units = {unit.name: unit for one in marked.operations for unit in one.units}
    for name in targets:
        if name not in units:
            raise NotReviewable(f"no operation refers to a component '{name}'")
    reviews = {name: Review(by, at, units[name].of) for name in targets}
    after = load_catalog(settings, more=_actions(targets, reviews))
    lines = tuple(_line(targets[name], made) for name, made in reviews.items())
    states = {one.id: one.review_state for one in before.operations}
    changed = tuple(one for one in after.operations if one.review_state is not states[one.id])
    text = _written(settings.platform.overlay, targets, reviews, lines)
    return Reviewed(text, tuple(text.splitlines()[-len(lines) :]), changed)


def _targets(catalog: Catalog, names: Sequence[str]) -> dict[str, str]:
    operations = {one.id: one for one in catalog.operations}
    targets = {}
    for name in names:
        one = operations.get(name)
        if one is None and not name.startswith(COMPONENTS):
            close = difflib.get_close_matches(name, operations, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "; 'audit-proxy catalog status' lists them"
            raise NotReviewable(f"the catalog has no operation '{name}'{hint}")
        targets[name] = target(name, one.route, one.method) if one is not None else target(name, "", "")
    return targets


def _actions(targets: Mapping[str, str], reviews: Mapping[str, Review]) -> list[dict[str, Any]]:
    return [{"target": targets[name], "update": {MARK: asdict(made)}} for name, made in reviews.items()]


def _line(where: str, made: Review) -> str:
    target, by, at, of = (json.dumps(text, ensure_ascii=False) for text in (where, made.by, made.at, made.of))
    return f"- {{ target: {target}, update: {{ {MARK}: {{ by: {by}, at: {at}, of: {of} }} }} }}"


def _written(
    overlay: Path | None, targets: Mapping[str, str], reviews: Mapping[str, Review], lines: Sequence[str]
) -> str:
    """The overlay's text, less earlier lines that review the same, with these lines at its end. Raises NotReviewable."""
    text = _NEW if overlay is None else overlay.read_bytes().decode("utf-8-sig")
    found = _ACTIONS.search(text)
    indent = found.group(1) if found is not None else ""
    kept = [line for line in text.splitlines(keepends=True) if _reviewed_by(line) not in targets.values()]
    end = "\r\n" if text.endswith("\r\n") else "\n"
    made = "".join(kept)
    made += ("" if made.endswith("\n") else end) + "".join(f"{indent}{line}{end}" for line in lines)
    new = _actions(targets, reviews)
    try:
        then, now = foreign_yaml(Path(), text.encode()), foreign_yaml(Path(), made.encode())
        whole = now["actions"][-len(new) :] == new and _rest(then, targets) == _rest(now, targets)
    except (ConfigProblems, KeyError, TypeError):
        whole = False
    if not whole:
        raise NotReviewable(
            f"{overlay}: lines can be added only where 'actions' is a list of '- ' lines at the end of a YAML file; "
            "add these as its last actions by hand:",
            lines,
        )
    return made


def _reviewed_by(line: str) -> str | None:
    """The target of a line that is a review and nothing else."""
    found = _LINE.fullmatch(line)
    return json.loads(found.group(1)) if found is not None else None


def _rest(overlay: dict[str, Any], targets: Mapping[str, str]) -> dict[str, Any]:
    """The overlay without what reviews these targets and does nothing else."""
    actions = [
        one
        for one in overlay.get("actions") or ()
        if not (one.get("target") in targets.values() and one.get("update", {}).keys() == {MARK})
    ]
    return {**overlay, "actions": actions}
