"""From a proxy through the real Prometheus and Alertmanager to a webhook; and what a dashboard asks for exists."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator

import pytest
import yaml
from aiohttp import web

from audit_proxy.core.detection.budgets import Signal
from tests.simulator.disk import with_faults
from tests.simulator.monitoring import DEPLOY, alertmanager, needs, prometheus, rules
from tests.simulator.people import document
from tests.simulator.proxy import ISSUER, configure, running_proxy, serving
from tests.simulator.services import Service

PROGRAMS = needs("prometheus", "prometheus-alertmanager")
RULES = rules()
RECORDED = {
    rule["record"]
    for group in yaml.safe_load((DEPLOY / "prometheus/rules/recording.yaml").read_text())["groups"]
    for rule in group["rules"]
}
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana").glob("*.json"))}
METRIC = re.compile(r"\b(?:audit_proxy[a-z0-9_:]*|up)\b")


@contextlib.asynccontextmanager
async def hook() -> AsyncIterator[Service]:
    async with Service(lambda _: web.Response()) as service:
        yield service


def arrived(service, status="firing"):
    """Labels of what came, by receiver and alert."""
    found = {}
    for asked in service.asked:
        for alert in json.loads(asked.body)["alerts"]:
            if alert["status"] == status:
                found.setdefault((asked.target, alert["labels"]["alertname"]), []).append(alert)
    return found


async def until(condition):
    """Waits for what must come; the bound is only there to fail instead of hanging."""
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.2)


@PROGRAMS
async def test_a_log_that_cannot_be_written_wakes_somebody(tmp_path, upstream, monkeypatch):
    """The alert arrives at the receiver that pages, with its labels and runbook; another proxy beside it, whose log is well
    and which serves as many requests, raises none.
    """
    disk = with_faults(monkeypatch)
    upstream.reply("/people/1", body={"id": "1", "name": "n"})
    (tmp_path / "ill").mkdir()
    (tmp_path / "well").mkdir()
    async with (
        hook() as service,
        running_proxy(tmp_path / "ill", upstream.url, document()) as ill,
        alertmanager(tmp_path / "alertmanager", service.url) as manager,
    ):
        monkeypatch.undo()  # the other one's disk is well
        async with (  # a Prometheus each: each proxy has a token of its own
            running_proxy(tmp_path / "well", upstream.url, document()) as well,
            prometheus(
                tmp_path / "prometheus",
                [f"127.0.0.1:{ill.running.admin_port}"],
                ill.admin_token,
                manager.url,
            ) as server,
            prometheus(
                tmp_path / "prometheus-well",
                [f"127.0.0.1:{well.running.admin_port}"],
                well.admin_token,
                manager.url,
            ) as beside,
        ):
            for one in (server, beside):
                await until(lambda one=one: _scraped(one))
            disk.break_("EIO", "sync")
            assert (await ill.get("/people/1", ill.token()))[0] == 503
            assert (await well.get("/people/1", well.token()))[0] == 200
            await until(lambda: _is(("/page", "AuditLogUnwritable") in arrived(service)))
            disk.heal()
            (alert, *_) = arrived(service)["/page", "AuditLogUnwritable"]
            assert alert["labels"] == {
                "alertname": "AuditLogUnwritable",
                "area": "log",
                "instance": f"127.0.0.1:{ill.running.admin_port}",
                "severity": "critical",
            }
            assert alert["annotations"]["runbook_url"].endswith("/AuditLogUnwritable.md")
            assert {
                each["labels"].get("instance") for each in await _alerts(beside) if each["state"] == "firing"
            } == set()


async def _is(value):
    return value


async def _scraped(server):
    found = await server.get("/api/v1/query", query='up{job="audit-proxy"} == 1')
    return bool(found["result"])


async def _alerts(server):
    return (await server.get("/api/v1/alerts"))["alerts"]


PAGE = 25
APP = {"owner": "o", "contact": "c", "purpose": "functional.service", "approved_scopes": ["read"]}


def friends(request):
    """Who stands on the page that is asked for: people from ``after`` on."""
    first = int(request.query.removeprefix("after="))
    body = json.dumps({"data": [{"id": str(one), "name": "n"} for one in range(first, first + PAGE)]}).encode()
    return [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body]


async def take(proxy, app, pages):
    """An app that takes so many pages of ever new people, with the tokens of ten users in turn; how many came."""
    taken = 0
    for page in range(pages):
        holder = 9_000 + page % 10
        path = f"/people/{holder}/friends?after={1_000 + page * PAGE}"
        status, _, body = await proxy.get(path, proxy.token(str(holder), "read", app))
        taken += len(json.loads(body)["data"]) if status == 200 else 0
    return taken


@PROGRAMS
async def test_a_harvest_wakes_somebody_and_an_ordinary_app_beside_it_nobody(tmp_path, upstream):
    """Over HTTP: one app is quarantined at its budget, and what arrives names it; nothing that arrives is about the other."""
    upstream.reply(lambda asked: asked.path.endswith("/friends"), pieces=friends)
    place = configure(tmp_path, upstream.url, document())
    apps = {"apps": [{"id": one, "name": one, **APP} for one in ("quiz", "calendar")]}
    (tmp_path / "apps.yaml").write_text(yaml.safe_dump(apps))
    limits = {signal.value: {} for signal in Signal} | {"third_parties": {"24h": 200, "30d": 5_000}}
    (tmp_path / "budgets.yaml").write_text(yaml.safe_dump({"default": limits}))
    async with (
        hook() as service,
        serving(tmp_path, place.key, place.admin_token) as proxy,
        alertmanager(tmp_path / "alertmanager", service.url) as manager,
        prometheus(
            tmp_path / "prometheus", [f"127.0.0.1:{proxy.running.admin_port}"], proxy.admin_token, manager.url
        ) as server,
    ):
        for app in ("quiz", "calendar"):
            await proxy.grant(*map(str, range(1_000, 2_000)), scopes="read", app=app)
        assert await take(proxy, "calendar", 2) == 50
        await until(lambda: _scraped(server))
        assert await take(proxy, "quiz", 16) == 200
        assert await take(proxy, "calendar", 3) == 75
        await until(lambda: _is(("/page", "AppQuarantined") in arrived(service)))
        await until(lambda: _firing(server, "NewPeople", "critical"))
        (alert, *_) = arrived(service)["/page", "AppQuarantined"]
        assert alert["labels"] == {
            "alertname": "AppQuarantined",
            "app": "quiz",
            "area": "harvest",
            "severity": "critical",
        }
        assert alert["annotations"]["summary"] == "App quiz is quarantined: nothing leaves to it"
        came = [each["labels"] for alerts in arrived(service).values() for each in alerts]
        fires = [each["labels"] for each in await _alerts(server)]
        assert {labels.get("app") for labels in came + fires} == {"quiz"}


async def _firing(server, name, severity):
    labels = [each["labels"] for each in await _alerts(server) if each["state"] == "firing"]
    return any(one["alertname"] == name and one["severity"] == severity for one in labels)


@needs("prometheus-alertmanager")
async def test_what_says_more_about_an_app_silences_what_says_less(tmp_path):
    """A quarantine silences what else is said of that app, but for its owner's other apps; nothing of another app, nothing
    of the apps that share a label; and whatever fires, DetectorBlind is heard.
    """
    async with hook() as service, alertmanager(tmp_path / "alertmanager", service.url) as manager:

        async def inhibited(*alerts):
            await manager.post("/api/v2/alerts", [{"labels": labels} for labels in alerts])
            found = await manager.get("/api/v2/alerts")
            return {
                (one["labels"]["alertname"], one["labels"].get("app"), one["labels"]["severity"])
                for one in found
                if one["status"]["inhibitedBy"]
            }

        def alert(name, app, severity="critical", **more):
            return {"alertname": name, "app": app, "severity": severity, "area": "harvest", **more}

        assert await inhibited(
            alert("BudgetBurnFast", "fast"),
            alert("BudgetBurnSteady", "fast"),
            alert("BudgetBurnSlow", "fast", "warning"),
            alert("BudgetBurnSlow", "slow", "warning"),
            alert("FanOut", "fast", "warning", detector="fan_out"),
            alert("FanOut", "grave", "warning", detector="fan_out"),
            alert("FanOut", "grave", detector="fan_out"),
            alert("Coverage", "grave", "serious", detector="coverage"),
        ) == {
            ("BudgetBurnSteady", "fast", "critical"),
            ("BudgetBurnSlow", "fast", "warning"),
            ("FanOut", "grave", "warning"),
        }
        everything = [
            {"alertname": name, "app": app, "severity": "critical", "detector": "d", **rule["labels"]}
            for name, rule in RULES.items()
            for app in ("quiz", "other")
        ]
        await inhibited(*everything)
        blind = {
            "alertname": "DetectorBlind",
            "instance": "a",
            "job": "audit-proxy",
            **RULES["DetectorBlind"]["labels"],
        }
        silenced = await inhibited(blind, alert("FanOut", "calm", "warning", detector="fan_out"))
        assert not [one for one in silenced if one[0] == "DetectorBlind" or one[1] in ("other", "calm")]
        harvest = {name for name, rule in RULES.items() if rule["labels"]["area"] == "harvest"}
        assert {name for name, app, _ in silenced if app == "quiz"} == harvest - {"AppQuarantined", "OwnerGroup"}
        await until(lambda: _is(("/page", "DetectorBlind") in arrived(service)))


def queries(dashboard):
    """Every query of a dashboard, by panel, as Grafana would send it for app ``quiz``."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$app", "quiz")
            assert "$" not in query, (panel["title"], query)
            yield panel["title"], query


def evidence(name):
    """Every query of an alert's runbook, one a line."""
    text = (DEPLOY.parent / f"docs/runbooks/{name}.md").read_text()
    for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_laid_out(name):
    """Each panel has a title, a place of its own on the grid, a unit and the chosen data source."""
    taken = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@needs("prometheus")
async def test_what_dashboards_rules_and_runbooks_ask_for_exists(tmp_path, upstream):
    """Each query is taken by Prometheus, and each metric in it is one that a proxy exports or a rule records."""
    upstream.reply("/people/1", body={"id": "1", "name": "n"})
    (tmp_path / "proxy").mkdir()
    (tmp_path / "vault").touch()
    keys = tmp_path / "proxy/jwks.json"
    async with Service(lambda _: web.Response(body=keys.read_bytes(), content_type="application/json")) as issuer:
        fetched = {"issuer": ISSUER, "audience": "api", "algorithms": ["EdDSA"], "jwks_url": f"{issuer.url}/keys"}
        settings = {
            "identity": {"issuers": [fetched]},
            "audit": {"checkpoints": {"targets": [{"name": "vault", "file": str(tmp_path / "vault")}]}},
        }
        async with running_proxy(tmp_path / "proxy", upstream.url, document(), **settings) as proxy:
            assert (await proxy.get("/people/1", proxy.token()))[0] == 200
            target = f"127.0.0.1:{proxy.running.admin_port}"
            async with prometheus(tmp_path / "prometheus", [target], proxy.admin_token) as server:
                await until(lambda: _scraped(server))
                described = await server.get("/api/v1/targets/metadata", limit="10000")
                exported = {one["metric"] for one in described} | {"up"}
                exprs = [(name, rule["expr"]) for name, rule in RULES.items()]
                exprs += [(name, query) for one in DASHBOARDS.values() for name, query in queries(one)]
                exprs += [(name, query) for name in RULES for query in evidence(name)]
                for title, query in exprs:
                    await server.get("/api/v1/query", query=query)
                    for metric in METRIC.findall(query):
                        family = re.sub(r"_(total|bucket|count|sum)$", "", metric)
                        assert {metric, family} & exported or metric in RECORDED, (title, metric)
                found = await server.get("/api/v1/query", query='audit_proxy_requests_total{app="quiz"}')
                assert [one["value"][1] for one in found["result"]] == ["1"]
