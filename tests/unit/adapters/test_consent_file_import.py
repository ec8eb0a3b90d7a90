"""How a file is cut into transactions."""

import json
import random

import pytest

from audit_proxy.adapters.consent_sqlite.file_import import FileImport
from audit_proxy.core.statements import FileInvalid, Refused


def line(number, scope):
    return json.dumps(
        {"app": "quiz", "subject": f"person:{number}", "scopes": [scope], "purpose": "marketing", "evidence": "e" * 200}
    )


async def run(text, step=70_000):
    """Imports the text; the transactions and how far each had come."""
    taken, told = [], []

    async def take(lines):
        taken.append(list(lines))

    file = FileImport("ndjson", take, lambda: told.append(file.lines))
    data = text.encode()
    for start in range(0, len(data), step):
        await file.add(data[start : start + step])
    await file.finish()
    return taken, told, file.lines


@pytest.mark.parametrize("step", [997, 70_000, 10_000_000])
async def test_each_line_is_taken_once_and_lines_of_one_person_in_the_files_order(step):
    """Whatever the blocks' size: nothing lost, nothing twice; a person's later line comes later, also in other windows."""
    draw = random.Random(step)
    texts = [line(draw.randrange(900), f"s{number}") for number in range(9_000)]
    texts[5] = texts[6_000] = "no statement"
    taken, told, lines = await run("\n".join(texts), step)
    assert sorted(number for part in taken for number, _ in part) == list(range(1, 9_001))
    last = {}
    for part in taken:
        for number, statement in part:
            if not isinstance(statement, Refused):
                assert last.get(statement.subject, 0) < number
                last[statement.subject] = number
    assert told == sorted(told)
    assert told[-1] == lines == 9_000


async def test_a_transaction_is_short_and_holds_neighbours():
    """No transaction is longer than another caller may have to wait; once windows are wide, one spans a part of the ids."""
    numbers = list(range(30_000))
    random.Random(1).shuffle(numbers)
    taken, _, _ = await run("\n".join(line(number, "likes") for number in numbers))
    assert max(map(len, taken)) <= 1_000
    assert len(taken[0]) == 1_000
    subjects = sorted(f"person:{number}" for number in numbers)
    place = {subject: at for at, subject in enumerate(subjects)}
    spans = [place[part[-1][1].subject] - place[part[0][1].subject] for part in taken if len(part) == 1_000]
    assert min(spans) >= 0
    assert sorted(spans)[len(spans) // 2] < len(subjects) / 5


async def test_refused_lines_keep_the_files_order():
    """They are told in the order in which whoever mends the file meets them."""
    texts = [line(number, "likes") if number % 3 else "{" for number in range(300)]
    taken, _, _ = await run("\n".join(texts))
    refused = [number for part in taken for number, each in part if isinstance(each, Refused)]
    assert refused == sorted(refused)
    assert len(refused) == 100


async def test_a_window_of_short_refused_lines_is_bounded():
    """Megabytes of line breaks with a letter between them are cut like everything else."""
    taken, _, lines = await run("x\n" * 150_000)
    assert max(map(len, taken)) <= 1_000
    assert lines == sum(map(len, taken)) == 150_000


async def test_breaking_off_keeps_whole_lines_only():
    """Half a line is no statement."""
    taken = []

    async def take(lines):
        taken.extend(lines)

    file = FileImport("ndjson", take, lambda: None)
    await file.add((line(1, "likes") + "\n" + line(2, "likes")).encode())
    await file.break_off()
    assert [statement.subject for _, statement in taken] == ["person:1"]
    assert file.lines == 1


async def test_a_wrong_heading_takes_nothing():
    """A CSV file without the right heading is refused before any line is taken."""
    taken = []

    async def take(lines):
        taken.extend(lines)

    file = FileImport("csv", take, lambda: None)
    await file.add(b"who,what\n1,2\n")
    with pytest.raises(FileInvalid):
        await file.finish()
    assert not taken
