"""``ports.Metrics`` for Prometheus.

Counters of the hot path are plain dictionaries that a collector reads at scrape time: one addition costs a tenth of a
locked child's ``inc`` (measured 0.9 µs), and a request makes some fifteen of them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_GROUPED_MAX = 4096  # groups counted together, all apps
REQUEST_SERIES_MAX = 5_000  # of requests_total; past it new pairs of app and operation count as operation ``other``
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Histogram:
    """Counts by bucket; ``observe`` is one bisection and three additions."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        summed, found = 0, []
        for edge, count in zip((*map(str, _SECONDS), "+Inf"), self.counts, strict=True):
            summed += count
            found.append((edge, float(summed)))
        return found


class _ByCategory:
    """Values by app and category, counted by the categories of whole groups: few differ, and they are told apart when read."""

    def __init__(self) -> None:
        self._grouped: defaultdict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
        self._single: defaultdict[tuple[str, str], int] = defaultdict(int)

    def add(self, app: str, categories: tuple[str, ...], values: int) -> None:
        self._grouped[app, categories] += values
        if len(self._grouped) > _GROUPED_MAX:
            self.read()

    def read(self) -> Mapping[tuple[str, str], int]:
        for (app, categories), values in self._grouped.items():
            for category in categories:
                self._single[app, category] += values
        self._grouped.clear()
        return self._single


class PrometheusMetrics(Collector):
    """Keeps all counts in this process. ``gauges`` are read at scrape time: name -> (help, function)."""

    def __init__(self, registry: CollectorRegistry, version: str) -> None:
        self._version = version
        self._requests: dict[tuple[str, str, str], int] = {}
        self._denials: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._disclosed: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._fields = _ByCategory()
        self._withheld = _ByCategory()
        self._unclassified: defaultdict[str, int] = defaultdict(int)
        self._unmapped: defaultdict[str, int] = defaultdict(int)
        self._records: defaultdict[str, int] = defaultdict(int)
        self._fail_open: defaultdict[str, int] = defaultdict(int)
        self._findings: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._stages = {"total": _Histogram(), "upstream": _Histogram(), "overhead": _Histogram()}
        self._commit = _Histogram()
        self._withdrawal = _Histogram()
        self._audit_failures = 0
        self._pushes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._gauges: dict[str, tuple[str, Callable[[], float | None]]] = {}
        self._labelled: dict[str, tuple[str, tuple[str, ...], Callable[[], Mapping[tuple[str, ...], float]]]] = {}
        registry.register(self)

    def gauge(self, name: str, text: str, read: Callable[[], float | None]) -> None:
        """A gauge read at scrape time; None leaves it out."""
        self._gauges[name] = (text, read)

    def labelled_gauge(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Mapping[tuple[str, ...], float]]
    ) -> None:
        """A gauge for each value of its labels, read at scrape time."""
        self._labelled[name] = (text, labels, read)

    # -- ports.Metrics -----------------------------------------------------------------------------------------------

    def request(self, app: str, operation: str, outcome: str, seconds: float, upstream: float) -> None:
        try:
            self._requests[app, operation, outcome] += 1
        except KeyError:  # a few times in a process's life
            key = (app, operation if len(self._requests) < REQUEST_SERIES_MAX else "other", outcome)
            self._requests[key] = self._requests.get(key, 0) + 1
        self._stages["total"].observe(seconds)
        self._stages["upstream"].observe(upstream)
        self._stages["overhead"].observe(seconds - upstream)

    def denial(self, app: str, reason: str) -> None:
        self._denials[app, reason] += 1

    def disclosed(self, app: str, relation: str, categories: tuple[str, ...], subjects: int) -> None:
        self._disclosed[app, relation] += subjects
        self._fields.add(app, categories, subjects or 1)

    def withheld(self, app: str, categories: tuple[str, ...], subjects: int) -> None:
        self._withheld.add(app, categories, subjects or 1)

    def unclassified(self, operation: str, values: int) -> None:
        self._unclassified[operation] += values

    def unmapped(self, app: str, ids: int) -> None:
        self._unmapped[app] += ids

    def record(self, kind: str) -> None:
        self._records[kind] += 1

    def fail_open(self, where: str) -> None:
        self._fail_open[where] += 1

    def finding(self, app: str, detector: str, severity: str) -> None:
        self._findings[app, detector, severity] += 1

    # -- other parts' hooks ------------------------------------------------------------------------------------------

    def commit(self, seconds: float, records: int) -> None:  # noqa: ARG002  (the hook's shape)
        self._commit.observe(seconds)

    def audit_failure(self) -> None:
        self._audit_failures += 1

    def checkpoint_push(self, target: str, taken: bool) -> None:
        self._pushes[target, "taken" if taken else "failed"] += 1

    def withdrawal(self, seconds: float) -> None:
        self._withdrawal.observe(seconds)

    # -- exposition --------------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        def counter(name: str, text: str, labels: list[str], values: Mapping[Any, int]) -> Metric:
            family = CounterMetricFamily(f"audit_proxy_{name}", text, labels=labels)
            for key, value in values.items():
                family.add_metric(key, value)
            return family

        def single(values: dict[str, int]) -> dict[tuple[str], int]:
            return {(key,): value for key, value in values.items()}

        yield counter("requests", "Requests by outcome.", ["app", "operation", "outcome"], self._requests)
        yield counter("denials", "Refused requests and answers by reason.", ["app", "reason"], self._denials)
        yield counter(
            "subjects_disclosed", "People disclosed, counted per answer.", ["app", "relation"], self._disclosed
        )
        yield counter(
            "fields_disclosed", "Disclosures by category, counted per person.", ["app", "category"], self._fields.read()
        )
        yield counter(
            "fields_withheld",
            "Withheld data by category, counted per person.",
            ["app", "category"],
            self._withheld.read(),
        )
        yield counter(
            "unclassified_fields", "Values that no category describes.", ["operation"], single(self._unclassified)
        )
        yield counter("unmapped_ids", "Ids that mean no subject we know.", ["app"], single(self._unmapped))
        yield counter("audit_records", "Records written.", ["kind"], single(self._records))
        yield counter("fail_open", "Times a fail-open choice was taken.", ["where"], single(self._fail_open))
        yield counter("findings", "Findings of detectors.", ["app", "detector", "severity"], self._findings)
        yield counter("audit_failures", "Flushes of the audit log that failed.", [], {(): self._audit_failures})
        yield counter(
            "audit_checkpoint_pushes", "Pushes of checkpoints off the machine.", ["target", "outcome"], self._pushes
        )
        stages = HistogramMetricFamily("audit_proxy_request_seconds", "Time of requests by stage.", labels=["stage"])
        for stage, histogram in self._stages.items():
            stages.add_metric([stage], histogram.buckets(), histogram.total)
        yield stages
        for name, text, one in (
            ("audit_commit_seconds", "Time of one group commit of the audit log.", self._commit),
            ("consent_withdrawal_seconds", "Time from a withdrawal to its effect.", self._withdrawal),
        ):
            family = HistogramMetricFamily(f"audit_proxy_{name}", text)
            family.add_metric([], one.buckets(), one.total)
            yield family
        for name, (text, read) in self._gauges.items():
            value = read()
            if value is not None:
                yield GaugeMetricFamily(f"audit_proxy_{name}", text, value=value)
        for name, (text, labels, labelled) in self._labelled.items():
            family_of_gauges = GaugeMetricFamily(f"audit_proxy_{name}", text, labels=labels)
            for key, value in labelled().items():
                family_of_gauges.add_metric(key, value)
            yield family_of_gauges
        build = GaugeMetricFamily("audit_proxy_build_info", "The version that runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
