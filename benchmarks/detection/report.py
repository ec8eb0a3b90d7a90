"""The table in Markdown, and the plot of leak against false alerts in SVG."""

import html
import math
from collections.abc import Iterable, Iterator, Sequence

from audit_proxy.simulation.measure import Outcome
from audit_proxy.simulation.scenarios import Group, Kind
from benchmarks.detection import figures

Point = tuple[str, float, float]  # label, share leaked, false alerts in 1,000 app-days


def _people(values: Sequence[float]) -> str:
    middle, low, high = figures.mean(values)
    interval = "" if math.isinf(high) else f" ({max(0, low):,.0f}–{high:,.0f})"
    return f"{middle:,.0f}{interval}"


def _length(seconds: float) -> str:
    for name, unit in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def _group(outcomes: Iterable[Outcome], name: str) -> list[Outcome]:
    return [one for one in outcomes if one.scenario.name == name]


def attacks(free: list[Outcome], withheld: list[Outcome], peer: list[Outcome]) -> Iterator[str]:
    """One line for each attack. ``free``: without third-party consent; ``withheld``: with it; ``peer``: the limiter, without."""
    yield "| attack | wanted | leaked, everybody permitted | recall | time to detection | leaked, consent enforced | recall by attempts | time | leaked, rate limiter | recall, rate limiter |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name in dict.fromkeys(one.scenario.name for one in free if one.scenario.kind is not Kind.benign):
        ours, enforced, theirs = _group(free, name), _group(withheld, name), _group(peer, name)
        cells = [name, _people([one.wanted or 0 for one in ours]), *_attack(ours), *_attack(enforced)]
        cells += [_people([one.taken for one in theirs]), _recall(theirs)]
        yield f"| {' | '.join(cells)} |"


def _recall(outcomes: list[Outcome]) -> str:
    hits = sum(one.detected_at is not None for one in outcomes)
    low, high = figures.wilson(hits, len(outcomes))
    return f"{hits}/{len(outcomes)} ({low:.0%}–{high:.0%})"


def _attack(outcomes: list[Outcome]) -> tuple[str, str, str]:
    times = [one.seconds_to_detection for one in outcomes if one.seconds_to_detection is not None]
    if not times:
        time = "–"
    else:
        middle, low, high = figures.mean(times)
        time = _length(middle) + ("" if math.isinf(high) else f" ({_length(max(0, low))}–{_length(high)})")
    return _people([one.taken for one in outcomes]), _recall(outcomes), time


def benign(ours: list[Outcome], peer: list[Outcome]) -> Iterator[str]:
    """One line for each ordinary use, and one for all of them."""
    yield "| ordinary use | app-days | false alerts in 1,000 app-days | apps quarantined in 1,000 app-days | false alerts, rate limiter |"
    yield "|---|--:|--:|--:|--:|"
    names = dict.fromkeys(one.scenario.name for one in ours if one.scenario.kind is Kind.benign)
    for name, mine, theirs in [
        *((name, _group(ours, name), _group(peer, name)) for name in names),
        ("**all**", *([one for one in every if one.scenario.kind is Kind.benign] for every in (ours, peer))),
    ]:
        days, others = (sum(one.app_days for one in every) / 1_000 for every in (mine, theirs))
        alerts, stopped = sum(one.alerts for one in mine), sum(one.quarantines for one in mine)
        cells = (_rate(alerts, days), _rate(stopped, days), _rate(sum(one.alerts for one in theirs), others))
        yield f"| {name} | {days * 1_000:,.0f} | {' | '.join(cells)} |"


def _rate(events: int, exposure: float) -> str:
    middle, low, high = figures.rate(events, exposure)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def targets(free: list[Outcome], withheld: list[Outcome]) -> Iterator[str]:
    """What the project set out to reach, and whether this run did."""
    yield "| to reach | reached | |"
    yield "|---|---|---|"
    for title, reached, told in _targets(free, withheld):
        yield f"| {title} | {told} | {'yes' if reached else '**missed**'} |"


def _targets(free: list[Outcome], withheld: list[Outcome]) -> Iterator[tuple[str, bool, str]]:
    both = [*free, *withheld]
    for group, least in ((Group.blatant, 1.0), (Group.twice, 0.99), (Group.sybil, 0.95)):
        every = [one for one in both if one.scenario.group is group]
        share = sum(one.detected_at is not None for one in every) / len(every)
        yield f"{group.value}: recall ≥ {least:.0%}, either way", share >= least, f"{share:.1%} of {len(every)} runs"
    late = [
        one.seconds_after_crossing
        for one in both
        if one.scenario.group is Group.blatant and one.seconds_after_crossing is not None
    ]
    worst = max(late, default=0.0)
    yield "blatant: detected ≤ 5 s after a limit was crossed", worst <= 5, f"{worst:.1f} s at most"
    blatant = [one for one in free if one.scenario.group is Group.blatant and one.detected_at is not None]
    over = [one for one in blatant if one.taken > 1.05 * 2_000 + one.largest_page]
    most = max((one.taken for one in blatant), default=0)
    yield "blatant: leak ≤ 1.05 × budget (2,000 an hour) + one page", not over, f"{most:,} people at most"
    quiz = max(one.taken for one in free if one.scenario.name == "quiz-2014")
    yield "2014: stopped before 8,700 people", quiz < 8_700, f"{quiz:,} people at most"
    for name, every in (("without consent", free), ("by attempts alone", withheld)):
        slow = [one for one in every if one.scenario.group is Group.slow]
        early = [
            one for one in slow if one.detected_at is not None and one.taken_before_detection <= one.people * 0.001
        ]
        told = f"{len(early)} of {len(slow)} runs"
        yield f"low and slow, {name}: detected before 0.1 % coverage", len(early) == len(slow), told
    bounded = [one for one in free if one.scenario.group is Group.bounded]
    leak = max(one.taken for one in bounded)
    cap = max(5_000, 0.001 * bounded[0].people)
    told = f"{leak:,} people in 90 days, coverage of 0.1 % is {cap:,.0f}"
    yield "just under: leak ≤ 1.05 × budget + one page", leak <= 1.05 * cap + 10, told
    ordinary = [one for one in withheld if one.scenario.kind is Kind.benign]
    days = sum(one.app_days for one in ordinary) / 1_000
    alerts, stopped = sum(one.alerts for one in ordinary) / days, sum(one.quarantines for one in ordinary) / days
    yield "false alerts ≤ 1 in 1,000 app-days", alerts <= 1, f"{alerts:.2f}"
    yield "false quarantines ≤ 0.1 in 1,000 app-days", stopped <= 0.1, f"{stopped:.2f}"


_WIDTH, _HEIGHT, _EDGE = 640, 400, 60


def plot(series: dict[str, list[Point]]) -> str:
    """Leak (share of what attacks wanted, logarithmic) against false alerts in 1,000 app-days (logarithmic from 0.01)."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_axes(),
    ]
    for number, (name, points) in enumerate(series.items()):
        colour = ("#1f5fa8", "#c0392b")[number % 2]
        places = [(label, _x(alerts), _y(leak)) for label, leak, alerts in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for label, x, y in places:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            parts.append(f'<text x="{x + 7:.1f}" y="{y - 5:.1f}" fill="{colour}">{html.escape(label)}</text>')
        parts.append(f'<text x="{_EDGE + 10}" y="{24 + number * 16}" fill="{colour}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes() -> Iterator[str]:
    for exponent in range(-2, 4):
        x = _x(10.0**exponent)
        yield f'<line x1="{x:.1f}" y1="40" x2="{x:.1f}" y2="{_HEIGHT - _EDGE}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{_HEIGHT - _EDGE + 18}" text-anchor="middle">{10.0**exponent:g}</text>'
    for exponent in range(-4, 1):
        y = _y(10.0**exponent)
        yield f'<line x1="{_EDGE}" y1="{y:.1f}" x2="{_WIDTH - 20}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{_EDGE - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * 10.0**exponent:g}%</text>'
    below = "false alerts in 1,000 app-days (0.01 and less at the left edge)"
    yield f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 16}" text-anchor="middle">{below}</text>'
    left = "mean share of the wanted people that leaked"
    yield f'<text transform="translate(14,{_HEIGHT / 2}) rotate(-90)" text-anchor="middle">{left}</text>'


def _x(alerts: float) -> float:
    return _EDGE + (math.log10(max(alerts, 0.01)) + 2) / 5 * (_WIDTH - _EDGE - 20)


def _y(leak: float) -> float:
    return _HEIGHT - _EDGE - (math.log10(max(leak, 1e-4)) + 4) / 4 * (_HEIGHT - _EDGE - 40)
