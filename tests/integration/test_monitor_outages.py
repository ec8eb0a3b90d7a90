"""Monitor while what it depends on fails, breaks or never answers: the app's bytes are the platform's, the delay is bounded, and
what was not decided or recorded is counted and told."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from audit_proxy.core.consent import Standing
from audit_proxy.core.errors import ConsentUnavailable, Reason, Refusal, SubjectIdsUnavailable
from audit_proxy.core.identity import Identity
from audit_proxy.core.inspection import RawId
from audit_proxy.core.record import Record
from audit_proxy.wiring import serve
from tests.integration.monitor_corpus import CASES, Case, difference, granted, heard, message, proxied, said, teach
from tests.simulator.disk import with_faults
from tests.simulator.proxy import ISSUER, ProxyHere
from tests.simulator.recording import UNTIL_GONE

AT_ONCE = 16
PATIENT = {"max_delay_ms": 30_000}
IMPATIENT = {"max_delay_ms": 20}


@dataclass
class Outage:
    """What is wrong with a dependency: nothing, or it ``fails`` as its port says, ``breaks`` or ``hangs``, for as long as the
    test wants."""

    how: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def strike(self, failure: Exception) -> None:
        if self.how == "fails":
            raise failure
        if self.how == "breaks":
            raise RuntimeError("a bug")
        if self.how == "hangs":
            self.waiting += 1
            await self.over.wait()


class Failing:
    """A dependency's adapter behind an outage: the ports TokenResolver, SubjectIds, ConsentStore and Pseudonymizer. What is not
    theirs goes straight to the adapter."""

    def __init__(self, adapter: Any, outage: Outage) -> None:
        self._adapter = adapter
        self._outage = outage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    async def resolve(self, token: str, now: float) -> Identity | Refusal:
        try:
            await self._outage.strike(ConnectionError())
        except ConnectionError:
            return Refusal(Reason.keys_unavailable)
        return await self._adapter.resolve(token, now)

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        await self._outage.strike(SubjectIdsUnavailable({}))
        return await self._adapter.subjects(app, ids)

    async def standings(self, app: str, subjects: Sequence[str]) -> Mapping[str, Standing]:
        await self._outage.strike(ConsentUnavailable())
        return await self._adapter.standings(app, subjects)

    def pseudonyms(self, subjects: Sequence[str]) -> list[str]:
        if self._outage.how == "breaks":
            raise RuntimeError("a bug")
        return self._adapter.pseudonyms(subjects)


def with_outage(monkeypatch: pytest.MonkeyPatch, opener: str) -> Outage:
    """The next proxy's adapter that this function of the wiring opens is behind an outage."""
    outage = Outage()
    real: Callable[..., Any] = getattr(serve, opener)

    async def opened(*args: Any, **options: Any) -> Any:
        made = await real(*args, **options)
        if opener != "open_audit":
            return Failing(made, outage)
        return replace(made, pseudonyms=Failing(made.pseudonyms, outage))

    monkeypatch.setattr(serve, opener, opened)
    return outage


async def differences(upstream, proxy: ProxyHere) -> list[str]:
    """What differs for the whole corpus, tried side by side."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, case: Case) -> str | None:
        async with gate:
            return await difference(upstream, proxy, name, case)

    found = await asyncio.gather(*(one(name, case) for name, case in CASES.items()))
    return [one for one in found if one is not None]


async def failed_open(proxy: ProxyHere, where: str) -> float:
    """``fail_open_total`` of that place."""
    _, text = await proxy.admin("GET", "/metrics")
    mark = f'audit_proxy_fail_open_total{{where="{where}"}} '.encode()
    return sum(float(line.removeprefix(mark)) for line in text.splitlines() if line.startswith(mark))


def outcomes(proxy: ProxyHere) -> list[Record]:
    return [record for record in proxy.records() if record.phase is None]


OUTAGES = [
    ("open_tokens", "fails", "keys"),
    ("open_tokens", "breaks", "admission"),
    ("open_tokens", "hangs", "delay"),
    ("open_subject_ids", "fails", "subject_ids"),
    ("open_subject_ids", "breaks", "review"),
    ("open_subject_ids", "hangs", "delay"),
    ("open_consent_store", "fails", "consent"),
    ("open_consent_store", "breaks", "review"),
    ("open_consent_store", "hangs", "delay"),
]


@pytest.mark.parametrize(("opener", "how", "where"), OUTAGES)
async def test_a_dependency_that_is_out_alters_nothing(tmp_path, upstream, monkeypatch, opener, how, where) -> None:
    """Each exchange of the corpus is answered, with the platform's bytes, counted, and recorded with what is known of it."""
    teach(upstream)
    outage = with_outage(monkeypatch, opener)
    patience = IMPATIENT if how == "hangs" else PATIENT
    async with proxied(tmp_path, upstream.url, "monitor", monitor=patience) as proxy:
        await granted(proxy)
        outage.how = how
        assert await differences(upstream, proxy) == []
        assert await failed_open(proxy, where) > 0
        assert len(outcomes(proxy)) == len(CASES)
        assert proxy.records("gap") == []
        would = {(one.would.decision, one.would.reason) for one in outcomes(proxy) if one.would is not None}
        match how, opener:
            case "hangs", _:
                assert outage.waiting > 0
                assert ("unknown", None) in would
            case "breaks", _:
                assert ("deny", "internal_error") in would
            case "fails", "open_tokens":
                assert ("deny", "keys_unavailable") in would
                assert all(decision == "deny" for decision, _ in would)
            case _:
                grounds = {group.consent for one in outcomes(proxy) if one.would for group in one.would.withheld}
                expected = "subjects_unavailable" if opener == "open_subject_ids" else "consent_unavailable"
                assert expected in grounds
        assert all(one.uninspected for one in outcomes(proxy) if one.would and one.would.decision == "unknown")


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_log_that_is_out_alters_nothing(tmp_path, upstream, monkeypatch, how) -> None:
    """Each exchange is answered with the platform's bytes and counted; once the disk is back each is recorded or in a gap."""
    teach(upstream)
    disk = with_faults(monkeypatch)
    settings = {"monitor": IMPATIENT if how == "hangs" else PATIENT, "audit": {"commit_timeout_s": 60}}
    async with proxied(tmp_path, upstream.url, "monitor", **settings) as proxy:
        await granted(proxy)
        if how == "hangs":
            disk.hang()
        else:
            disk.break_("EIO")
        assert await differences(upstream, proxy) == []
        assert await failed_open(proxy, "delay" if how == "hangs" else "audit") >= len(CASES)
        assert outcomes(proxy) == []
        disk.heal()
    lost = sum(one.detail["records"] for one in proxy.records("gap") if one.detail)
    assert len(proxy.records()) + lost >= len(CASES)
    assert (lost == 0) == (how == "hangs")


async def test_a_record_that_cannot_be_made_is_a_gap(tmp_path, upstream, monkeypatch) -> None:
    """A fault on the way to the log alters nothing either."""
    teach(upstream)
    outage = with_outage(monkeypatch, "open_audit")
    async with proxied(tmp_path, upstream.url, "monitor", monitor=PATIENT) as proxy:
        await granted(proxy)
        outage.how = "breaks"
        assert await differences(upstream, proxy) == []
        gaps = proxy.records("gap")
        assert {tuple((one.detail or {}).items()) for one in gaps} == {(("reason", "record_not_made"), ("records", 1))}
        assert await failed_open(proxy, "audit") == len(gaps) > 0


async def test_an_app_in_enforce_waits_for_what_monitor_passes_without(tmp_path, upstream, monkeypatch) -> None:
    """The bound is monitor's alone: with the same outage an app in enforce gets nothing until it is over, then what is judged."""
    teach(upstream)
    outage = with_outage(monkeypatch, "open_subject_ids")
    outage.how = "hangs"
    async with proxied(tmp_path, upstream.url, "monitor", monitor=IMPATIENT) as proxy:
        await granted(proxy)
        case = CASES["people"]
        strict = replace(case, token={"app": "strict"})
        waiting = asyncio.create_task(heard(proxy.running.data_port, strict.request("people", proxy)))
        while not outage.waiting:
            await asyncio.sleep(0)
        assert await difference(upstream, proxy, "people", case) is None
        assert await failed_open(proxy, "delay") > 0
        assert not waiting.done()
        assert len(upstream.requests) == 2  # neither of them the strict app's
        outage.over.set()
        answer = message(await waiting, "GET")
        assert b"X-Audit-Id" in dict(answer.fields)
        assert b"nameof3" not in answer.body


async def test_a_body_that_does_not_end_is_held_back_no_longer_than_the_bound(tmp_path, upstream) -> None:
    """What has come passes, and what comes goes on passing; the record says that nobody looked."""
    part = said("200 OK", "Content-Type: application/json", body=b'{"data":', length=99)
    upstream.reply("/people/1/friends", pieces=[part, UNTIL_GONE])
    async with proxied(tmp_path, upstream.url, "monitor", monitor=IMPATIENT) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
        writer.write(Case().request("slow", proxy))
        assert await asyncio.wait_for(reader.readexactly(len(part)), 30)
        (record,) = proxy.records()
        assert record.would is not None
        assert (record.would.decision, record.uninspected, record.bytes) == ("unknown", True, 99)
        assert await failed_open(proxy, "delay") == 1
        writer.close()


async def test_the_apps_own_time_is_no_delay(tmp_path, upstream) -> None:
    """A body that the app sends slowly is judged all the same, however short the bound."""
    teach(upstream)
    case = CASES["201"]
    async with proxied(tmp_path, upstream.url, "monitor", monitor={"max_delay_ms": 200}) as proxy:
        request = case.request("201", proxy)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.running.data_port)
        writer.write(request[:-1])
        await asyncio.sleep(0.5)  # longer than the bound
        writer.write(request[-1:])
        assert (await reader.read()).startswith(b"HTTP/1.1 201 Created")
        writer.close()
        (record,) = proxy.records()
        assert record.would is not None
        assert record.would.reason == case.reason


async def test_a_consent_store_whose_file_is_damaged_alters_nothing(tmp_path, upstream) -> None:
    """With the real store, which finds out by itself."""
    teach(upstream)
    async with proxied(tmp_path, upstream.url, "monitor", monitor=PATIENT) as proxy:
        await granted(proxy)
        for path in tmp_path.glob("consent.sqlite3*"):
            path.write_bytes(b"no database" * 10_000)
        async with asyncio.timeout(30):
            while not await failed_open(proxy, "consent"):
                assert await difference(upstream, proxy, "people", CASES["people"]) is None
        assert await differences(upstream, proxy) == []


SOMEWHERE_CLOSED = "http://127.0.0.1:1"
ONE_ISSUER = {"issuer": ISSUER, "audience": "api", "algorithms": ["EdDSA"], "jwks_file": "jwks.json"}
DEPENDENCIES: dict[str, tuple[dict[str, Any], Reason, str]] = {
    "an issuer's keys": (
        {"identity": {"issuers": [{k: v for k, v in ONE_ISSUER.items() if k != "jwks_file"} | {"jwks_url": SOMEWHERE_CLOSED}]}},
        Reason.keys_unavailable, "keys",
    ),
    "introspection": (
        {"identity": {"introspection": [{"issuer": "https://auth.example/", "requests": [{"url": f"{SOMEWHERE_CLOSED}/introspect"}], "client_id": "me", "client_secret": {"file": "signing.key"}}]}},
        Reason.introspection_unavailable, "introspection",
    ),
    "the ids of holders": (
        {"identity": {"issuers": [ONE_ISSUER | {"holder_app_scoped": True}]},
         "platform": {"openapi": "openapi.json", "subject_ids": {"url": SOMEWHERE_CLOSED}}},
        Reason.holder_unavailable, "subject_ids",
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", DEPENDENCIES)
async def test_a_service_that_cannot_be_reached_alters_nothing(tmp_path, upstream, which) -> None:
    """With the real adapters: the reason that enforce would give, and its counter."""
    settings, reason, where = DEPENDENCIES[which]
    teach(upstream)
    case = CASES["people"]
    if which == "introspection":
        case = replace(case, token=None, fields=("Authorization: Bearer opaque",))
    async with proxied(tmp_path, upstream.url, "monitor", monitor=PATIENT, **settings) as proxy:
        assert await difference(upstream, proxy, "people", case) is None
        (record,) = proxy.records()
        assert record.would is not None
        assert (record.would.decision, record.would.reason, record.uninspected) == ("deny", reason, True)
        assert await failed_open(proxy, where) == 1


@pytest.mark.parametrize(
    ("reason", "status"),
    [(Reason.upstream_unreachable, 502), (Reason.upstream_timeout, 504), (Reason.upstream_protocol_error, 502)],
)
async def test_a_platform_that_gives_no_answer_is_the_one_thing_the_proxy_answers_for(
    tmp_path, upstream, reason, status
) -> None:
    """502 or 504 as in enforce, and the record says why."""
    upstream.reply("/me", pieces=[UNTIL_GONE] if reason is Reason.upstream_timeout else [b"nonsense\r\n\r\n"])
    origin = SOMEWHERE_CLOSED if reason is Reason.upstream_unreachable else upstream.url
    async with proxied(tmp_path, origin, "monitor", upstream={"url": origin, "first_byte_timeout_s": 0.2}) as proxy:
        assert (await proxy.get("/me", proxy.token()))[0] == status
        (record,) = proxy.records()
        assert record.would is not None
        assert (record.would.decision, record.would.reason, record.status) == ("deny", reason, status)
