"""A page of very many people through the running proxy: its record is longer than an entry, and whole when read back."""

import json

from audit_proxy.core.record import ENTRY_MAX
from audit_proxy.wiring.log import read_vkey, verify_log, vkey_path
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy
from tests.simulator.recording import RecordingUpstream

PEOPLE = 10_000


async def test_a_page_of_ten_thousand_people_is_recorded_whole(tmp_path) -> None:
    """Everyone who granted leaves and stands in the record, everybody else stands in it as withheld; the log is whole."""
    page = [{"id": str(n), "name": f"nameof{n}"} for n in range(2, PEOPLE + 2)]
    granted = [one["id"] for one in page if int(one["id"]) % 2]
    signals = ("third_parties", "without_grant", "missed", "per_holder", "owner", "fan_out", "coverage")
    (tmp_path / "budgets.yaml").write_text(json.dumps({"default": {one: {} for one in signals}}))  # no limits
    async with RecordingUpstream() as upstream, running_proxy(tmp_path, upstream.url, document()) as proxy:
        upstream.reply("/people/1/friends", body={"data": page})
        await proxy.grant(*granted, scopes="read")
        status, headers, body = await proxy.get("/people/1/friends", proxy.token())
        stored = b"".join(path.read_bytes() for path in sorted((tmp_path / "log" / "journal").glob("*.jsonl")))
        (record,) = proxy.records()  # durable before the answer: it is there as soon as the answer is
        _, metrics = await proxy.admin("GET", "/metrics")
    assert status == 200
    assert [one["id"] for one in json.loads(body)["data"]] == granted
    assert record.id == headers["X-Audit-Id"]
    assert record.parts is None
    (disclosed,) = record.disclosed
    (withheld,) = record.withheld
    assert (len(set(disclosed.subjects)), disclosed.consent) == (len(granted), "grant")
    assert (len(set(withheld.subjects)), withheld.consent) == (PEOPLE - len(granted), "no_grant")
    assert not set(disclosed.subjects) & set(withheld.subjects)
    assert (record.counts["people"], record.bytes) == (PEOPLE, len(body))
    lines = [line for line in stored.splitlines() if record.id.encode() in line]
    assert len(lines) > 1
    assert max(map(len, lines)) <= ENTRY_MAX
    assert b'audit_proxy_audit_records_total{kind="access"} 1.0' in metrics
    log = tmp_path / "log"
    verdict = verify_log(log, read_vkey(vkey_path(log)))
    assert verdict.whole
    assert verdict.notes == ()
