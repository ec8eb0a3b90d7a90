"""A stage for the admin API: the real front end and consent store, and a log that keeps its records in memory."""

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from audit_proxy.adapters.consent_sqlite import open_consent_store
from audit_proxy.adapters.pseudonyms_keyed import open_keyring
from audit_proxy.core.detection.budgets import Budgets, Signal
from audit_proxy.core.detection.findings import Action, Finding
from audit_proxy.core.detection.ledger import Ledger
from audit_proxy.core.errors import AuditUnavailable
from audit_proxy.core.policy import App
from audit_proxy.core.record import Record, decode, encode, timestamp, uuid7
from audit_proxy.frontends.admin import AdminFrontend
from audit_proxy.pipeline.app_control import AppControl
from audit_proxy.pipeline.upkeep import Terms, Upkeep
from audit_proxy.ports import Pruned
from tests.simulator.files import SimulatedFiles

TOKENS = {"platform": "consent", "grafana": "reader", "ops": "admin"}


class MemoryLog:
    """Port AuditLog. ``down``: refuses what comes. ``held``: takes what comes and makes nothing durable until let go."""

    def __init__(self):
        self.records = []
        self.down = False
        self.held = None

    def append(self, record):
        future = asyncio.get_running_loop().create_future()
        if self.down:
            future.set_exception(AuditUnavailable("down"))
        elif self.held is not None:
            self.held.append((record, future))
        else:
            self._durable(record, future)
        return future

    def _durable(self, record, future):
        self.records.append(decode(record))
        future.set_result(len(self.records) - 1)

    def hold(self):
        self.held = []

    def let_go(self):
        waiting, self.held = self.held, None
        for record, future in waiting:
            self._durable(record, future)

    @property
    def lines(self):
        """What was done and with what outcome, in order."""
        return [(each.action, each.actor, each.reason) for each in self.records]


class MemoryRetention:
    """Port LogRetention. ``would``: the minimum index that pruning leaves; ``error``: what every question raises."""

    def __init__(self, log):
        self.log = log
        self.minimum = self.would = 0
        self.error = None
        self.asked = []  # the ages below which records were to go
        self.times = None
        self.packed = 0

    def _fail(self):
        if self.error is not None:
            raise self.error

    async def pack(self):
        self._fail()
        self.packed += 1
        return 1

    async def prunable(self, before):
        self._fail()
        self.asked.append(before)
        return self.would, self.minimum

    async def prune(self, before, actor):
        self._fail()
        self.asked.append(before)
        if self.would == self.minimum:
            return None
        record = Record(
            v=1, id=uuid7(1.0, bytes(10)), ts=timestamp(1.0), node="n", kind="admin", action="log.prune", actor=actor
        )
        await self.log.append(encode(record))
        former, self.minimum = self.minimum, self.would
        return Pruned(record.id, self.minimum, former)

    async def span(self):
        self._fail()
        return self.times


QUIZ = App("quiz", "Quiz", "o", "q@example.org", "standard", "functional.service", frozenset())


def _ledger():
    """The quiz has one open finding, ``finding-1``."""
    ledger = Ledger(Budgets())
    ledger.account(QUIZ, 0.0)
    seen = {"detector": Signal.third_parties, "action": Action.warn, "value": 8, "limit": 10, "window": "24h"}
    ledger.opened(Finding(app="quiz", at=1.0, since=1.0, **seen), "finding-1")
    return ledger


class MemoryBudgetStore:
    """Port BudgetStore."""

    def put(self, kept):
        """Kept nowhere: the stage does not start again."""


class WallClock:
    def now(self):
        return time.time()


def token(name):
    return f"apx_{name}-0123456789"


@asynccontextmanager
async def admin_stage(tmp_path, *, store=None, log=None, checks=None, metrics_open=False, retention_s=30 * 86_400.0):
    """A running admin listener: ``call(method, path, who)``, ``store``, ``log``, ``base`` (its URL), ``port``."""
    log = log or MemoryLog()
    tokens = [
        SimpleNamespace(name=name, role=role, sha256=hashlib.sha256(token(name).encode()).digest())
        for name, role in TOKENS.items()
    ]
    own = store is None
    if own:
        store = await open_consent_store(
            tmp_path / "consent.sqlite3", cache_entries=10_000, feed_interval_s=0.05, clock=WallClock()
        )
    keys = await open_keyring(SimulatedFiles(), SimulatedFiles(), b"k" * 32, WallClock(), fresh=True)
    retention = MemoryRetention(log)
    terms = Terms(retention_s=retention_s)
    upkeep = Upkeep(log, retention, keys, WallClock(), terms, "node-1", lambda _kind: None, lambda *_: None)
    registry = CollectorRegistry()
    Counter("audit_proxy_sample", "A sample.", registry=registry).inc(7)
    kinds = []
    frontend = AdminFrontend(
        store,
        log,
        keys,
        upkeep,
        AppControl(_ledger(), MemoryBudgetStore(), {"quiz": QUIZ}, None, WallClock()),
        tokens,
        registry,
        checks or {},
        WallClock(),
        "node-1",
        metrics_open=metrics_open,
        on_record=kinds.append,
    )
    port = await frontend.start("127.0.0.1", 0)
    base = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:

            def call(method, path, who="ops", headers=(), **more):
                bearer = {"Authorization": f"Bearer {token(who)}"} if who else {}
                return session.request(method, base + path, headers={**bearer, **dict(headers)}, **more)

            yield SimpleNamespace(
                call=call,
                log=log,
                store=store,
                keys=keys,
                retention=retention,
                base=base,
                port=port,
                frontend=frontend,
                kinds=kinds,
            )
    finally:
        await frontend.stop()
        await keys.close()
        if own:
            await store.close()
