"""Ten thousand registered apps, and what ``/metrics`` grows to: it is made on the event loop, so it has to stay small."""

import asyncio
import itertools
import random
import re

from prometheus_client.parser import text_string_to_metric_families

from tests.simulator.people import document
from tests.simulator.proxy import configure, serving

APPS = 10_000
LABELS = 200  # metrics.max_app_labels
SERIES_OF_AN_APP = 300  # as docs/monitoring.md states the bound, with the two below
SERIES_OF_REQUESTS = 5_000
SERIES_BESIDE = 500
ENTRY = """
- {{id: app-{0}, name: n, owner: o-{1}, contact: c, purpose: functional.service, approved_scopes: [read, email]}}"""


async def exposition(proxy):
    status, body = await proxy.admin("GET", "/metrics")
    assert status == 200
    return body.decode()


def series(text):
    return sum(not line.startswith("#") for line in text.splitlines())


def apps_in(text):
    return set(re.findall(r'[{,]app="([^"]*)"', text))


async def test_ten_thousand_apps_stay_under_the_bound(tmp_path, upstream):
    """The first of the file have a label of their own, the others and whoever is not registered are ``other``; how many
    share it is exported; more of them, asking for anything, make no more series, and nothing is lost from the sums.
    """
    place = configure(tmp_path, upstream.url, document())
    entries = (ENTRY.format(number, number % 700) for number in range(APPS))
    (tmp_path / "apps.yaml").write_text("apps:" + "".join(entries))
    drawn = random.Random(4)
    upstream.reply(lambda asked: asked.method == "GET", body={"id": "1", "name": "n"})
    async with serving(tmp_path, place.key, place.admin_token) as proxy:
        turn = asyncio.Semaphore(16)

        async def ask(app):
            async with turn:
                path = f"/{drawn.choice(['people', 'people', 'nothing'])}/{drawn.randrange(1000)}"
                holder, scope = str(drawn.randrange(1000)), drawn.choice(["read", "read email", "write"])
                await proxy.get(path, proxy.token(holder, scope, f"app-{app}"))

        named = drawn.sample(range(LABELS), 150)
        await asyncio.gather(*map(ask, named * 2), *(ask(LABELS + number) for number in range(300)))
        before = await exposition(proxy)
        await asyncio.gather(*(ask(number) for number in range(LABELS + 300, LABELS + 700)), ask(APPS), ask("new"))
        after = await exposition(proxy)
        assert apps_in(after) == {f"app-{number}" for number in named} | {"other"}
        assert series(after) <= SERIES_OF_REQUESTS + SERIES_OF_AN_APP * (len(named) + 1) + SERIES_BESIDE
        assert series(after) - series(before) <= 40, "only what others had not met before"
        samples = list(itertools.chain(*(family.samples for family in text_string_to_metric_families(after))))
        assert sum(one.value for one in samples if one.name == "audit_proxy_requests_total") == 300 + 700 + 2
        (truncated,) = (one.value for one in samples if one.name == "audit_proxy_app_labels_truncated")
        assert truncated == APPS - LABELS
