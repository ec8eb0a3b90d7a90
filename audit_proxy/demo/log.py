"""The audit log of the demo, read as anyone may read it: JSON lines under ``journal``, people as pseudonyms."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit_proxy.demo.received import Received

Record = dict[str, Any]


def records(log: Path) -> Iterator[Record]:
    """Every record, oldest first; one in parts as one, which keeps ``part`` where some are missing."""
    begun: Record | None = None
    for segment in sorted((log / "journal").glob("*.jsonl")):
        with segment.open("rb") as lines:
            for line in lines:
                read = json.loads(line)
                if begun is not None and "part" in begun and begun["id"] == read["id"] and read.get("part", 1) > 1:
                    for name in ("disclosed", "withheld", "asked", "found"):
                        begun[name] = [*begun.get(name, ()), *read.get(name, ())]
                    if read["part"] == read["parts"]:
                        del begun["part"], begun["parts"]
                    continue
                if begun is not None:
                    yield begun
                begun = read
    if begun is not None:
        yield begun


def told(record: Record) -> Counter[str]:
    """What a record says was disclosed: category -> how many people."""
    pairs = {
        (person, category)
        for group in record.get("disclosed", ())
        for person in group["subjects"]
        for category in group["categories"]
    }
    return Counter(category for _, category in pairs)


def matches(book: Received, log: list[Record]) -> bool:
    """Whether the log's records of an app and the app's own book say the same, answer by answer."""
    own = [record for record in log if record.get("app") == book.app and record["kind"] in ("access", "denial")]
    by_id = {record["id"]: told(record) for record in own}
    return book.answers_without_audit_id == 0 and len(own) == len(by_id) and by_id == book.by_answer


@dataclass(slots=True)
class Sight:
    """What one app received, or was denied, about one person. Categories and grounds as in the records."""

    requests: int = 0  # in which the person came up
    received: Counter[str] = field(default_factory=Counter)  # category -> times
    withheld: Counter[str] = field(default_factory=Counter)
    asked_for: int = 0  # times the app asked for exactly this person
    grounds: set[str] = field(default_factory=set)  # of what was received
    reasons: set[str] = field(default_factory=set)  # of what was withheld
    holders: set[str] = field(default_factory=set)  # pseudonyms of those with whose tokens it asked
    last: str = ""


def about(log: list[Record], name: str) -> dict[str, Sight]:
    """App -> what went to it about the person of that pseudonym, which nobody knows without the keys."""
    found: dict[str, Sight] = {}
    for record in log:
        if record["kind"] not in ("access", "denial") or record.get("app") is None:
            continue
        sides = (record.get("disclosed", ()), record.get("withheld", ()))
        mine = [[group for group in side if name in group["subjects"]] for side in sides]
        asked = name in record.get("asked", ())
        if not (mine[0] or mine[1] or asked):
            continue
        sight = found.setdefault(record["app"], Sight())
        sight.requests += 1
        sight.received.update({category for group in mine[0] for category in group["categories"]})
        sight.withheld.update({category for group in mine[1] for category in group["categories"]})
        sight.grounds.update(group["consent"] for group in mine[0])
        sight.reasons.update(group["consent"] for group in mine[1])
        sight.asked_for += asked
        sight.last = record["ts"]
        if record.get("holder"):
            sight.holders.add(record["holder"])
    return found
