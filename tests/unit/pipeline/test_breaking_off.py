"""What is known of a request whose admission was broken off, because it took too long."""

import asyncio
from collections.abc import Collection, Mapping

from audit_proxy.core.exchange import Request
from audit_proxy.core.identity import Identity
from audit_proxy.core.inspection import RawId
from audit_proxy.core.policy import App, Mode, Policy
from audit_proxy.pipeline.admit import Admitter
from audit_proxy.pipeline.permissions import Permissions
from tests.unit.core.catalog.documents import catalog
from tests.unit.pipeline.test_admit import NoConsents, standings


class Tokens:
    """The quiz app's, of a holder whose id is the app's own; or nobody ever says whose."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent

    async def resolve(self, token: str, now: float) -> Identity:
        del token, now
        if self.silent:
            await asyncio.Event().wait()
        return Identity("i", "quiz", "person:17", frozenset({"read"}), 100.0, app_scoped=True)


class Apps:
    """The quiz app, in enforce."""

    def find(self, client_id: str) -> App | None:
        return App(client_id, "Quiz", "o", "q@example.org", "standard", "p", frozenset({"read"}), Mode.enforce)


class SilentIds:
    """Nobody ever says whom an id means."""

    async def subjects(self, app: str, ids: Collection[RawId]) -> Mapping[RawId, str]:
        del app, ids
        await asyncio.Event().wait()
        return {}


async def _no_body() -> bytes:
    return b""


async def _broken_off(tokens: Tokens):
    policy = Policy("h", mode=Mode.monitor)
    admitter = Admitter(
        catalog(), policy, tokens, Apps(), SilentIds(), Permissions(policy, NoConsents(), standings()), standings()
    )
    request = Request("GET", "/me", {"authorization": "Bearer t"}, None)
    admission = admitter.begin(request, "id", 1.0)
    modes = [admission.mode]

    async def admit() -> None:
        await admitter.identify(request, admission)
        modes.append(admission.mode)
        await admitter.judge(request, admission, _no_body)

    task = asyncio.create_task(admit())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return admission, modes


async def test_while_ids_are_looked_up_nobody_holds_the_token() -> None:
    """An app's own id is never taken for a person; the app's mode is known by then."""
    admission, modes = await _broken_off(Tokens())
    assert admission.identity is not None
    assert (admission.identity.holder, admission.client_id, admission.refusal) == (None, "quiz", None)
    assert modes == [Mode.monitor, Mode.enforce]


async def test_while_the_token_is_looked_up_it_is_nobodys() -> None:
    """The operation is known, and the mode that holds without the app."""
    admission, modes = await _broken_off(Tokens(silent=True))
    assert (admission.identity, admission.app, admission.refusal) == (None, None, None)
    assert admission.operation is not None
    assert modes == [Mode.monitor]
