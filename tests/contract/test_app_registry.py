"""What every app registry and clock must hold (ports ``AppRegistry`` and ``Clock``)."""

import time

from audit_proxy.adapters.apps_file import FileApps
from audit_proxy.adapters.clock_system import SystemClock
from audit_proxy.core.policy import App
from audit_proxy.ports import AppRegistry, Clock


def app(client_id: str) -> App:
    return App(client_id, "N", "O", "c", "standard", "functional", frozenset())


def test_an_app_is_found_by_its_exact_client_id():
    """Case, spaces and look-alikes are other ids; an unknown one is None, not an error."""
    quiz = app("quiz")
    registry: AppRegistry = FileApps({"quiz": quiz})
    assert registry.find("quiz") is quiz
    assert [registry.find(one) for one in ("Quiz", "quiz ", "", "other", "quіz")] == [None] * 5


def test_a_registry_does_not_change_with_what_it_was_made_of():
    apps = {"quiz": app("quiz")}
    registry = FileApps(apps)
    apps.clear()
    assert registry.find("quiz") is not None
    assert len(registry) == 1


def test_the_clock_gives_seconds_since_the_epoch():
    clock: Clock = SystemClock()
    before = time.time()
    assert before <= clock.now() <= time.time()
