"""Erasing a person from a running proxy's log: the admin API, the command line, what apps see, what the disk holds."""

import asyncio
import base64
import json
import secrets

import pytest
from typer.testing import CliRunner

from audit_proxy.adapters.files_posix import PosixFiles
from audit_proxy.adapters.pseudonyms_keyed import KeyStore
from audit_proxy.cli.keys import keys_app
from audit_proxy.cli.subject import subject_app
from audit_proxy.core.errors import KeysUnavailable, LogUnusable
from audit_proxy.core.record import decode, encode
from audit_proxy.wiring.log import read_vkey, verify_log, vkey_path
from tests.integration import c2sp
from tests.simulator.admin import admin_stage
from tests.simulator.people import document
from tests.simulator.proxy import running_proxy, serving
from tests.simulator.recording import RecordingUpstream

ANN = {"id": "1", "name": "nameof1", "email": "1@example.org", "score": 1.5}
BOB = {"id": "2", "name": "nameof2", "email": "2@example.org", "score": 2.5}
EVE = {"id": "3", "name": "nameof3", "email": "3@example.org", "score": 3.5}
DAN = {"id": "4", "name": "nameof4", "email": "4@example.org", "score": 4.5}


@pytest.fixture
async def upstream():
    async with RecordingUpstream() as up:
        up.reply("/people/1/friends", body={"data": [BOB, EVE, ANN]})
        for one in (ANN, BOB, EVE):
            up.reply(f"/people/{one['id']}", body=one)
        yield up


@pytest.fixture
async def proxy(tmp_path, upstream):
    async with running_proxy(tmp_path, upstream.url, document()) as running:
        yield running


def run(proxy, *arguments, app=subject_app):
    token = proxy.folder / "admin.token"
    token.write_text(proxy.admin_token)
    more = ["--token-file", str(token), "--admin", proxy.admin_url]
    return asyncio.to_thread(CliRunner().invoke, app, [*arguments, *more])


async def ids(proxy):
    status, _, body = await proxy.get("/people/1/friends", proxy.token())
    assert status == 200
    return [one["id"] for one in json.loads(body)["data"]]


async def erase(proxy, person):
    status, body = await proxy.admin("POST", f"/v1/subjects/person:{person}/erase")
    assert status == 200, body
    return json.loads(body)["epochs"]


def verified(proxy):
    directory = proxy.folder / "log"
    verdict = verify_log(directory, read_vkey(vkey_path(directory)))
    assert verdict.whole, verdict.problems
    return verdict


async def test_an_erased_person_is_withheld_at_once_and_nobody_can_be_told_from_the_records(proxy, tmp_path):
    """Bob has given everything; erased, he is as one who gave nothing; the others are untouched; the log verifies."""
    await proxy.grant("2", "3")
    assert await ids(proxy) == ["2", "3", "1"]
    before = {one: proxy.pseudonym(one) for one in "123"}
    assert await erase(proxy, "2") == 1
    assert await ids(proxy) == ["3", "1"]
    assert await erase(proxy, "2") == 0
    first, second = proxy.records()
    assert [before["2"] in encode(record).decode() for record in (first, second)] == [True, False]
    (group,) = [group for group in second.withheld if group.relation == "third_party"]
    assert (group.subjects, group.consent) == (("erased",), "withdrawn")
    assert {before["1"], before["3"]} == {one for group in second.disclosed for one in group.subjects}
    with pytest.raises(KeyError):
        proxy.pseudonym("2")
    assert {one: proxy.pseudonym(one) for one in "13"} == {one: before[one] for one in "13"}
    await proxy.end()
    assert (verified(proxy).records, verified(proxy).signed) == (6, 6)


async def test_an_erased_person_and_an_unknown_one_look_alike(proxy, upstream):
    """The same status, headers and body, after the same upstream call; asked for by id or by list."""
    await proxy.grant("2")
    await erase(proxy, "2")
    answers = []
    for one in ("2", "999"):
        upstream.requests.clear()
        status, headers, body = await proxy.get(f"/people/{one}", proxy.token())
        answers.append((status, {k: v for k, v in headers.items() if k not in ("X-Audit-Id", "Date")}, body))
        assert [r.target for r in upstream.requests] == [f"/people/{one}"]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
    assert proxy.records()[0].asked == ("erased",)


async def test_an_erased_holder_gets_nothing_about_themselves(proxy):
    """A token that is still valid speaks for nobody any more; the record calls the holder erased."""
    assert (await proxy.get("/people/1", proxy.token()))[0] == 200
    await erase(proxy, "1")
    assert (await proxy.get("/people/1", proxy.token()))[0] == 404
    assert proxy.records()[-1].holder == "erased"


async def test_the_record_of_an_erasure_says_nothing_about_the_person(proxy):
    """Neither id nor pseudonym: it would be a list of those whom the log was made to forget."""
    name = proxy.pseudonym("2")
    status, body = await proxy.admin("POST", "/v1/subjects/person:2/erase")
    assert status == 200
    record = proxy.records("admin")[-1]
    assert (record.action, record.actor, record.target, record.decision) == ("subject.erase", "tests", None, "allow")
    assert record.route == "/v1/subjects/{subject}/erase"
    written = proxy.everything_written()
    assert b"person:2" not in written
    assert name.encode() not in written
    assert b"person" not in body


async def test_an_erasure_outlives_a_restart_and_a_rotation_begins_anew(proxy, upstream):
    """After a restart Bob is still erased and Eve is who she was; in the next epoch Bob is a person without a past."""
    await proxy.grant("2", "3")
    await ids(proxy)
    eve = proxy.pseudonym("3")
    await erase(proxy, "2")
    await proxy.end()
    async with serving_again(proxy) as again:
        assert await ids(again) == ["3", "1"]
        assert again.pseudonym("3") == eve
        status, body = await again.admin("POST", "/v1/keys/rotate")
        assert (status, json.loads(body)) == (200, {"epoch": 2})
        assert await ids(again) == ["2", "3", "1"]
        names = {one for group in again.records()[-1].disclosed for one in group.subjects}
        assert names == {again.pseudonym(one, 2) for one in "123"}
        assert eve not in names
        assert await erase(again, "3") == 2
        assert await erase(again, "2") == 1
    assert verified(proxy)


def serving_again(proxy):
    return serving(proxy.folder, proxy.key, proxy.admin_token)


async def test_a_report_tells_what_apps_received_in_every_epoch(proxy):
    """Before and after a rotation; without anything about anybody else; nothing is left once the person is erased."""
    await proxy.grant("2", scopes="read")
    await ids(proxy)
    await run(proxy, "rotate", app=keys_app)
    await ids(proxy)
    await proxy.get("/people/2", proxy.token())
    code = await run(proxy, "report", "person:2", "--dir", str(proxy.folder / "log"), "--json")
    assert code.exit_code == 0, code.output
    told = json.loads(code.stdout)
    account = told["apps"]["quiz"]
    assert (told["subject"], told["epochs"], set(told["apps"])) == ("person:2", [1, 2], {"quiz"})
    assert (account["requests"], account["asked_for"], account["as_holder"]) == (3, 1, 0)
    assert account["disclosed"] == {"user.behavior": 3, "user.name": 3, "user.unique_id": 3}
    assert account["withheld"] == {"user.contact.email": 3}
    assert (account["grounds"], account["reasons"]) == (["grant"], ["grant_scope"])
    shown = await run(proxy, "report", "person:1", "--dir", str(proxy.folder / "log"))
    assert "quiz: 3 requests, 3 with the person's own token" in shown.stdout
    assert "user.contact.email (2)" in shown.stdout
    nothing = await run(proxy, "report", "person:77", "--dir", str(proxy.folder / "log"))
    assert "No app asked" in nothing.stdout
    done = await run(proxy, "erase", "person:2", "--yes")
    assert (done.exit_code, done.stdout) == (0, "Erased.\n")
    shown = await run(proxy, "report", "person:2", "--dir", str(proxy.folder / "log"))
    assert "erased from every live key epoch" in shown.stdout
    assert "quiz" not in shown.stdout
    done = await run(proxy, "erase", "person:2", "--yes", "--json")
    assert json.loads(done.stdout) == {"erased": True, "epochs": 0}


async def test_wrong_use_of_the_commands(proxy):
    """Without --yes nothing is erased; a subject has a namespace; a log must be there."""
    name = proxy.pseudonym("2")
    done = await run(proxy, "erase", "person:2")
    assert (done.exit_code, "--yes" in done.stderr) == (2, True)
    assert proxy.pseudonym("2") == name
    done = await run(proxy, "erase", "nobody", "--yes")
    assert (done.exit_code, done.stderr.startswith("statement_invalid:")) == (2, True)
    done = await run(proxy, "report", "person:2", "--dir", str(proxy.folder / "nowhere"))
    assert (done.exit_code, "nowhere" in done.stderr) == (2, True)
    done = await run(proxy, "list", app=keys_app)
    assert done.stdout.startswith("   1  since ")
    assert done.stdout.endswith("in force\n")


async def test_an_erasure_that_cannot_be_recorded_does_not_happen(tmp_path):
    """Nothing irreversible without a record; with one that failed on the disk the second record says so."""
    async with admin_stage(tmp_path) as stage:
        stage.log.down = True
        for path in ("/v1/subjects/person:1/erase", "/v1/keys/rotate"):
            async with stage.call("POST", path) as response:
                assert (response.status, (await response.json())["reason"]) == (503, "audit_unavailable")
        assert set(await stage.keys.names("person:1")) == {1}
        stage.log.down = False

        def full(*_):
            raise KeysUnavailable("the pseudonym keys cannot be changed: No space left on device")

        stage.keys._store.erase = stage.keys._store.rotate = full
        for path, action in (("/v1/subjects/person:1/erase", "subject.erase"), ("/v1/keys/rotate", "keys.rotate")):
            async with stage.call("POST", path) as response:
                assert (response.status, (await response.json())["reason"]) == (503, "keys_unavailable")
            assert stage.log.lines[-2:] == [(action, "ops", None), (action, "ops", "keys_unavailable")]


@pytest.mark.parametrize("gone", ["store", "another store", "binding"])
async def test_keys_that_are_missing_beside_a_log_stop_the_start(proxy, gone, tmp_path_factory):
    """Never a silently new key: the error says what is missing, where it belongs, and nothing is made."""
    await ids(proxy)
    await proxy.end()
    store = proxy.folder / "state" / "pseudonyms"
    if gone == "binding":
        (proxy.folder / "log" / "pseudonym-keys").unlink()
    else:
        store.rename(proxy.folder / "elsewhere")
    if gone == "another store":
        key = base64.b64decode((proxy.folder / "pseudonym.key").read_text())
        KeyStore(PosixFiles(store, private=True), key).open(1.0, create=True)
    before = sorted(store.glob("*"))
    with pytest.raises(LogUnusable, match="never made beside a log"):
        async with serving_again(proxy):
            pass
    assert [one for one in sorted(store.glob("*")) if one.name != "lock"] == [
        one for one in before if one.name != "lock"
    ]


async def test_another_signing_key_beside_a_log_stops_the_start(proxy):
    """The checkpoint is not this key's."""
    await proxy.end()
    vkey = vkey_path(proxy.folder / "log").read_text()
    (proxy.folder / "signing.key").write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    with pytest.raises(LogUnusable, match="not signed by the expected key"):
        async with serving_again(proxy):
            pass
    assert vkey_path(proxy.folder / "log").read_text() == vkey


async def test_a_program_that_knows_only_the_specifications_verifies_the_log_of_erased_people(proxy):
    """Erasing changed no byte that is hashed."""
    await proxy.grant("2", "3")
    await ids(proxy)
    lines = next((proxy.folder / "log/journal").glob("*.jsonl")).read_bytes().splitlines()
    for person in "23":
        await erase(proxy, person)
    await proxy.end()
    entries = c2sp.check_log(proxy.folder / "log", vkey_path(proxy.folder / "log").read_text())
    assert entries[: len(lines)] == lines
    assert [decode(entry).action for entry in entries[len(lines) :]] == ["subject.erase"] * 2
