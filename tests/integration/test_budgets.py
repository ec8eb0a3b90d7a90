"""Data budgets against the running proxy: who is stopped after how many people, counted from what the apps received."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit_proxy.core.errors import DetectionUnusable
from tests.simulator.people import document
from tests.simulator.proxy import Place, Proxy, configure, process_of, serving
from tests.simulator.recording import Recorded, RecordingUpstream

PAGE = 25
SIGNALS = ("third_parties", "without_grant", "missed", "per_holder", "owner", "fan_out", "coverage")
BENIGN = {
    "id": "benign",
    "name": "Benign",
    "owner": "p",
    "contact": "c@example.org",
    "purpose": "functional.service",
    "approved_scopes": ["read", "email"],
}


def budgets(**limits: int) -> dict[str, Any]:
    """One limit of a day for each signal that is named, and no other. Two holders are several."""
    return {
        "several_holders": 2,
        "default": {name: {"24h": limits[name]} if name in limits else {} for name in SIGNALS},
    }


def prepared(folder: Path, upstream: RecordingUpstream, given: dict[str, Any], **options: Any) -> Place:
    """A folder to serve from: the apps quiz and benign, and these budgets. The platform gives everybody's friends."""

    def page(request: Recorded) -> Iterable[bytes]:
        first = int(request.query.partition("=")[2] or 0)
        people = [{"id": str(one), "name": f"n{one}"} for one in range(first, first + PAGE)]
        body = json.dumps({"data": people}).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return [head % len(body) + body]

    upstream.reply(lambda r: r.path.endswith("/friends"), pieces=page)
    place = configure(folder, upstream.url, document(), **options)
    apps = yaml.safe_load((folder / "apps.yaml").read_text())["apps"]
    (folder / "apps.yaml").write_text(yaml.safe_dump({"apps": [*apps, BENIGN]}))
    (folder / "budgets.yaml").write_text(yaml.safe_dump(given))
    return place


@contextlib.asynccontextmanager
async def started(place: Place) -> AsyncIterator[Proxy]:
    async with serving(place.folder, place.key, place.admin_token) as proxy:
        yield proxy


class Taker:
    """An app that takes page after page with the tokens of some holders, and what it received."""

    def __init__(self, proxy: Proxy, app: str = "quiz", holders: int = 10) -> None:
        self.proxy = proxy
        self.holders = [str(9_000_000 + n) for n in range(holders)]
        self.tokens = [proxy.token(one, app=app) for one in self.holders]
        self.received: set[str] = set()
        self.reasons: list[str] = []
        self.headers: dict[str, str] = {}

    async def page(self, n: int, holder: int | None = None) -> str:
        """The friends of a holder, page ``n`` of all people; ``ok`` or the reason of the refusal."""
        which = (n if holder is None else holder) % len(self.tokens)
        path = f"/people/{self.holders[which]}/friends?after={1000 + n * PAGE}"
        status, self.headers, body = await self.proxy.get(path, self.tokens[which])
        value = json.loads(body)
        if status == 200:
            self.received |= {one["id"] for one in value["data"]}
        self.reasons.append("ok" if status == 200 else value["reason"])
        return self.reasons[-1]

    async def pages(self, first: int, count: int, holder: int | None = None) -> list[str]:
        return [await self.page(n, holder) for n in range(first, first + count)]


async def everybody_permits(proxy: Proxy, people: int = 1000) -> None:
    for app in ("quiz", "benign"):
        await proxy.grant(*map(str, range(1000, 1000 + people)), app=app)


def findings(proxy: Proxy) -> list[tuple[str, str]]:
    return [(one.detail["detector"], one.detail["action"]) for one in proxy.records("finding")]


def series(text: str, name: str, **labels: str) -> float | None:
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in text.splitlines():
        if line.startswith(f"audit_proxy_{name}{{") and all(one in line for one in wanted):
            return float(line.rpartition(" ")[2])
    return None


async def test_a_harvest_is_stopped_at_its_budget_and_the_app_beside_it_is_not(tmp_path, upstream) -> None:
    """The harvester received as many people as its budget and not one more, then nothing; the other app goes on."""
    place = prepared(tmp_path, upstream, budgets(third_parties=200))
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz, benign = Taker(proxy), Taker(proxy, "benign")
        for n in range(16):
            await quiz.page(n)
            if n % 4 == 0:
                assert await benign.page(n) == "ok"
        assert len(quiz.received) == 200
        assert quiz.reasons[:8] == ["ok"] * 8
        assert quiz.reasons[8] == "over_budget"
        assert quiz.reasons[-1] == "app_quarantined"
        assert await quiz.page(0) == "app_quarantined"  # people whom it has already do not come any more either
        assert await benign.page(20) == "ok"
        assert len(benign.received) == 5 * PAGE
        steps = ("warn", "throttle", "restrict", "quarantine")
        assert findings(proxy) == [("third_parties", step) for step in steps]
        disclosed = {one for record in proxy.records() if record.app == "quiz" for group in record.disclosed
                     if group.relation == "third_party" for one in group.subjects}  # fmt: skip
        assert disclosed == {proxy.pseudonym(one) for one in quiz.received}
        _, exposition = await proxy.admin("GET", "/metrics")
        text = exposition.decode()
        assert series(text, "distinct_subjects", app="quiz", relation="third_party", window="24h") == 200
        assert series(text, "distinct_subjects", app="quiz", relation="holder", window="24h") == 10
        assert series(text, "fanout_ratio", app="quiz", window="24h") == 20
        assert series(text, "budget_used_ratio", app="quiz", window="24h") == 1
        assert series(text, "app_status", app="quiz", status="quarantined") == 1
        assert series(text, "app_status", app="benign", status="active") == 1
        assert series(text, "findings_total", app="quiz", detector="third_parties", severity="critical") == 2
        assert "audit_proxy_detector_up 1.0" in text


async def test_a_throttled_answer_says_when_to_come_again_and_nothing_of_the_use(tmp_path, upstream) -> None:
    """429 with a Retry-After that is the window's, no number of people; whom it would have shown stands in the record."""
    place = prepared(tmp_path, upstream, {**budgets(third_parties=50), "restrict_at": 9.0, "quarantine_at": 9.0})
    async with started(place) as proxy:
        await everybody_permits(proxy, 200)
        quiz = Taker(proxy)
        assert await quiz.pages(0, 3) == ["ok", "ok", "over_budget"]
        assert quiz.headers["Retry-After"] == "14400"
        status, headers, body = await proxy.get(f"/people/{quiz.holders[0]}/friends?after=1050", quiz.tokens[0])
        assert (status, headers["Content-Type"]) == (429, "application/problem+json")
        assert not any(number in body.decode() for number in ("25", "50", "75"))
        record = proxy.records()[-1]
        assert (record.decision, record.reason, record.disclosed) == ("deny", "over_budget", ())
        assert {group.consent for group in record.withheld} == {"over_budget"}
        assert sum(len(group.subjects) for group in record.withheld) == PAGE
        assert await quiz.page(0) == "ok"  # those whom it has already


async def test_concurrent_pages_cannot_overshoot(tmp_path, upstream) -> None:
    """Forty pages at once: what is received is within the budget."""
    place = prepared(tmp_path, upstream, budgets(third_parties=200))
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz = Taker(proxy)
        await asyncio.gather(*(quiz.page(n) for n in range(40)))
        assert len(quiz.received) == 200


async def test_one_holders_excess_blocks_that_holder_and_nobody_else(tmp_path, upstream) -> None:
    """With one extracted token an app cannot be shut down: its other users, and that user in other apps, go on."""
    place = prepared(tmp_path, upstream, budgets(third_parties=250, per_holder=60))
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz = Taker(proxy)
        reasons = await quiz.pages(0, 40, holder=0)
        assert reasons == ["ok"] * 2 + ["holder_blocked"] * 38
        assert len(quiz.received) == 50
        assert await quiz.page(0, holder=1) == "ok"
        assert await Taker(proxy, "benign").page(0, holder=0) == "ok"
        (finding,) = [one for one in proxy.records("finding") if one.detail["action"] == "block_holder"]
        assert finding.holder == proxy.pseudonym(quiz.holders[0])
        _, exposition = await proxy.admin("GET", "/metrics")
        assert series(exposition.decode(), "app_status", app="quiz", status="active") == 1


async def test_a_restricted_app_gets_its_own_users_only(tmp_path, upstream) -> None:
    """Third parties are held back on a ground of their own, public content too; the holder's own data comes."""
    place = prepared(tmp_path, upstream, {**budgets(third_parties=100), "quarantine_at": 4.0})
    upstream.reply("/me", body={"id": "9000000", "name": "own"})
    upstream.reply(
        "/posts",
        body=[
            {"text": "t", "visibility": "public", "from": {"id": "1000"}},
            {"text": "mine", "visibility": "public", "from": {"id": "9000000"}},
        ],
    )
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz = Taker(proxy)
        await quiz.pages(0, 8)
        assert findings(proxy)[-1] == ("third_parties", "restrict")
        assert await quiz.page(0) == "ok"
        assert len(quiz.received) == 100
        assert {group.consent for group in proxy.records()[-1].withheld} == {"app_restricted"}
        assert json.loads((await proxy.get("/me", quiz.tokens[0]))[2]) == {"id": "9000000", "name": "own"}
        assert [one["text"] for one in json.loads((await proxy.get("/posts", quiz.tokens[0]))[2])] == ["mine"]


async def test_attempts_alone_stop_an_app(tmp_path, upstream) -> None:
    """With consent enforced nothing of those who gave none leaves; that so many were asked for is found all the same."""
    place = prepared(tmp_path, upstream, budgets(without_grant=200))
    async with started(place) as proxy:
        await proxy.grant("1000")
        quiz = Taker(proxy)
        await quiz.pages(0, 20)
        assert quiz.received == {"1000"}
        assert quiz.reasons[-1] == "app_quarantined"
        assert findings(proxy)[-1] == ("without_grant", "quarantine")


async def test_ids_that_are_tried_out_stop_an_app(tmp_path, upstream) -> None:
    """Unknown ids and people who refuse use up the same, so that the budget tells neither from the other."""
    place = prepared(tmp_path, upstream, budgets(missed=20))
    for known in range(2000, 2010):
        upstream.reply(f"/people/{known}", body={"id": str(known), "name": "n"})
    async with started(place) as proxy:
        await proxy.grant("1000")
        seen = {}
        for first, app in ((2000, "quiz"), (5000, "benign")):
            tokens = Taker(proxy, app).tokens
            seen[app] = [(await proxy.get(f"/people/{first + n}", tokens[n % 10]))[0] for n in range(40)]
        assert seen["quiz"] == seen["benign"]
        assert seen["quiz"][:20] == [404] * 20
        assert seen["quiz"][20] == 429
        assert seen["quiz"][-1] == 403


async def test_a_stream_ends_where_the_budget_does(tmp_path, upstream) -> None:
    """Chunk by chunk; the app's connection breaks off, and what it received is within the budget."""
    place = prepared(tmp_path, upstream, budgets(third_parties=60))

    def lines() -> Iterable[Any]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
        for n in range(8):
            yield b"".join(b'{"id": "%d", "name": "n"}\n' % one for one in range(1000 + n * 20, 1020 + n * 20))
            yield 0.15

    upstream.reply("/export", pieces=lambda _: lines())
    async with started(place) as proxy:
        await everybody_permits(proxy, 200)
        received = b""
        headers = {"Authorization": f"Bearer {proxy.token('9000000')}"}
        async with proxy.session.get(proxy.url + "/export", headers=headers) as answer:
            with contextlib.suppress(Exception):
                async for part in answer.content.iter_any():
                    received += part
        assert len(received.splitlines()) == 60
        closing = proxy.records()[-1]
        assert (closing.reason, closing.phase) == ("over_budget", None)


async def test_monitor_stops_nobody_and_says_what_would_be(tmp_path, upstream) -> None:
    """Everything passes; the findings say that nothing was done, the records' would what enforce would have."""
    place = prepared(tmp_path, upstream, budgets(third_parties=100), policy="mode: monitor\n")
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz = Taker(proxy)
        await quiz.pages(0, 12)
        assert len(quiz.received) == 12 * PAGE
        assert all(not one.detail["enforced"] for one in proxy.records("finding"))
        first, last = proxy.records()[0], proxy.records()[-1]
        assert first.would.decision == "allow"
        assert (last.would.decision, last.would.reason, last.decision) == ("deny", "app_quarantined", "allow")
        assert sum(len(one.subjects) for one in last.disclosed) == PAGE
        assert {one.would.reason for one in proxy.records("access")} == {None, "over_budget", "app_quarantined"}
        _, exposition = await proxy.admin("GET", "/metrics")
        assert series(exposition.decode(), "app_status", app="quiz", status="active") == 1
        assert series(
            exposition.decode(), "distinct_subjects", app="quiz", relation="third_party", window="24h"
        ) == pytest.approx(300, rel=0.04)


async def test_monitor_blocks_no_holder_and_says_so(tmp_path, upstream) -> None:
    """One holder's excess passes as well; the records say what enforce would have refused."""
    place = prepared(tmp_path, upstream, budgets(per_holder=60), policy="mode: monitor\n")
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz = Taker(proxy)
        await quiz.pages(0, 8, holder=3)
        assert len(quiz.received) == 8 * PAGE
        records = proxy.records("access")
        assert {one.decision for one in records} == {"allow"}
        assert records[-1].would.reason == "holder_blocked"


async def test_counts_and_quarantine_survive_a_restart(tmp_path, upstream) -> None:
    """What was reserved before counts after; a quarantine stays."""
    place = prepared(tmp_path, upstream, budgets(third_parties=200))
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz, benign = Taker(proxy), Taker(proxy, "benign")
        await quiz.pages(0, 16)
        await benign.pages(0, 7)
        assert quiz.reasons[-1] == "app_quarantined"
    async with started(place) as proxy:
        assert await Taker(proxy).page(0) == "app_quarantined"
        assert await Taker(proxy, "benign").pages(7, 2) == ["ok", "over_budget"]


async def test_lost_state_comes_back_from_the_log(tmp_path, upstream) -> None:
    """Without the file the log tells who was reached and who is quarantined: nothing begins at zero."""
    place = prepared(tmp_path, upstream, budgets(third_parties=200))
    async with started(place) as proxy:
        await everybody_permits(proxy)
        await Taker(proxy).pages(0, 16)
        await Taker(proxy, "benign").pages(0, 7)
    for file in (tmp_path / "state").glob("detection.sqlite3*"):
        file.unlink()
    async with started(place) as proxy:
        assert await Taker(proxy).page(0) == "app_quarantined"
        assert await Taker(proxy, "benign").pages(7, 2) == ["ok", "over_budget"]


async def test_damaged_state_stops_the_start(tmp_path, upstream) -> None:
    """Nobody knows then who is quarantined; the message says what to do."""
    place = prepared(tmp_path, upstream, budgets(third_parties=200))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "detection.sqlite3").write_bytes(b"no database" * 500)
    with pytest.raises(DetectionUnusable, match="put back a copy, or remove it"):
        async with started(place):
            pass


async def test_a_killed_proxy_forgets_neither_people_nor_quarantine(tmp_path, upstream) -> None:
    """SIGKILL right after the answers: the status was stored before them, whom apps reached is told by the log."""
    place = prepared(tmp_path, upstream, budgets(third_parties=200), detection={"snapshot_s": 3600})
    async with process_of(place, exits=-signal.SIGKILL) as proxy:
        await everybody_permits(proxy)
        await Taker(proxy).pages(0, 16)
        await Taker(proxy, "benign").pages(0, 7)
        proxy.process.kill()
    async with started(place) as proxy:
        assert await Taker(proxy).page(0) == "app_quarantined"
        assert await Taker(proxy, "benign").pages(7, 2) == ["ok", "over_budget"]


async def test_a_class_that_has_ended_gives_no_more(tmp_path, upstream) -> None:
    """The app that was declared a backfill is one of its tier again."""
    given = {
        **budgets(third_parties=50),
        "classes": {"backfill": {"third_parties": {"24h": 500}}},
        "apps": {
            "quiz": {"class": "backfill", "until": "2025-01-31"},
            "benign": {"class": "backfill", "until": "2099-01-31"},
        },
    }
    place = prepared(tmp_path, upstream, given)
    async with started(place) as proxy:
        await everybody_permits(proxy, 200)
        assert await Taker(proxy).pages(0, 3) == ["ok", "ok", "over_budget"]
        assert await Taker(proxy, "benign").pages(0, 6) == ["ok"] * 6


async def decide(proxy: Proxy, verb: str, app: str = "quiz", **body: str) -> tuple[int, dict[str, Any]]:
    status, text = await proxy.admin("POST", f"/v1/apps/{app}/{verb}", json=body)
    return status, json.loads(text)


async def test_a_person_releases_and_the_app_goes_on(tmp_path, upstream) -> None:
    """With a reason, on record, over a restart too; then the budget holds anew."""
    place = prepared(tmp_path, upstream, budgets(third_parties=100))
    async with started(place) as proxy:
        await everybody_permits(proxy)
        quiz = Taker(proxy)
        await quiz.pages(0, 12)
        assert quiz.reasons[-1] == "app_quarantined"
        assert (await decide(proxy, "release"))[0] == 422
        assert await quiz.page(0) == "app_quarantined"
        status, told = await decide(proxy, "release", reason="a false alarm")
        assert (status, told["status"], told["status_by"], told["findings"]) == (200, "active", "tests", [])
        record = proxy.records("admin")[-1]
        assert (record.action, record.app, record.target) == ("app.release", "quiz", {"reason": "a false alarm"})
        assert await quiz.page(20) == "ok"
    async with started(place) as proxy:
        quiz = Taker(proxy)
        assert await quiz.page(21) == "ok"
        await quiz.pages(22, 12)
        assert len(quiz.received) == 3 * PAGE
        assert quiz.reasons[-1] == "app_quarantined"


async def test_a_person_restricts_and_quarantines_at_once(tmp_path, upstream) -> None:
    """For the next request, of every token of the app; the other app is not touched."""
    place = prepared(tmp_path, upstream, budgets())
    async with started(place) as proxy:
        await everybody_permits(proxy, 100)
        quiz = Taker(proxy)
        assert await quiz.page(0) == "ok"
        await decide(proxy, "restrict", reason="under review")
        assert await quiz.page(1) == "ok"
        assert len(quiz.received) == PAGE
        await decide(proxy, "quarantine", reason="it is a harvest")
        assert await quiz.pages(0, 3) == ["app_quarantined"] * 3
        assert await Taker(proxy, "benign").page(0) == "ok"
        assert (await decide(proxy, "quarantine", "nobody", reason="x"))[1]["reason"] == "app_unknown"


async def test_what_is_shown_of_an_app_and_a_finding_that_is_dismissed(tmp_path, upstream) -> None:
    """Since when, how many, which categories, the records behind it; never a person."""
    place = prepared(tmp_path, upstream, {**budgets(third_parties=100), "quarantine_at": 9.0, "restrict_at": 9.0})
    async with started(place) as proxy:
        await everybody_permits(proxy, 200)
        quiz = Taker(proxy)
        await quiz.pages(0, 5)
        told = json.loads((await proxy.admin("GET", "/v1/apps/quiz"))[1])
        assert (told["people"]["24h"], told["holders"]["24h"], told["still_leaking"]) == (100, 5, True)
        assert set(told["categories"]) == {"user.unique_id", "user.name"}
        assert {one.id for one in proxy.records() if one.app == "quiz"} == set(told["records"])
        assert [one["action"] for one in told["findings"]] == ["throttle", "warn"]
        first = told["findings"][0]["id"]
        assert first in {one.id for one in proxy.records("finding")}
        status, after = await decide(proxy, "dismiss", reason="known", finding=first)
        assert (status, [one["action"] for one in after["findings"]]) == (200, ["warn"])
        assert (await decide(proxy, "dismiss", reason="known", finding=first))[1]["reason"] == "finding_unknown"
        (listed,) = [
            one for one in json.loads((await proxy.admin("GET", "/v1/apps"))[1])["apps"] if one["id"] == "quiz"
        ]
        assert (listed["status"], listed["people_24h"], listed["open_findings"]) == ("active", 100, 1)


async def test_the_command_line_at_three_in_the_morning(tmp_path, upstream) -> None:
    """One screen says what happens and how to stop it; the command it names does."""
    place = prepared(tmp_path, upstream, budgets())
    async with started(place) as proxy:
        await everybody_permits(proxy, 100)
        await Taker(proxy).page(0)
        (tmp_path / "token").write_text(proxy.admin_token)
        where = ("--token-file", str(tmp_path / "token"), "--admin", proxy.admin_url, "-c", str(place.config))

        async def run(*words: str) -> str:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "audit_proxy", "app", *words, *where, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            return output.decode()

        screen = await run("show", "quiz", "--incident")
        assert "Still leaking   YES" in screen
        assert "25 in 24 hours" in screen
        assert "audit-proxy app quarantine quiz --reason" in screen
        assert await run("quarantine", "quiz", "--reason", "it is a harvest") == "quiz is quarantined.\n"
        assert await Taker(proxy).page(0) == "app_quarantined"
        assert json.loads(await run("show", "quiz", "--incident", "--json"))["status_reason"] == "it is a harvest"
        assert "quarantined" in await run("status")
        assert await run("release", "quiz", "--reason", "was none") == "quiz is active.\n"
