"""What is counted, as it is read, and what it may grow to."""

from prometheus_client import CollectorRegistry, generate_latest

from audit_proxy.adapters.metrics_prometheus import _GROUPED_MAX, REQUEST_SERIES_MAX, PrometheusMetrics


def _metrics():
    registry = CollectorRegistry()
    return PrometheusMetrics(registry, "1"), registry.get_sample_value


def test_categories_are_told_apart() -> None:
    """Each category of a group counts once for each of its people, whatever stood together, and again after a reading."""
    metrics, value = _metrics()
    for _ in range(2):
        metrics.disclosed("a", "third_party", ("user.name", "user.contact.email"), 3)
        metrics.disclosed("a", "none", ("user.name",), 0)
        metrics.withheld("a", ("user.name",), 2)
        metrics.withheld("b", ("user.name",), 5)
        value("audit_proxy_fields_disclosed_total", {"app": "a", "category": "user.name"})
    assert value("audit_proxy_fields_disclosed_total", {"app": "a", "category": "user.name"}) == 8
    assert value("audit_proxy_fields_disclosed_total", {"app": "a", "category": "user.contact.email"}) == 6
    assert value("audit_proxy_fields_withheld_total", {"app": "a", "category": "user.name"}) == 4
    assert value("audit_proxy_fields_withheld_total", {"app": "b", "category": "user.name"}) == 10
    assert value("audit_proxy_subjects_disclosed_total", {"app": "a", "relation": "third_party"}) == 6


def test_combinations_of_categories_take_no_memory() -> None:
    """An app that asks for ever other fields together does not make the counters grow beyond their categories."""
    metrics, value = _metrics()
    names = [f"user.c{number}" for number in range(20)]
    for combination in range(3 * _GROUPED_MAX):
        chosen = tuple(name for bit, name in enumerate(names) if combination >> bit & 1)
        metrics.withheld("a", chosen, 1)
    assert len(metrics._withheld._grouped) <= _GROUPED_MAX + 1
    expected = sum(combination & 1 for combination in range(3 * _GROUPED_MAX))
    assert value("audit_proxy_fields_withheld_total", {"app": "a", "category": "user.c0"}) == expected


def test_pairs_of_app_and_operation_are_bounded() -> None:
    """Past the bound a new pair counts as operation ``other`` of its app, and what was counted before goes on by name."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, "1")
    for number in range(REQUEST_SERIES_MAX + 50):
        metrics.request(f"app-{number % 100}", f"operation-{number}", "allow", 0.1, 0.1)
    metrics.request("app-0", "operation-0", "allow", 0.1, 0.1)
    metrics.request("app-0", "one-more", "allow", 0.1, 0.1)
    name = "audit_proxy_requests_total"
    lines = [
        line.removeprefix(name) for line in generate_latest(registry).decode().splitlines() if line.startswith(name)
    ]
    found = {labels: float(value) for labels, value in (line.rsplit(" ", 1) for line in lines)}
    assert len(found) == REQUEST_SERIES_MAX + 50
    assert found['{app="app-0",operation="operation-0",outcome="allow"}'] == 2
    assert found['{app="app-0",operation="other",outcome="allow"}'] == 2
    assert sum(found.values()) == REQUEST_SERIES_MAX + 52
