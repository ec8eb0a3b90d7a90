"""The admin API over real sockets, on the real consent store."""

import asyncio
import json

import aiohttp
import pytest
import yarl
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from audit_proxy.core.errors import ConsentUnavailable
from audit_proxy.core.record import encode
from audit_proxy.frontends.admin.access import ACTIONS
from audit_proxy.frontends.admin.openapi import openapi
from audit_proxy.frontends.admin.problems import STATUS, TITLES, AdminReason
from audit_proxy.wiring.log import open_audit_log
from tests.simulator.admin import WallClock, admin_stage, token

PAIR = "/v1/consent/quiz/person:1001"
GRANT = {"scopes": ["likes"], "purpose": "marketing", "source": "app", "evidence": "SECRET-form"}


@pytest.fixture
async def stage(tmp_path):
    async with admin_stage(tmp_path) as made:
        yield made


def conforms(name, value):
    document = openapi()
    Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]}).validate(value)


async def told(response, status, reason):
    body = await response.json(content_type="application/problem+json")
    assert (response.status, body["status"], body["reason"]) == (status, status, reason)
    conforms("Problem", body)
    return body


async def standing(stage, app="quiz", subject="person:1001"):
    return (await stage.store.standings(app, [subject]))[subject]


class Failing:
    """A store that cannot be asked."""

    def __getattr__(self, name):
        async def fail(*_args, **_more):
            raise ConsentUnavailable("SECRET-path")

        return fail


# -- consent


async def test_put_get_withdraw_and_put_again(stage):
    """A grant is stored, shown with its evidence, withdrawn, and given anew."""
    async with stage.call("PUT", PAIR, json={**GRANT, "expires_at": "2031-05-01T10:00:00+02:00"}) as response:
        assert response.status == 200
        conforms("PutResult", await response.json())
    async with stage.call("GET", PAIR) as response:
        held = await response.json()
        conforms("Held", held)
    (one,) = held["grants"]
    assert (one["scopes"], one["purpose"], one["expires_at"], one["in_effect"]) == (
        ["likes"],
        "marketing",
        "2031-05-01T08:00:00Z",
        True,
    )
    assert one["evidence"] == "SECRET-form"
    async with stage.call("POST", PAIR + "/withdraw") as response:
        conforms("WithdrawResult", await response.json())
    assert (await standing(stage)).withdrawn
    async with stage.call("GET", PAIR) as response:
        held = await response.json()
        conforms("Held", held)
    assert held["withdrawn"]
    assert not held["grants"][0]["in_effect"]
    async with stage.call("PUT", PAIR, json=GRANT) as response:
        assert response.status == 200
    assert (await standing(stage)).grants


async def test_withdrawing_from_all_apps(stage):
    """``*`` in the app's place reaches every app; a grant cannot be for all apps."""
    async with stage.call("PUT", PAIR, json=GRANT) as response:
        assert response.status == 200
    async with stage.call("POST", "/v1/consent/*/person:1001/withdraw", json={"source": "help desk"}) as response:
        assert response.status == 200
    assert (await standing(stage)).withdrawn
    assert (await standing(stage, "another")).withdrawn
    async with stage.call("PUT", "/v1/consent/*/person:1001", json=GRANT) as response:
        await told(response, 422, "statement_invalid")


async def test_ids_with_reserved_characters_are_one_segment(stage):
    """An id holding a slash, a percent sign or a question mark is addressed percent-encoded and stays itself."""
    path = yarl.URL(stage.base + "/v1/consent/a%2Fb/person:x%2Fy%25%3F%20z", encoded=True)
    async with stage.call("GET", "", "ops") as response:
        assert response.status == 404
    headers = {"Authorization": f"Bearer {token('ops')}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.put(path, json=GRANT) as response:
        assert response.status == 200
    assert (await standing(stage, "a/b", "person:x/y%? z")).grants


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PAIR, b""),
        (PAIR, b"{"),
        (PAIR, b"[]"),
        (PAIR, b"[" * 60_000),
        (PAIR, b'{"scopes": ["likes"]}'),
        (PAIR, b'{"scopes": [], "purpose": "marketing"}'),
        (PAIR, b'{"scopes": ["a b"], "purpose": "marketing"}'),
        (PAIR, b'{"scopes": "a  b", "purpose": "marketing"}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "Marketing"}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "marketing."}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "marketing", "expires_at": "2031-01-01T00:00:00"}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "marketing", "expires_at": 1900000000}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "marketing", "app": "other"}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "marketing", "withdrawn": false}'),
        (PAIR, b'{"scopes": ["a"], "scopes": ["b"], "purpose": "marketing"}'),
        (PAIR, b'{"scopes": ["a"], "purpose": "marketing", "evidence": "a\\nb"}'),
        ("/v1/consent/quiz/1001", None),
        ("/v1/consent/quiz/Person:1001", None),
        ("/v1/consent/quiz/person:", None),
        ("/v1/consent/quiz/person:a%00b", None),
        ("/v1/consent/quiz/person:" + "x" * 257, None),
        ("/v1/consent/qu%C3%AFz/person:1001", None),
    ],
)
async def test_what_is_no_grant_is_refused_and_recorded(stage, path, body):
    """A body or path that is no valid statement: 422, nothing changed, and a record without the value."""
    data = json.dumps(GRANT).encode() if body is None else body
    async with stage.call("PUT", path, data=data) as response:
        await told(response, 422, "statement_invalid")
    assert stage.log.lines == [("consent.put", "ops", "statement_invalid")]
    assert not (await standing(stage)).grants


async def test_a_grant_that_a_withdrawal_stands_against_is_a_conflict(stage):
    """A grant dated before the withdrawal: 409, and the second record says that it did not come about."""
    async with stage.call("POST", PAIR + "/withdraw") as response:
        assert response.status == 200
    async with stage.call("PUT", PAIR, json={**GRANT, "granted_at": "2020-01-01T00:00:00Z"}) as response:
        await told(response, 409, "superseded")
    assert stage.log.lines[1:] == [("consent.put", "ops", None), ("consent.put", "ops", "superseded")]


# -- records


async def test_every_call_is_a_record_without_raw_ids(stage):
    """Put, get, withdraw, loaded, the document and unknown paths are recorded, people by pseudonym, evidence not at all."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    calls = [
        ("PUT", PAIR, {"json": GRANT, "headers": trace}),
        ("GET", PAIR, {}),
        ("POST", PAIR + "/withdraw", {}),
        ("POST", "/v1/consent/loaded", {}),
    ]
    calls += [("GET", "/v1/openapi.json", {}), ("GET", "/v1/SECRET-person:1001", {}), ("DELETE", PAIR, {})]
    ids = []
    for method, path, more in calls:
        async with stage.call(method, path, **more) as response:
            ids.append(response.headers.get("X-Audit-Id"))
    assert stage.log.lines == [
        ("consent.put", "ops", None),
        ("consent.get", "ops", None),
        ("consent.withdraw", "ops", None),
        ("consent.loaded", "ops", None),
        ("openapi.get", "ops", None),
        ("unknown", "ops", "not_found"),
        ("unknown", "ops", "method_not_allowed"),
    ]
    kinds = [each.kind for each in stage.log.records]
    assert kinds == ["consent", "admin", "consent", "consent", "admin", "admin", "admin"]
    assert stage.kinds == kinds
    assert ids[:5] == [each.id for each in stage.log.records[:5]]
    put = stage.log.records[0]
    (pseudonym,) = stage.keys.pseudonyms(["person:1001"])
    assert put.target == {
        "app": "quiz",
        "subject": pseudonym,
        "purpose": "marketing",
        "scopes": ["likes"],
        "expires_at": None,
    }
    assert (put.app, put.method, put.route, put.decision) == ("quiz", "PUT", "/v1/consent/{app}/{subject}", "allow")
    assert put.trace == "0af7651916cd43dd8448eb211c80319c"
    everything = b"\n".join(map(encode, stage.log.records))
    assert b"1001" not in everything
    assert b"SECRET" not in everything


async def test_nothing_changes_or_is_told_before_the_record_is_durable(stage):
    """While the log has taken but not yet synced the record, a put has not acted and a get has not answered."""
    stage.log.hold()

    async def status(method, path, **more):
        async with stage.call(method, path, **more) as response:
            return response.status

    calls = [asyncio.create_task(status("PUT", PAIR, json=GRANT)), asyncio.create_task(status("GET", PAIR))]
    async with asyncio.timeout(5):
        while len(stage.log.held) < 2:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert not any(call.done() for call in calls)
    assert not (await standing(stage)).grants
    stage.log.let_go()
    assert await asyncio.gather(*calls) == [200, 200]
    assert (await standing(stage)).grants


async def test_without_the_log_nothing_changes_and_nothing_is_told(stage):
    """Put, get, import, loaded, the document: 503 audit_unavailable; the store is as it was."""
    stage.log.down = True
    line = json.dumps({"app": "quiz", "subject": "person:1", **GRANT})
    ndjson = {"headers": {"Content-Type": "application/x-ndjson"}, "data": line}
    calls = [("PUT", PAIR, {"json": GRANT}), ("GET", PAIR, {}), ("POST", "/v1/consent/import", ndjson)]
    calls += [("POST", "/v1/consent/loaded", {}), ("GET", "/v1/openapi.json", {}), ("GET", "/nowhere", {})]
    for method, path, more in calls:
        async with stage.call(method, path, **more) as response:
            assert response.headers["Retry-After"] == "1"
            await told(response, 503, "audit_unavailable")
    assert not (await standing(stage)).grants
    assert not (await standing(stage, subject="person:1")).grants
    assert not stage.store.loaded


async def test_a_withdrawal_is_in_force_even_without_the_log(stage):
    """With the log down the withdrawal acts, the answer says so, and the repeated call is recorded."""
    async with stage.call("PUT", PAIR, json=GRANT) as response:
        assert response.status == 200
    stage.log.down = True
    async with stage.call("POST", PAIR + "/withdraw") as response:
        body = await told(response, 503, "audit_unavailable")
    assert body["applied"] is True
    assert (await standing(stage)).withdrawn
    stage.log.down = False
    async with stage.call("POST", PAIR + "/withdraw") as response:
        assert response.status == 200
    assert stage.log.lines[-1] == ("consent.withdraw", "ops", None)


async def test_a_withdrawal_does_not_wait_for_the_log(stage):
    """While its record is not durable yet, the withdrawal is in force already and the answer waits."""
    stage.log.hold()

    async def withdraw():
        async with stage.call("POST", PAIR + "/withdraw") as response:
            return response.status

    call = asyncio.create_task(withdraw())
    async with asyncio.timeout(5):
        while not stage.log.held:
            await asyncio.sleep(0.005)
    assert (await standing(stage)).withdrawn
    assert not call.done()
    stage.log.let_go()
    assert await call == 200


async def test_without_the_store_the_answer_is_503_and_the_records_say_so(tmp_path):
    """A consent store that does not answer: consent_unavailable, recorded, its error text nowhere."""
    async with admin_stage(tmp_path, store=Failing()) as stage:
        calls = [("PUT", PAIR, {"json": GRANT}), ("GET", PAIR, {}), ("POST", PAIR + "/withdraw", {})]
        calls += [("POST", "/v1/consent/loaded", {})]
        for method, path, more in calls:
            async with stage.call(method, path, **more) as response:
                assert "SECRET" not in await response.text()
                await told(response, 503, "consent_unavailable")
        reasons = [(action, reason) for action, _, reason in stage.log.lines]
        assert reasons == [
            ("consent.put", None),
            ("consent.put", "consent_unavailable"),
            ("consent.get", None),
            ("consent.withdraw", "consent_unavailable"),
            ("consent.loaded", None),
            ("consent.loaded", "consent_unavailable"),
        ]


async def test_a_fault_of_ours_tells_nothing(tmp_path):
    """An unexpected exception: 500 internal_error, recorded, without its text."""

    class Broken:
        async def held(self, *_):
            raise RuntimeError("SECRET")

    async with admin_stage(tmp_path, store=Broken()) as stage:
        async with stage.call("GET", PAIR) as response:
            body = await told(response, 500, "internal_error")
        assert "SECRET" not in json.dumps(body)
        assert stage.log.lines[-1] == ("consent.get", "ops", "internal_error")


async def test_with_the_real_log_the_record_is_on_disk_when_the_answer_comes(tmp_path):
    """Journal and front end together: what is answered stands in the log's files, by pseudonym."""
    log = await open_audit_log(tmp_path / "log", "test/node-1", "node-1", b"\x07" * 32, clock=WallClock())
    try:
        async with admin_stage(tmp_path, log=log) as stage:
            async with stage.call("PUT", PAIR, json=GRANT) as response:
                assert response.status == 200
                audit_id = response.headers["X-Audit-Id"]
            written = b"".join(file.read_bytes() for file in (tmp_path / "log").rglob("*") if file.is_file())
            assert audit_id.encode() in written
            assert b"consent.put" in written
            assert b"person:1001" not in written
            assert b"SECRET" not in written
    finally:
        await log.close()


# -- tokens and roles


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("platform", {"consent.put", "consent.withdraw", "consent.import", "consent.loaded", "openapi.get"}),
        (
            "grafana",
            {
                "consent.get",
                "subject.pseudonyms",
                "keys.list",
                "log.retention",
                "metrics.get",
                "openapi.get",
                "app.list",
                "app.show",
            },
        ),
        ("ops", set(ACTIONS) - {"unknown"}),
    ],
)
async def test_each_role_may_do_what_is_its_own(stage, role, may):
    """Every action but a role's own is refused with 403 and recorded with the token's name."""
    ndjson = {"headers": {"Content-Type": "application/x-ndjson"}, "data": b""}
    calls = {
        "consent.put": ("PUT", PAIR, {"json": GRANT}),
        "consent.get": ("GET", PAIR, {}),
        "consent.withdraw": ("POST", PAIR + "/withdraw", {}),
        "consent.import": ("POST", "/v1/consent/import", ndjson),
        "consent.loaded": ("POST", "/v1/consent/loaded", {}),
        "subject.erase": ("POST", "/v1/subjects/person:1/erase", {}),
        "subject.pseudonyms": ("GET", "/v1/subjects/person:1/pseudonyms", {}),
        "keys.list": ("GET", "/v1/keys", {}),
        "keys.rotate": ("POST", "/v1/keys/rotate", {}),
        "log.retention": ("GET", "/v1/log/retention", {}),
        "log.prune": ("POST", "/v1/log/prune", {}),
        "app.list": ("GET", "/v1/apps", {}),
        "app.show": ("GET", "/v1/apps/quiz", {}),
        "app.restrict": ("POST", "/v1/apps/quiz/restrict", {"json": {"reason": "r"}}),
        "app.quarantine": ("POST", "/v1/apps/quiz/quarantine", {"json": {"reason": "r"}}),
        "app.dismiss": ("POST", "/v1/apps/quiz/dismiss", {"json": {"reason": "r", "finding": "finding-1"}}),
        "app.release": ("POST", "/v1/apps/quiz/release", {"json": {"reason": "r"}}),
        "openapi.get": ("GET", "/v1/openapi.json", {}),
        "metrics.get": ("GET", "/metrics", {}),
    }
    assert set(calls) == set(ACTIONS) - {"unknown"}
    for action, (method, path, more) in calls.items():
        async with stage.call(method, path, role, **more) as response:
            if action in may:
                assert response.status == 200, action
            else:
                await told(response, 403, "role_insufficient")
                assert stage.log.lines[-1] == (action, role, "role_insufficient")


async def test_answers_about_apps_are_as_described(stage):
    """The list, one app with its findings, and the app after a decision."""
    async with stage.call("GET", "/v1/apps") as response:
        conforms("Apps", await response.json())
    async with stage.call("GET", "/v1/apps/quiz") as response:
        told_of = await response.json()
        conforms("AppShown", told_of)
    assert [one["id"] for one in told_of["findings"]] == ["finding-1"]
    async with stage.call("POST", "/v1/apps/quiz/restrict", json={"reason": "r"}) as response:
        restricted = await response.json()
        conforms("AppShown", restricted)
    assert (restricted["status"], restricted["status_by"], restricted["status_reason"]) == ("restricted", "ops", "r")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"reason": " "}', b'{"reason": "a\\nb"}', b'{"reason": "r", "x": 1}', b"[]"]
)
async def test_a_decision_without_a_reason_is_none(stage, body):
    """Nothing happens; the refusal is on record."""
    async with stage.call("POST", "/v1/apps/quiz/quarantine", data=body) as response:
        await told(response, 422, "reason_invalid")
    assert stage.log.lines[-1] == ("app.quarantine", "ops", "reason_invalid")
    async with stage.call("GET", "/v1/apps/quiz") as response:
        assert (await response.json())["status"] == "active"


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", [PAIR, PAIR + "/withdraw", "/v1/consent/import", "/v1/openapi.json", "/metrics", "/x"])
async def test_nothing_is_told_without_a_token(stage, method, path):
    """Without a token every path and method gives the same 401, be it there or not."""
    async with stage.call(method, path, None) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="admin"'
        assert "Allow" not in response.headers
    assert not (await standing(stage)).grants


@pytest.mark.parametrize(
    "authorization",
    [
        ["Bearer"],
        ["Bearer "],
        ["Bearer wrong"],
        [f"Basic {token('ops')}"],
        [f"Bearer  {token('ops')}"],
        [f"Bearer {token('ops')}x"],
        [f"Bearer {token('ops')[:-1]}"],
        [f"Bearer {token('ops')}", f"Bearer {token('ops')}"],
        ["Bearer " + "x" * 5000],
        ["Bearer \xff\xfe"],
    ],
)
async def test_a_token_that_is_not_exactly_one_of_ours_is_refused(stage, authorization):
    """Other schemes, prefixes, additions, repetitions of the header: 401."""
    lines = "".join(f"Authorization: {value}\r\n" for value in authorization)
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n".encode("latin-1"))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.split(b" ")[1] in (b"401", b"400")
    assert b"audit_proxy_sample" not in answer


async def test_refused_callers_cannot_flood_the_log(stage):
    """Hundreds of wrong tokens at once are a record now and one with the count a second later."""

    async def wrong(number):
        path = PAIR if number % 2 else "/metrics"
        async with stage.call("GET", path, None, headers={"Authorization": f"Bearer {number}"}) as response:
            assert response.status == 401

    await asyncio.gather(*map(wrong, range(200)))
    assert len(stage.log.records) == 1
    async with asyncio.timeout(5):
        while len(stage.log.records) < 2:
            await asyncio.sleep(0.05)
    first, second = stage.log.records
    assert (first.kind, first.actor, first.reason, first.counts) == (
        "admin",
        None,
        "token_invalid",
        {"token_invalid": 1},
    )
    assert second.counts == {"token_invalid": 199}


async def test_refusals_are_counted_until_the_log_takes_them(stage):
    """Refusals while the log is down are told once it is back, with their number; the answer stays 401."""
    stage.log.down = True
    for _ in range(3):
        async with stage.call("GET", "/metrics", None) as response:
            await told(response, 401, "token_missing")
    stage.log.down = False
    async with asyncio.timeout(5):
        while not stage.log.records:
            await asyncio.sleep(0.05)
    assert stage.log.records[0].counts == {"token_missing": 3}


async def test_refusals_are_told_after_a_fault_of_the_log(stage):
    """A log that fails in a way no port allows: the refusal stands as 401, and is told with the others once it can be."""
    append, stage.log.append = stage.log.append, None  # calling it is a TypeError
    for _ in range(2):
        async with stage.call("GET", "/metrics", None) as response:
            await told(response, 401, "token_missing")
    stage.log.append = append
    async with asyncio.timeout(5):
        while not stage.log.records:
            await asyncio.sleep(0.05)
    assert stage.log.records[0].counts == {"token_missing": 2}


async def test_stopping_tells_what_was_counted(tmp_path):
    """What was counted and not yet recorded is recorded when the listener stops."""
    async with admin_stage(tmp_path) as stage:
        for _ in range(5):
            async with stage.call("GET", "/metrics", None) as response:
                assert response.status == 401
    assert [each.counts["token_missing"] for each in stage.log.records] == [1, 4]


# -- bodies and headers


async def test_bodies_are_bounded_in_size_and_coding(stage):
    """More than 64 KiB: 413. A content coding: 415, also on an import. All recorded."""
    async with stage.call("PUT", PAIR, data=b" " * 70_000) as response:
        await told(response, 413, "request_too_large")
    async with stage.call("POST", PAIR + "/withdraw", data=b"x", headers={"Content-Encoding": "gzip"}) as response:
        await told(response, 415, "media_type_unsupported")
    zipped = {"Content-Encoding": "gzip", "Content-Type": "text/csv"}
    async with stage.call("POST", "/v1/consent/import", data=b"x", headers=zipped) as response:
        await told(response, 415, "media_type_unsupported")
    async with stage.call("POST", "/v1/consent/import", data=b"x") as response:
        await told(response, 415, "media_type_unsupported")
    assert [reason for _, _, reason in stage.log.lines] == ["request_too_large"] + ["media_type_unsupported"] * 3
    assert not (await standing(stage)).withdrawn


@pytest.mark.parametrize(
    ("path", "who"),
    [("/livez", None), ("/metrics", "ops"), (PAIR, "ops"), (PAIR, None), ("/x", "ops"), ("/v1/openapi.json", "ops")],
)
async def test_no_answer_is_for_other_origins_or_caches(stage, path, who):
    """Every answer forbids storing and framing, permits no other origin, and names no server software."""
    async with stage.call("GET", path, who, headers={"Origin": "https://evil.example"}) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Server"] == "audit-proxy"
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


# -- health, metrics, document


async def test_probes_take_no_token_and_leave_no_record(tmp_path):
    """livez answers while dependencies fail; readyz names what failed, not why, and asks at most once a second."""
    asked = []

    async def well():
        asked.append(1)

    async def unwell():
        raise OSError("SECRET-path")

    async def no():
        return False

    async with admin_stage(tmp_path, checks={"consent": well}) as stage:
        for _ in range(3):
            async with stage.call("GET", "/readyz", None) as response:
                assert response.status == 200
                body = await response.json()
                conforms("Ready", body)
                assert body == {"status": "ok", "checks": {"consent": "ok"}}
        assert len(asked) == 1
        assert stage.log.records == []
    async with admin_stage(tmp_path, checks={"consent": well, "log": unwell, "keys": no}) as stage:
        stage.log.down = True
        async with stage.call("GET", "/readyz", None) as response:
            assert response.status == 503
            body = await response.json()
            conforms("Ready", body)
            assert body["checks"] == {"consent": "ok", "log": "failed", "keys": "failed"}
        async with stage.call("GET", "/livez", None) as response:
            assert response.status == 200
            conforms("Live", await response.json())


async def test_metrics_are_exposed_to_readers_without_a_record(stage):
    """Both text formats are served; a scrape leaves no record, a refused one does."""
    async with stage.call("GET", "/metrics", "grafana") as response:
        assert "audit_proxy_sample_total 7.0" in await response.text()
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with stage.call("GET", "/metrics", "grafana", headers=accept) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")
    assert stage.log.records == []


async def test_metrics_may_be_open(tmp_path):
    """Where a setting says so, scrapes need no token; nothing else becomes open."""
    async with admin_stage(tmp_path, metrics_open=True) as stage:
        async with stage.call("GET", "/metrics", None) as response:
            assert response.status == 200
        async with stage.call("GET", PAIR, None) as response:
            assert response.status == 401
        async with stage.call("POST", "/metrics", None) as response:
            assert response.status == 401


async def test_the_document_is_valid_and_describes_every_route(stage):
    """OpenAPI 3.1, valid; its paths and methods are exactly the served ones, its reasons all there are."""
    async with stage.call("GET", "/v1/openapi.json") as response:
        document = await response.json()
    validate(document)
    described = {
        (method, path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    app = stage.frontend.app()
    served = {(route.method.lower(), route.resource.canonical) for route in app.router.routes()}
    assert described == served
    assert document["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"] == [
        r.value for r in AdminReason
    ]
    assert set(STATUS) == set(TITLES) == set(AdminReason)
    documented = {
        reason.value
        for reason in AdminReason
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters" and f"`{reason.value}`" in json.dumps(operation)
    }
    assert {r.value for r in AdminReason} - documented == {"not_found", "method_not_allowed"}
