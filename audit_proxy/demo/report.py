"""What the demo prints: how far it is while it runs, and afterwards what came of it."""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from audit_proxy.demo.consents import APPS, QUIZ, REMINDER
from audit_proxy.demo.folder import CHECKPOINTS
from audit_proxy.demo.log import Record, Sight
from audit_proxy.demo.received import PLAIN_WORDS, Received
from audit_proxy.demo.run import Outcome, Person, Tell, unconsented

WIDTH = 100
_BAR = 30
_SHOWN_SUBJECTS = 2
_METRICS = ("subjects_disclosed_total", "denials_total", "audit_records_total")
_METRIC_LINES = 4
GROUND_WORDS = {
    "token": "own token",
    "grant": "own grant",
    "public": "made public",
    "no_grant": "no grant",
    "grant_expired": "expired grant",
    "grant_purpose": "grant for another purpose",
    "grant_scope": "grant that goes less far",
    "withdrawn": "withdrawn",
    "aggregate": "a count of people",
}
_APP_NAMES = {app.id: app.name for app in APPS}


class Steps:
    """Steps on a console: live with bars on a terminal, one line each where there is none."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal

    @contextlib.contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Tell]:
        began = time.monotonic()
        note = [""]
        if not self._live:
            yield lambda _done, text: note.__setitem__(0, text)
        else:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                *_bars(total),
                TextColumn("[dim]{task.fields[note]}"),
            )
            with Progress(*columns, console=self._console, transient=True, refresh_per_second=12) as shown:
                task = shown.add_task(title, total=total, note="")

                def tell(done: int, text: str) -> None:
                    note[0] = text
                    shown.update(task, completed=done, note=text)

                yield tell
        self._console.print(_step_line(title, note[0], time.monotonic() - began))


def _bars(total: int | None) -> tuple[ProgressColumn, ...]:
    return () if total is None else (BarColumn(bar_width=20), _Share())


class _Share(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:3.0f} %", style="dim")


def _step_line(title: str, note: str, seconds: float) -> Table:
    line = Table.grid(expand=False, padding=(0, 1))
    line.add_column(style="green")
    line.add_column(width=62)
    line.add_column(width=18, style="dim", justify="right")
    line.add_column(width=7, style="dim", justify="right")
    line.add_row("✓", title, note, f"{seconds:.1f} s")
    return line


def opening(people: int) -> RenderableType:
    """What is about to be shown."""
    text = Text.assemble(
        "In 2014 a quiz with 270,000 installers took the data of 87 million people: the installers had agreed, "
        "their friends had not. Here it happens again, to ",
        (f"{people:,} people", "bold"),
        " who do not exist; then once more with the proxy in between.",
    )
    return Group(Text(), Padding(text, (0, 1)), Text())


def closing(outcome: Outcome, directory: Path | None) -> RenderableType:
    """Everything after the last step."""
    parts: list[RenderableType] = [Text(), _heading("What the quiz received"), _harvest(outcome)]
    if outcome.person is not None:
        parts += [_heading(f"One person's view: {outcome.person.name}"), _view(outcome.person)]
    record = telling(outcome.log)
    if record is not None:
        parts += [_heading("One record of the audit log"), _record(record)]
    parts += [_heading("The same in Prometheus"), _metrics(outcome.metrics)]
    parts += [_heading("Does it hold?"), _verdict(outcome), _heading("Where to look next"), _next(outcome, directory)]
    return Group(*parts)


def _heading(text: str) -> RenderableType:
    return Padding(Text(text, style="bold cyan"), (1, 1, 0, 1))


# -- what the quiz received --------------------------------------------------------------------------------------------


def _harvest(outcome: Outcome) -> RenderableType:
    table = Table(box=None, pad_edge=True, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=32)
    table.add_column("without the proxy", justify="right", width=18)
    table.add_column("with it", justify="right", width=9)
    table.add_column("", width=_BAR)
    whole_book, quiz_book = outcome.without.people, outcome.quiz.people
    whole, left = len(whole_book), len(quiz_book)
    without, quiz = _wronged(outcome, outcome.without), _wronged(outcome, outcome.quiz)
    table.add_row(Text("people", style="bold"), f"{whole:,}", f"{left:,}", _bar(left, whole))
    for name, before, after, bad in (
        ("who had permitted what it took", len(whole_book) - without, len(quiz_book) - quiz, ""),
        ("who had not", without, quiz, "bold red"),
    ):
        after_style = "bold green" if bad and not after else bad
        table.add_row(
            f"  {name}", Text(f"{before:,}", style=bad), Text(f"{after:,}", style=after_style), _bar(after, before)
        )
    table.add_section()
    before_categories, after_categories = outcome.without.categories(), outcome.quiz.categories()
    for category, word in PLAIN_WORDS.items():
        before, after = before_categories.get(category, 0), after_categories.get(category, 0)
        if before and category not in ("user.unique_id", "user.social"):
            table.add_row(f"{word} of", f"{before:,}", f"{after:,}", _bar(after, before))
    share = 100 * whole / outcome.options.people
    note = Text(
        f"{len(outcome.consents.installers):,} installers gave the quiz {share:.0f} % of everybody. "
        f"Both walks made the same {outcome.without.requests:,} requests;\n"
        f"{outcome.quiz.statuses[404]:,} were answered as if there were no such person.",
        style="dim",
    )
    return Group(Padding(table, (1, 0, 0, 1)), Padding(note, (1, 1, 0, 1)))


def _wronged(outcome: Outcome, book: Received) -> int:
    """People of whom the quiz has something they had not permitted. The totals on a platform's lists do not count here."""
    return len({person for person, category in unconsented(outcome.consents, QUIZ, book) if category != "user.social"})


def _bar(part: int, whole: int) -> Text:
    """What is left (green) of what was taken (dim red)."""
    if not whole:
        return Text()
    filled = min(_BAR, round(_BAR * part / whole)) or (1 if part else 0)
    return Text.assemble(("█" * filled, "green"), ("░" * (_BAR - filled), "red"))


# -- one person --------------------------------------------------------------------------------------------------------


def _view(person: Person) -> RenderableType:
    friends = f"{person.through} friends" if person.through != 1 else "One friend"
    story = Text.assemble(
        "Never installed the quiz, never said a word to it. ", (f"{friends} did. ", ""),
        "Without the proxy it received: ", (_words(person.without), "red"), ".",
    )  # fmt: skip
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, width in (
        ("the log says of", 26),
        ("requests", 8),
        ("received", 14),
        ("on the ground of", 22),
        ("withheld for", 16),
    ):
        table.add_column(name, width=width)
    for app in (QUIZ.id, REMINDER.id):
        sight = person.sights.get(app)
        if sight is None:
            continue
        received = (
            Text(_words(sight.received), style="green") if sight.received else Text("nothing", style="green bold")
        )
        table.add_row(
            _APP_NAMES[app], str(sight.requests), received, _grounds(sight.grounds), _grounds(_serious(sight))
        )
    return Group(Padding(story, (1, 1, 1, 1)), Padding(table, (0, 0, 0, 1)))


def _serious(sight: Sight) -> set[str]:
    return sight.reasons - {"aggregate"}


def _grounds(grounds: Iterable[str]) -> str:
    return ", ".join(GROUND_WORDS.get(ground, ground) for ground in sorted(grounds)) or "-"


def _words(categories: Iterable[str]) -> str:
    return ", ".join(word for category, word in PLAIN_WORDS.items() if category in set(categories) and word != "id")


# -- one record --------------------------------------------------------------------------------------------------------


def telling(log: list[Record]) -> Record | None:
    """The shortest record in which somebody's data left on their own grant and somebody else's did not."""
    good = [
        record
        for record in log
        if record.get("app") == QUIZ.id
        and any(group["consent"] == "grant" for group in record.get("disclosed", ()))
        and any(group["consent"] == "no_grant" for group in record.get("withheld", ()))
    ]
    return min(good, key=lambda record: len(json.dumps(record)), default=None)


def _record(record: Record) -> RenderableType:
    syntax = Syntax(pretty(record), "json", theme="ansi_dark", background_color="default")
    note = Text("People are pseudonyms under a key that lies elsewhere; fields are names, never values.", style="dim")
    return Group(Padding(syntax, (1, 1, 0, 1)), Padding(note, (0, 1)))


def pretty(record: Record) -> str:
    """A record as JSON for reading: what fits on a line stays on one, long lists of people are cut short."""
    groups = {key: [_short(group) for group in record[key]] for key in ("disclosed", "withheld") if key in record}
    return _layout({**record, **groups}, 0, WIDTH - 6)


def _short(group: dict[str, Any]) -> dict[str, Any]:
    people = group["subjects"]
    more = len(people) - _SHOWN_SUBJECTS
    return {**group, "subjects": people if more < 2 else [*people[:_SHOWN_SUBJECTS], f"… and {more} more"]}


def _layout(value: Any, indent: int, room: int, label: str = "") -> str:
    line = label + json.dumps(value, ensure_ascii=False)
    if indent and (indent + len(line) <= room or not isinstance(value, dict | list)):
        return line
    labelled = (
        [(f"{json.dumps(key)}: ", one) for key, one in value.items()]
        if isinstance(value, dict)
        else [("", one) for one in value]
    )
    lines: list[str] = []
    open_line = False  # the last line is of small parts, and takes another one
    for name, one in labelled:
        small = not isinstance(one, dict | list)
        part = _layout(one, indent + 2, room, name)
        if small and open_line and indent + len(lines[-1]) + len(part) + 5 <= room:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
        open_line = small
    inner = " " * (indent + 2)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{label}{opening}\n{inner}" + f",\n{inner}".join(lines) + f"\n{' ' * indent}{closing}"


# -- metrics -----------------------------------------------------------------------------------------------------------


def _metrics(exposition: str) -> RenderableType:
    """A few lines of what the admin listener serves under /metrics."""
    chosen = []
    for name in _METRICS:
        lines = [line for line in exposition.splitlines() if line.startswith(f"audit_proxy_{name}{{")]
        chosen += sorted(lines, key=lambda line: -float(line.rpartition(" ")[2]))[:_METRIC_LINES]
    return Padding(Text("\n".join(line.removesuffix(".0") for line in chosen)), (1, 1, 0, 1))


# -- does it hold, and where to go -------------------------------------------------------------------------------------


def _verdict(outcome: Outcome) -> RenderableType:
    received = outcome.quiz.disclosures + outcome.reminder.disclosures
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column()
    for good, text in (
        (
            not outcome.unconsented,
            f"{len(outcome.unconsented):,} of {received:,} disclosures were of data that somebody had not permitted",
        ),
        (
            outcome.match,
            f"the apps' own books and the log's {len(outcome.log):,} records agree, answer by answer",
        ),
        (outcome.verified, "the log verifies from its files alone, under its signed checkpoint"),
    ):
        table.add_row(Text("✓", style="green") if good else Text("✗", style="bold red"), text)
    parts: list[RenderableType] = [Padding(table, (1, 1, 0, 1))]
    if not outcome.verified:
        parts.append(Panel(Text(outcome.verification.strip()), title="audit-proxy log verify", border_style="red"))
    return Group(*parts)


def _next(outcome: Outcome, directory: Path | None) -> RenderableType:
    if directory is None:
        commands = [("audit-proxy demo --dir demo", "the same, and keep everything it made")]
        config = "demo/audit-proxy.yaml"
    else:
        commands = []
        config = str(directory / "audit-proxy.yaml")
    port = outcome.platform_url.rpartition(":")[2]
    options = outcome.options
    commands += [
        (f"audit-proxy log verify -c {config}", "try it after changing one byte under log/"),
        (f"audit-proxy log tail -c {config}", "the latest records"),
        (f"audit-proxy app list -c {config}", "who may ask for what"),
    ]
    if directory is not None:
        commands += [
            (
                f"audit-proxy log verify -c {config} --against {directory / CHECKPOINTS}",
                "and with what the proxy pushed",
            ),
            (f"python -m audit_proxy.demo.platform --port {port} --people {options.people} --seed {options.seed}", ""),
            (f"audit-proxy serve -c {config}", "platform and proxy again, yours to ask"),
        ]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(style="dim")
    for command, meaning in commands:
        table.add_row(command, meaning)
    return Group(Padding(table, (1, 1, 1, 1)))
