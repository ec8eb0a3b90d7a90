"""How ``audit-proxy catalog status`` looks: as tables, or as facts for JSON."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit_proxy.core.catalog import Catalog, Operation
from audit_proxy.core.catalog.reviews import ReviewState, Unit
from audit_proxy.core.catalog_report import Fields, Gap
from audit_proxy.core.policy import Mode, Policy

_STYLES = {ReviewState.reviewed: "green", ReviewState.stale: "yellow", ReviewState.unreviewed: "red"}
_APPS_SHOWN = 3
_STATE_AND_DATE = 19


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation. ``refused``: the proxy does not start with it, or only because policy permits."""

    operation: Operation
    modes: tuple[Mode, ...]
    fields: Fields
    refused: bool
    consequences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What is shown. ``gaps`` None: there is no log yet."""

    catalog: Catalog
    policy: Policy
    entries: tuple[Entry, ...]
    logs: tuple[Path, ...]
    since: dt.datetime
    gaps: list[Gap] | None


def facts_of(status: Status) -> dict[str, Any]:
    return {
        "catalog": status.catalog.hash,
        "policy": status.policy.hash,
        "unsafe_enforce_unreviewed": status.policy.unsafe_enforce_unreviewed,
        "refused_at_start": [one.operation.id for one in status.entries if one.refused],
        "operations": [_entry_facts(one) for one in status.entries],
        "traffic": {
            "since": status.since.isoformat(timespec="seconds"),
            "logs": [str(path) for path in status.logs],
            "gaps": None if status.gaps is None else [_gap_facts(one) for one in status.gaps],
        },
    }


def _entry_facts(entry: Entry) -> dict[str, Any]:
    operation = entry.operation
    return {
        "operation": operation.id,
        "method": operation.method,
        "route": operation.route,
        "modes": [mode.value for mode in entry.modes],
        "state": operation.review_state.value,
        "reviews": [_unit_facts(unit) for unit in operation.units],
        "scopes": [sorted(scopes) for scopes in operation.requirements],
        "personal_fields": entry.fields.personal,
        "categories": {path: list(found) for path, found in entry.fields.categories.items()},
        "unclassified": list(entry.fields.unclassified),
        "enforce": list(entry.consequences),
    }


def _unit_facts(unit: Unit) -> dict[str, Any]:
    review = unit.review
    return {
        "of": unit.name,
        "state": unit.state.value,
        "by": review.by if review is not None else None,
        "at": review.at if review is not None else None,
        "fingerprint": unit.of,
    }


def _gap_facts(gap: Gap) -> dict[str, Any]:
    return {
        "operation": gap.operation,
        "what": gap.what,
        "effect": gap.effect.value,
        "exchanges": gap.exchanges,
        "apps": dict(gap.apps.most_common()),
        "first": gap.first.isoformat(timespec="seconds"),
        "last": gap.last.isoformat(timespec="seconds"),
        "under_this_catalog": gap.current,
    }


# -- for people ------------------------------------------------------------------------------------------------------------


def show(status: Status) -> None:
    """All operations, then what enforce does with them, then the gaps that traffic had."""
    console = Console(highlight=False, markup=False)
    table = _table("OPERATION", "MODE", "REVIEW", "FIELDS", "SCOPES")
    review = table.columns[2]  # whose name is cut before anything else is broken
    review.no_wrap, review.overflow, review.max_width = True, "ellipsis", max(_STATE_AND_DATE, console.width - 55)
    for entry in status.entries:
        operation = entry.operation
        table.add_row(
            operation.id,
            _mode(entry.modes),
            _review(operation),
            _fields(entry),
            " or ".join(" ".join(sorted(one)) or "none" for one in operation.requirements) or "–",
        )
    console.print(table)
    _show_refused(console, status)
    _show_consequences(console, status.entries)
    _show_gaps(console, status)


def show_one(status: Status) -> None:
    """One operation: its reviews, each field with its categories, and the rest as ``show`` does."""
    console = Console(highlight=False, markup=False)
    (entry,) = status.entries
    operation = entry.operation
    console.print(
        Text.assemble((operation.id, "bold"), f"  {operation.method} {operation.route}  {_mode(entry.modes)}")
    )
    table = _table("REVIEW OF", "STATE", "BY", "AT")
    for unit in operation.units:
        review = unit.review
        state = Text(unit.state.value, style=_STYLES[unit.state])
        table.add_row(_printable(unit.name), state, review.by if review else "–", review.at if review else "–")
    console.print(table)
    fields = _table("FIELD", "CATEGORY")
    for path in entry.fields.unclassified:
        fields.add_row(_printable(path), Text("unclassified", style="yellow"))
    for path, categories in entry.fields.categories.items():
        fields.add_row(_printable(path), ", ".join(categories))
    if fields.rows:
        console.print(fields)
    _show_refused(console, status)
    _show_consequences(console, status.entries)
    _show_gaps(console, status)


def _table(*names: str) -> Table:
    """A name that ends with ``>`` heads numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name.rstrip(">"), justify="right" if name.endswith(">") else "left", overflow="fold")
    return table


def _mode(modes: Sequence[Mode]) -> str:
    return modes[0].value if len(modes) == 1 else "by app"


def _fields(entry: Entry) -> Text:
    if entry.operation.unjudged:
        return Text("unread")
    text = Text(f"{entry.fields.personal} personal")
    if entry.fields.unclassified:
        text.append(f", {len(entry.fields.unclassified)} unclassified", style="yellow")
    return text


def _review(operation: Operation) -> Text:
    """The operation's state, and of which review it is: of several, the latest."""
    state = operation.review_state
    text = Text(state.value, style=_STYLES[state])
    reviews = [unit.review for unit in operation.units if unit.review is not None]
    if state is not ReviewState.unreviewed and reviews:
        latest = max(reviews, key=lambda one: one.at)
        text.append(f" {latest.at} {latest.by}", style="default")
    return text


def _show_refused(console: Console, status: Status) -> None:
    refused = [one.operation.id for one in status.entries if one.refused]
    if not refused:
        return
    if status.policy.unsafe_enforce_unreviewed:
        text = "ENFORCED ALL THE SAME, as unsafe_enforce_unreviewed permits"
    else:
        text = "REFUSED AT START: in enforce, but not reviewed as they are now"
    console.print(Text.assemble(("\n" + text, "bold red"), f": {', '.join(refused)}"))
    console.print(
        f"  Look with 'catalog status --operation {refused[0]}', then 'catalog review {refused[0]} --by WHO --write'."
    )


def _show_consequences(console: Console, entries: Iterable[Entry]) -> None:
    by_text: dict[str, list[Entry]] = {}
    for entry in entries:
        for text in entry.consequences:
            by_text.setdefault(text, []).append(entry)
    if by_text:
        table = _table("ENFORCE", "OPERATIONS")
        for text, concerned in sorted(by_text.items(), key=lambda one: len(one[1])):
            table.add_row(text, ", ".join(one.operation.id for one in concerned))
        console.print()
        console.print(table)


def _show_gaps(console: Console, status: Status) -> None:
    since = f"{status.since:%Y-%m-%d %H:%M} UTC"
    if status.gaps is None:
        console.print(f"\nNo log yet in {status.logs[0]}.")
        return
    if not status.gaps:
        console.print(f"\nNothing in traffic since {since} went beyond the catalog.")
        return
    console.print(Text(f"\nBeyond the catalog, in traffic since {since}", style="bold"))
    known = {(one.operation.id, path) for one in status.entries for path in one.fields.categories}
    table = _table("OPERATION", "WHAT", "EFFECT", "TIMES>", "APPS", "LAST SEEN")
    for gap in status.gaps:
        apps = [_printable(app) or "–" for app, _ in gap.apps.most_common(_APPS_SHOWN)]
        more = f" +{len(gap.apps) - _APPS_SHOWN}" if len(gap.apps) > _APPS_SHOWN else ""
        last = f"{gap.last:%m-%d %H:%M}" + ("" if gap.current else " *")
        table.add_row(
            gap.operation or "–",
            _printable(gap.what) + (" (of another type)" if (gap.operation, gap.what) in known and gap.current else ""),
            gap.effect.value,
            f"{gap.exchanges:,}",
            ", ".join(apps) + more,
            last,
        )
    console.print(table)
    if any(gap.what.endswith(".?") for gap in status.gaps):
        console.print("Name.?: keys that nothing describes in a Name; what they are called is not recorded.")
    if not all(gap.current for gap in status.gaps):
        console.print("* only before the catalog was last changed")


def _printable(text: str) -> str:
    """Control characters in a record must not steer a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
