"""What every mapping of ids must hold (port ``SubjectIds``), on each adapter."""

import csv
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from audit_proxy.adapters.subject_ids_cached import CachedIds
from audit_proxy.adapters.subject_ids_http import HttpIds
from audit_proxy.adapters.subject_ids_identity import IdentityIds
from audit_proxy.adapters.subject_ids_table import TableIds
from audit_proxy.core.errors import CallFailed, SubjectIdsUnavailable
from audit_proxy.core.exchange import Answer, Call
from audit_proxy.ports import SubjectIds

ROWS = {
    ("quiz", "11"): "7001", ("quiz", "12"): "7002", ("poll", "21"): "7001", ("poll", "12"): "7009", ("quiz", "a'b\"c%_"): "x y",
    ("quiz", "ä"): "ö:1", **{("quiz", f"n{number}"): f"c{number}" for number in range(1200)},
}  # fmt: skip


@dataclass
class Clock:
    at: float = 1_000_000.0

    def now(self) -> float:
        return self.at


@dataclass
class Mapper:
    """An ``HttpClient`` that maps as the rows say."""

    rows: dict[tuple[str, str], str] = field(default_factory=lambda: dict(ROWS))
    out: bool = False
    asked: list[list[str]] = field(default_factory=list)

    async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
        assert call.body is not None
        question = json.loads(call.body)
        self.asked.append(question["ids"])
        if self.out:
            raise CallFailed("out")
        found = {one: self.rows.get((question["app"], one)) for one in question["ids"]}
        return Answer(200, json.dumps({"subjects": found}).encode())


def _csv(folder: Path) -> Path:
    with (folder / "ids.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("app", "id", "subject"), *((*key, subject) for key, subject in ROWS.items())])
    return folder / "ids.csv"


def _ndjson(folder: Path) -> Path:
    lines = [json.dumps({"app": app, "id": one, "subject": subject}) for (app, one), subject in ROWS.items()]
    (folder / "ids.ndjson").write_text("\n".join(lines))
    return folder / "ids.ndjson"


def _sqlite(folder: Path) -> Path:
    connection = sqlite3.connect(folder / "ids.sqlite3")
    with connection:
        connection.execute("CREATE TABLE subject_ids (app TEXT, id TEXT, subject TEXT, PRIMARY KEY (app, id))")
        connection.executemany("INSERT INTO subject_ids VALUES (?, ?, ?)", [(*key, one) for key, one in ROWS.items()])
    connection.close()
    return folder / "ids.sqlite3"


FILES: dict[str, Callable[[Path], Path]] = {"csv": _csv, "ndjson": _ndjson, "sqlite": _sqlite}


async def make(kind: str, folder: Path, stack: AsyncExitStack, client: Mapper) -> SubjectIds:
    if kind in FILES:
        table = TableIds(FILES[kind](folder), "person", reload_s=600)
        await table.start()
        stack.push_async_callback(table.close)
        return table
    http = HttpIds("https://ids.example/", "person", client, secret=None, timeout_s=1)
    return http if kind == "http" else CachedIds(http, Clock(), entries=10_000, cache_s=60, unmapped_cache_s=5)


@pytest.fixture(params=[*FILES, "http", "cached"])
async def ids(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SubjectIds]:
    async with AsyncExitStack() as stack:
        yield await make(request.param, tmp_path, stack, Mapper())


async def test_ids_become_subjects(ids):
    """Twice: also from memory."""
    for _ in range(2):
        found = await ids.subjects("quiz", {"11", "12", "a'b\"c%_", "ä"})
        assert found == {"11": "person:7001", "12": "person:7002", "a'b\"c%_": "person:x y", "ä": "person:ö:1"}


async def test_one_person_through_two_apps_is_one_subject(ids):
    """And one id in two apps is two."""
    assert await ids.subjects("quiz", ["11"]) == {"11": "person:7001"}
    assert await ids.subjects("poll", ["21", "12"]) == {"21": "person:7001", "12": "person:7009"}


async def test_a_number_and_its_text_are_the_same_id(ids):
    assert await ids.subjects("quiz", [11, "11", 12]) == {11: "person:7001", "11": "person:7001", 12: "person:7002"}


async def test_an_id_that_is_not_mapped_is_left_out(ids):
    for _ in range(2):
        for unmapped in ("99", "", "21", "n", "11 ", "1%", "'--", 10**30, -1):
            assert await ids.subjects("quiz", ["11", unmapped]) == {"11": "person:7001"}
        assert await ids.subjects("nobody", ["11"]) == {}
        assert await ids.subjects("", ["11"]) == {}


async def test_nobody_is_nobody(ids):
    assert await ids.subjects("quiz", []) == {}


async def test_very_many_are_mapped_at_once(ids):
    asked = {f"n{number}" for number in range(1500)}
    found = await ids.subjects("quiz", asked)
    assert found == {f"n{number}": f"person:c{number}" for number in range(1200)}


async def test_by_identity_everybody_is_the_namespace_and_the_id():
    found = await IdentityIds("person").subjects("quiz", {11, "a"})
    assert found == {11: "person:11", "a": "person:a"}
    assert await IdentityIds("person").subjects("poll", ["11"]) == {"11": "person:11"}


@pytest.mark.parametrize("kind", [*FILES, "http", "cached"])
async def test_an_outage_is_said(kind, tmp_path):
    """Never as an id that is not mapped."""
    async with AsyncExitStack() as stack:
        client = Mapper()
        ids = await make(kind, tmp_path, stack, client)
        client.out = True
        if isinstance(ids, TableIds):
            await ids.close()
        with pytest.raises(SubjectIdsUnavailable) as raised:
            await ids.subjects("quiz", ["11"])
        assert raised.value.known == {}


# --- the memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached() -> tuple[CachedIds, Mapper, Clock]:
    client, clock = Mapper(), Clock()
    http = HttpIds("https://ids.example/", "person", client, secret=None, timeout_s=1)
    return CachedIds(http, clock, entries=100, cache_s=60, unmapped_cache_s=5), client, clock


async def test_what_is_remembered_is_not_asked_for_again_for_its_time(cached):
    ids, client, clock = cached
    await ids.subjects("quiz", ["11", "12"])
    clock.at += 59.9
    await ids.subjects("quiz", [11, "12"])
    assert len(client.asked) == 1
    await ids.subjects("quiz", ["11", "n1"])
    assert client.asked[1:] == [["n1"]]
    clock.at += 0.1
    client.rows["quiz", "11"] = "7111"
    assert await ids.subjects("quiz", ["11"]) == {"11": "person:7111"}


async def test_that_an_id_is_not_mapped_is_remembered_briefly(cached):
    """Who has just joined is a person soon; who has just gone is none when the memory ends."""
    ids, client, clock = cached
    await ids.subjects("quiz", ["99"])
    await ids.subjects("quiz", ["99"])
    assert len(client.asked) == 1
    client.rows["quiz", "99"] = "7099"
    clock.at += 5
    assert await ids.subjects("quiz", ["99"]) == {"99": "person:7099"}
    del client.rows["quiz", "99"]
    clock.at += 60
    assert await ids.subjects("quiz", ["99"]) == {}
    clock.at += 1
    assert await ids.subjects("quiz", ["99"]) == {}


async def test_the_memory_is_bounded_and_made_up_ids_push_nobody_out(cached):
    ids, client, _ = cached
    await ids.subjects("quiz", ["11"])
    for number in range(300):
        await ids.subjects("quiz", [f"made-up-{number}"])
        assert len(ids) <= 110
    asked = len(client.asked)
    await ids.subjects("quiz", ["11"])
    assert len(client.asked) == asked
    for number in range(1200):
        await ids.subjects("quiz", [f"n{number}"])
        assert len(ids) <= 110


async def test_in_an_outage_what_is_remembered_is_known(cached):
    """And the outage is not remembered."""
    ids, client, _ = cached
    await ids.subjects("quiz", ["11"])
    client.out = True
    with pytest.raises(SubjectIdsUnavailable) as raised:
        await ids.subjects("quiz", ["11", "12"])
    assert raised.value.known == {"11": "person:7001"}
    assert await ids.subjects("quiz", ["11"]) == {"11": "person:7001"}
    client.out = False
    assert await ids.subjects("quiz", ["12"]) == {"12": "person:7002"}


async def test_two_apps_do_not_share_a_memory(cached):
    ids, _, _ = cached
    assert await ids.subjects("quiz", ["12"]) == {"12": "person:7002"}
    assert await ids.subjects("poll", ["12"]) == {"12": "person:7009"}


# --- the service ----------------------------------------------------------------------------------------------------------


@dataclass
class Saying:
    """An ``HttpClient`` that says one thing; the second call and those after it another, where there is one."""

    status: int
    body: bytes
    calls: list[Call] = field(default_factory=list)

    async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
        self.calls.append(call)
        return Answer(self.status, self.body)


def asking(client: Saying | Mapper, secret: str | None = None) -> HttpIds:
    return HttpIds("https://ids.example/", "person", client, secret=secret, timeout_s=1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"), (401, b"{}"), (302, b""), (204, b""), (200, b""), (200, b"[]"), (200, b"{}"), (200, b'{"subjects":[]}'),
        (200, b'{"subjects":{"11":["x"]}}'), (200, b'{"subjects":{"11":""}}'), (200, b'{"subjects":{"11":true}}'),
        (200, b'{"subjects":{"11":1.5}}'), (200, b'{"subjects":{"11":"a\\u0000"}}'), (200, b'{"subjects":{"11":"a","11":"b"}}'),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_is_an_outage(status, body):
    """One bad subject spoils its whole answer: what else it says may be as wrong."""
    with pytest.raises(SubjectIdsUnavailable):
        await asking(Saying(status, body)).subjects("quiz", ["11", "12"])


async def test_the_service_is_asked_with_our_secret_and_told_no_more_than_it_needs():
    client = Saying(200, b'{"subjects":{"11":7001,"99":"not asked for"}}')
    assert await asking(client, "S3CRET").subjects("quiz", {"11"}) == {"11": "person:7001"}
    (call,) = client.calls
    assert call.headers["Authorization"] == "Bearer S3CRET"
    assert json.loads(call.body or b"") == {"app": "quiz", "ids": ["11"]}
    with pytest.raises(ValueError, match="printable ASCII"):
        asking(client, "a\nb")


async def test_ids_are_asked_about_in_batches_each_once():
    client = Mapper()
    await asking(client).subjects("quiz", [*range(700), *map(str, range(700))])
    assert sorted(map(len, client.asked)) == [200, 500]


async def test_a_batch_that_fails_leaves_the_others_known():
    @dataclass
    class Half(Mapper):
        async def call(self, call: Call, *, limit: int, timeout_s: float) -> Answer:
            assert call.body is not None
            if b'"n0"' in call.body:
                raise CallFailed("out")
            return await super().call(call, limit=limit, timeout_s=timeout_s)

    with pytest.raises(SubjectIdsUnavailable) as raised:
        await asking(Half()).subjects("quiz", [f"n{number}" for number in range(700)])
    assert raised.value.known == {f"n{number}": f"person:c{number}" for number in range(500, 700)}


# --- the table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("x.csv", "", "first line"), ("x.csv", "id,app,subject\n", "first line"), ("x.csv", "app,id,subject\nquiz,1\n", "line 2"),
        ("x.csv", "app,id,subject\nquiz,1,2,3\n", "line 2"), ("x.csv", "app,id,subject\nquiz,,2\n", "line 2"),
        ("x.csv", "app,id,subject\nquiz,1,2\n\nquiz,1,2\n", "line 4: the app's id stands in an earlier line"),
        ("x.csv", 'app,id,subject\nquiz,"1\n2",2\n', "printable"), ("x.csv", 'app,id,subject\nquiz,"1"2,2\n', "Error"),
        ("x.csv", f"app,id,subject\nquiz,{'1' * 257},2\n", "line 2"), ("x.ndjson", "[]", "line 1"), ("x.ndjson", "{", "line 1"),
        ("x.ndjson", '{"app":"quiz","id":"1"}', "line 1"), ("x.ndjson", '{"app":"q","id":1.5,"subject":"2"}', "line 1"),
        ("x.ndjson", '{"app":"q","id":"1","subject":"2","x":1}', "line 1"), ("x.ndjson", '{"app":"q","app":"r"}', "line 1"),
        ("x.sqlite3", "", "no table"), ("x.sqlite3", "SQLite?", "no table"), ("x.txt", "", "must end in"),
    ],
)  # fmt: skip
async def test_a_table_that_cannot_be_meant_is_not_used_at_all(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=why):
        await TableIds(tmp_path / name, "person", reload_s=600).start()


async def test_a_table_that_is_not_utf_8_is_not_used(tmp_path):
    for name in ("x.csv", "x.ndjson"):
        (tmp_path / name).write_bytes(b"app,id,subject\nquiz,1,\xff\n")
        with pytest.raises(ValueError, match=r"UTF-8|JSON"):
            await TableIds(tmp_path / name, "person", reload_s=600).start()


async def test_a_table_without_rows_maps_nobody(tmp_path):
    (tmp_path / "x.csv").write_text("app,id,subject\n")
    table = TableIds(tmp_path / "x.csv", "person", reload_s=600)
    await table.start()
    assert await table.subjects("quiz", ["11"]) == {}
    await table.close()
    await table.close()


async def test_an_ndjson_table_takes_numbers_as_ids(tmp_path):
    (tmp_path / "x.ndjson").write_text(
        '{"app":"quiz","id":11,"subject":7001}\n\n{"subject":"a","id":"b","app":"quiz"}\n'
    )
    table = TableIds(tmp_path / "x.ndjson", "person", reload_s=600)
    await table.start()
    assert await table.subjects("quiz", [11, "b"]) == {11: "person:7001", "b": "person:a"}
    await table.close()
