"""Prometheus metrics of one worker."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily

from gradloom_worker.phases import PhaseClock
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import Computed

LOAD_BUCKETS_S = (0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class ShardCache:
    """How often a shard was in memory when it was asked for, as the store itself counts it."""

    def __init__(self, store: ShardStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """The counters as they stand."""
        family = CounterMetricFamily(
            "gradloom_shard_cache", "Lookups of shards in memory.", labels=["result"]
        )
        family.add_metric(["hit"], self._store.hits)
        family.add_metric(["miss"], self._store.misses)
        yield family


class TimeByPhase:
    """Where the process's time went, all of it."""

    def __init__(self, phases: PhaseClock) -> None:
        self._phases = phases

    def collect(self) -> Iterator[Metric]:
        """The seconds up to now."""
        family = CounterMetricFamily(
            "gradloom_worker_time_seconds", "Where the process's time went.", labels=["phase"]
        )
        for phase, seconds in self._phases.seconds().items():
            family.add_metric([phase], seconds)
        yield family


class WorkerMetrics:
    """The worker's own registry."""

    def __init__(self, store: ShardStore, phases: PhaseClock) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        r.register(ShardCache(store))
        r.register(TimeByPhase(phases))
        self._rows = Counter(
            "gradloom_worker_computed_rows", "Rows computed on, counted again in each round.", registry=r
        )
        tasks = Counter("gradloom_worker_tasks", "Tasks computed.", ["outcome"], registry=r)
        self._load = Histogram(
            "gradloom_shard_load_seconds",
            "Time to load the shards of a task.",
            registry=r,
            buckets=LOAD_BUCKETS_S,
        )
        memory = Gauge("gradloom_worker_shard_bytes", "Memory that shards take.", registry=r)
        memory.set_function(lambda: store.nbytes)
        # looked up once: answering a small task must not cost more than computing it
        self._succeeded, self._failed, self._discarded = (
            tasks.labels(outcome) for outcome in ("succeeded", "failed", "discarded")
        )

    def answered(self, computed: Computed) -> None:
        """A task was answered with a partial."""
        self._rows.inc(computed.rows)
        self._succeeded.inc()
        if computed.load_s > 0.001:
            self._load.observe(computed.load_s)

    def failed(self) -> None:
        """A task was answered with a failure."""
        self._failed.inc()

    def discarded(self) -> None:
        """A task was computed for nothing."""
        self._discarded.inc()
