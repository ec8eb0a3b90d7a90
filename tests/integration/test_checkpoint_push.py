"""Checkpoints leave the machine with the real proxy, whatever becomes of their targets."""

import asyncio
import ssl

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from audit_proxy.cli.log import log_app
from audit_proxy.core.merkle import kept, note
from audit_proxy.settings.check import check
from audit_proxy.settings.load import ConfigProblems
from audit_proxy.wiring.log import read_vkey, vkey_path
from tests.simulator.certificates import Authority
from tests.simulator.checkpoints import TOKEN, CheckpointReceiver
from tests.simulator.people import document
from tests.simulator.proxy import configure, private, proxy_process, running_proxy, serving

ANN = {"id": "1", "name": "n", "email": "e", "score": 1.5}


@pytest.fixture
async def archive():
    async with CheckpointReceiver() as made:
        yield made
        made.hang = False


def pushing(tmp_path, archive, *, every_s=0.1, timeout_s=5, **more):
    """Settings with a file on another disk and a service."""
    private(tmp_path / "archive.secret", TOKEN + "\n")
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault/node-1").touch()
    return {
        "checkpoint_interval_s": 0.02,
        "checkpoints": {
            "push_every_s": every_s,
            "timeout_s": timeout_s,
            "targets": [
                {"name": "vault", "file": "vault/node-1"},
                {"name": "archive", "url": f"{archive.url}/node-1", "secret": {"file": "archive.secret"}, **more},
            ],
        },
    }


def in_vault(folder):
    """Sizes of the log's own checkpoints in the file."""
    key = read_vkey(vkey_path(folder / "log"))
    found = kept.entries((folder / "vault/node-1").read_bytes().splitlines(keepends=True))
    return [j.checkpoint.size for j in (kept.judge(one, key) for one in found) if j.checkpoint is not None]


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def requests(proxy, count):
    for _ in range(count):
        assert (await proxy.get("/people/1", proxy.token()))[0] == 200


async def metric(proxy, name):
    """By target; pushes by target and outcome."""
    _, text = await proxy.admin("GET", "/metrics")
    lines = [line for line in text.decode().splitlines() if line.startswith(f"audit_proxy_{name}{{")]
    return {",".join(line.split('"')[-2::-2]): float(line.split()[-1]) for line in lines}


def verify(folder, *arguments):
    return CliRunner().invoke(log_app, ["verify", "-c", str(folder / "audit-proxy.yaml"), *map(str, arguments)])


async def test_every_target_gets_the_log_s_checkpoints(tmp_path, upstream, archive):
    """The file one behind the other, the service as posts with the token; the last one at the stop; the log continues them."""
    upstream.reply("/people/1", body=ANN)
    async with running_proxy(tmp_path, upstream.url, document(), audit=pushing(tmp_path, archive)) as proxy:
        await requests(proxy, 3)
        await until(lambda: archive.sizes[-1:] == [3] == in_vault(tmp_path)[-1:])
        assert set(await metric(proxy, "audit_checkpoint_push_age_seconds")) == {"vault", "archive"}
        pushes = await metric(proxy, "audit_checkpoint_pushes_total")
        assert set(pushes) == {"vault,taken", "archive,taken"}
        before = (len(archive.notes), len(in_vault(tmp_path)))
        await asyncio.sleep(0.3)  # an idle log
        assert (len(archive.notes), len(in_vault(tmp_path))) == before
        await requests(proxy, 1)
        await proxy.end()
    assert archive.sizes[-1] == in_vault(tmp_path)[-1] == 4
    assert archive.notes[-1] == (tmp_path / "log/checkpoint").read_bytes()
    assert {asked.target for asked in archive.asked} == {"/node-1"}
    (tmp_path / "from-archive").write_bytes(b"".join(archive.notes))
    done = verify(tmp_path, "--against", tmp_path / "vault/node-1", "--against", tmp_path / "from-archive")
    assert done.exit_code == 0, done.output
    assert "the newest over 4 records" in done.stdout


@pytest.mark.parametrize("trouble", ["500", "redirect", "hang", "down", "gone"])
async def test_a_target_in_trouble_holds_up_nothing_and_catches_up(tmp_path, upstream, archive, trouble):
    """Traffic, readiness and the other target go on; it is told once, and once more when it is over."""
    upstream.reply("/people/1", body=ANN)
    settings = pushing(tmp_path, archive, timeout_s=1 if trouble == "hang" else 5)
    archive.hang = trouble == "hang"
    archive.status = {"500": 500, "redirect": 302}.get(trouble, 201)
    sick = "vault" if trouble == "gone" else "archive"
    if trouble == "down":
        await archive.stop()
    if trouble == "gone":
        (tmp_path / "vault").rename(tmp_path / "unmounted")
    with capture_logs() as logs:
        async with running_proxy(tmp_path, upstream.url, document(), audit=settings) as proxy:
            await requests(proxy, 2)
            async with asyncio.timeout(20):
                while (await metric(proxy, "audit_checkpoint_pushes_total")).get(f"{sick},failed", 0) < 2:
                    await requests(proxy, 1)
            assert f"{sick},taken" not in await metric(proxy, "audit_checkpoint_pushes_total")
            assert (await proxy.admin("GET", "/readyz"))[0] == 200
            size = len(proxy.records())
            assert not any(asked.target == "/elsewhere" for asked in archive.asked)
            if trouble == "gone":
                await until(lambda: archive.sizes[-1] == size)
                (tmp_path / "unmounted").rename(tmp_path / "vault")
                await until(lambda: in_vault(tmp_path)[-1:] == [size])
                assert len(in_vault(tmp_path)) > 1  # what grew in each interval, not the newest alone
            else:
                await until(lambda: in_vault(tmp_path)[-1:] == [size])
                archive.hang, archive.status = False, 201
                if trouble == "down":
                    await archive.start()
                await until(lambda: archive.sizes[-1:] == [size])
            await until(lambda: any(one["event"] == "checkpoint_push_recovered" for one in logs))
    events = [one for one in logs if one["event"].startswith("checkpoint_push")]
    assert {one["target"] for one in events} == {sick}
    assert events[0]["event"] == "checkpoint_push_failed"
    assert events[-1]["event"] == "checkpoint_push_recovered"
    assert not any(hidden in str(logs) for hidden in (TOKEN, "/node-1", str(archive.port)))


async def test_a_file_that_somebody_cuts_is_told_and_goes_on(tmp_path, upstream, archive):
    """As one failed push; what comes later is kept, and what is left still proves the log."""
    upstream.reply("/people/1", body=ANN)
    async with running_proxy(tmp_path, upstream.url, document(), audit=pushing(tmp_path, archive)) as proxy:
        for n in range(1, 4):
            await requests(proxy, 1)
            await until(lambda n=n: in_vault(tmp_path)[-1:] == [n])
        vault = tmp_path / "vault/node-1"
        vault.write_bytes(vault.read_bytes()[:250])
        await requests(proxy, 1)
        await until(lambda: in_vault(tmp_path)[-1:] == [4])
        assert (await metric(proxy, "audit_checkpoint_pushes_total"))["vault,failed"] == 1
    done = verify(tmp_path, "--against", vault)
    assert done.exit_code == 0, done.output
    assert "entries that are no checkpoint" in done.stdout


async def test_pushes_under_load_are_checkpoints_of_one_log(tmp_path, upstream, archive):
    """Each continues the one before; all are found in the log."""
    upstream.reply("/people/1", body=ANN)
    settings = pushing(tmp_path, archive, every_s=0.02)
    async with running_proxy(tmp_path, upstream.url, document(), audit=settings) as proxy:
        await asyncio.gather(*(requests(proxy, 25) for _ in range(12)))
    sizes = archive.sizes
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == in_vault(tmp_path)[-1] == 300
    assert len(sizes) > 3
    (tmp_path / "from-archive").write_bytes(b"".join(archive.notes))
    assert verify(tmp_path, "--against", tmp_path / "from-archive").exit_code == 0


async def test_a_process_that_ends_pushes_its_last_checkpoint(tmp_path, upstream, archive):
    """With the usual minute between pushes, after SIGTERM; it ends too where the service hangs."""
    upstream.reply("/people/1", body=ANN)
    settings = pushing(tmp_path, archive, every_s=60)
    async with proxy_process(tmp_path, upstream.url, document(), audit=settings) as proxy:
        await until(lambda: archive.sizes == [0] == in_vault(tmp_path))
        await requests(proxy, 3)
    assert archive.sizes == in_vault(tmp_path) == [0, 3]
    archive.hang = True
    (tmp_path / "second").mkdir()
    second = pushing(tmp_path / "second", archive, every_s=60, timeout_s=2)
    async with proxy_process(tmp_path / "second", upstream.url, document(), audit=second) as proxy:
        await requests(proxy, 2)
    assert in_vault(tmp_path / "second")[-1] == 2
    assert b'"event":"checkpoint_push_failed"' in proxy.output


async def test_a_service_over_tls_is_believed_by_its_authority_alone(tmp_path, upstream):
    """The one that is named; the system's do not know it."""
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.issue("archive", "ip:127.0.0.1").path)
    async with CheckpointReceiver(tls) as archive:
        settings = pushing(tmp_path, archive, ca=str(authority.path))
        async with running_proxy(tmp_path, upstream.url, document(), audit=settings):
            await until(lambda: archive.sizes == [0])
        (tmp_path / "other").mkdir()
        distrusting = pushing(tmp_path / "other", archive)
        async with running_proxy(tmp_path / "other", upstream.url, document(), audit=distrusting) as proxy:
            async with asyncio.timeout(20):
                while not (await metric(proxy, "audit_checkpoint_pushes_total")).get("archive,failed"):
                    await asyncio.sleep(0.02)
        assert archive.sizes == [0]


async def test_a_restart_goes_on(tmp_path, upstream, archive):
    """Behind what is there; the log has not changed, so its checkpoint is the same."""
    upstream.reply("/people/1", body=ANN)
    async with running_proxy(tmp_path, upstream.url, document(), audit=pushing(tmp_path, archive)) as proxy:
        await requests(proxy, 2)
        await proxy.end()
    before = (tmp_path / "vault/node-1").read_bytes()
    async with serving(proxy.folder, proxy.key, proxy.admin_token) as again:
        await until(lambda: archive.sizes[-2:] == [2, 2])
        await requests(again, 1)
    assert (tmp_path / "vault/node-1").read_bytes().startswith(before)
    assert in_vault(tmp_path)[-1] == 3
    assert note.parse_note(archive.notes[-1])[0].startswith("audit-proxy/node-1\n3\n")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"file": "log/checkpoints", "url": None, "secret": None}, "the log's own directory"),
        ({"file": "x"}, "exactly one of 'file' and 'url'"),
        ({"url": "http://archive.example/"}, "unsafe_over_http: true"),
        ({"name": "vault"}, "the same name"),
        ({"name": "https://archive.example/"}, "pattern"),
        ({"secret": {"file": "nowhere"}}, "does not exist"),
        ({"ca": "archive.secret"}, "no PEM certificate"),
        ({"ca": "nowhere"}, "cannot be read"),
        ({"file": "x", "url": None}, "go with 'url'"),
    ],
)  # fmt: skip
async def test_targets_that_cannot_be_are_told_at_the_start(tmp_path, archive, change, what):
    """With what to do about it."""
    settings = pushing(tmp_path, archive)
    target = settings["checkpoints"]["targets"][1]
    target.update(change)
    settings["checkpoints"]["targets"][1] = {name: value for name, value in target.items() if value is not None}
    configure(tmp_path, "https://api.example", document(), audit=settings)
    with pytest.raises(ConfigProblems) as caught:
        check(tmp_path / "audit-proxy.yaml")
    assert any(what in one.text for one in caught.value.problems), caught.value.problems
