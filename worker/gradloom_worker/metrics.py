"""The worker's page for Prometheus. Every series carries the worker's name, as the coordinator has given it."""

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from gradloom.machine import memory_bytes
from gradloom_worker.answers import Answers
from gradloom_worker.phases import PhaseClock
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import Computed

LOAD_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
OUTCOMES = ("succeeded", "failed", "discarded")
ENDED_BY_COORDINATOR = "OK"
STATM = Path("/proc/self/statm")


class WorkerMetrics(Collector):
    """The worker's own registry, and what it counts."""

    def __init__(
        self,
        name: str,
        store: ShardStore,
        phases: PhaseClock,
        answers: Answers,
        certificate_ends_at: Callable[[], float],
    ) -> None:
        self.registry = CollectorRegistry()
        for process in (ProcessCollector, PlatformCollector, GCCollector):
            process(registry=self.registry)
        self._worker = name
        self._store, self._phases, self._answers = store, phases, answers
        self._certificate_ends_at = certificate_ends_at
        self._limit_bytes = memory_bytes()
        self._rows = 0
        self._outcomes = Counter[str]()
        self._reconnects = Counter[str]()
        self._code: str | None = None
        """Of the session that ended last; None before there was one."""
        self._loads: dict[str, list[float]] = {}
        """By format: counts of the buckets, then the sum of the seconds."""
        store.on_read = self._read
        self.registry.register(self)

    # ---- what happens

    def welcomed(self, name: str) -> None:
        """A session has begun, under this name."""
        self._worker = name
        if self._code is not None:
            self._reconnects[self._code] += 1

    def session_over(self, code: str = ENDED_BY_COORDINATOR) -> None:
        """A session, or the try to begin one, ended with this gRPC status."""
        self._code = code

    def answered(self, computed: Computed) -> None:
        """A task was answered with a partial."""
        self._rows += computed.rows
        self._outcomes["succeeded"] += 1

    def failed(self) -> None:
        """A task was answered with a failure."""
        self._outcomes["failed"] += 1

    def discarded(self) -> None:
        """A task was computed for nothing."""
        self._outcomes["discarded"] += 1

    def _read(self, source: str, seconds: float) -> None:
        counts = self._loads.setdefault(source, [0.0] * (len(LOAD_BUCKETS_S) + 2))
        counts[bisect_left(LOAD_BUCKETS_S, seconds)] += 1
        counts[-1] += seconds

    # ---- scraping

    def collect(self) -> Iterator[Metric]:
        """Everything as it stands; called by the thread of whoever scrapes."""
        yield self._counter(
            "worker_time_seconds",
            "Where the process's time went; all phases together are its wall time.",
            "phase",
            {phase.value: seconds for phase, seconds in self._phases.seconds().items()},
        )
        outcomes = {outcome: self._outcomes[outcome] for outcome in OUTCOMES}
        yield self._counter("worker_tasks", "Tasks computed, by what became of them.", "outcome", outcomes)
        store = self._store
        lookups = {"hit": store.hits, "miss": store.misses, "evict": store.evictions}
        yield self._counter(
            "shard_cache", "Lookups of shards in memory, and shards that had to go.", "result", lookups
        )
        yield self._counter(
            "grpc_stream_reconnects",
            "Sessions after the first one, by how the one before ended.",
            "code",
            {"OK": 0, "UNAVAILABLE": 0, **self._reconnects},
        )
        yield self._plain(
            CounterMetricFamily, "worker_computed_rows", "Rows computed on, again in each round.", self._rows
        )
        cpu_s = time.process_time()
        yield self._plain(CounterMetricFamily, "worker_cpu_seconds", "CPU time of the process.", cpu_s)
        yield self._plain(GaugeMetricFamily, "worker_shard_bytes", "Memory that shards take.", store.nbytes)
        yield self._plain(
            GaugeMetricFamily,
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate ends that this process shows, renewed ones included; 0: it speaks plain text.",
            self._certificate_ends_at(),
        )
        yield self._memory()
        yield self._loading()

    def _loading(self) -> Metric:
        family = HistogramMetricFamily(
            "gradloom_shard_load_seconds",
            "Time to read a shard from its files, by their format.",
            labels=["worker", "source"],
        )
        ends = [*(f"{bound:g}" for bound in LOAD_BUCKETS_S), "+Inf"]
        for source, counts in list(self._loads.items()):
            buckets = list(zip(ends, accumulate(counts[:-1]), strict=True))
            family.add_metric([self._worker, source], buckets, counts[-1])
        return family

    def _memory(self) -> Metric:
        memory = GaugeMetricFamily(
            "gradloom_worker_memory_bytes",
            "Memory: of the process (rss), of shards, of answers that may be asked for again (buffers), and the limit.",
            labels=["worker", "kind"],
        )
        kinds = {"rss": _resident_bytes(), "shards": self._store.nbytes, "buffers": self._answers.nbytes}
        for kind, value in {**kinds, "limit": self._limit_bytes}.items():
            memory.add_metric([self._worker, kind], value)
        return memory

    def _counter(
        self, name: str, help_: str, label: str, values: dict[str, int] | dict[str, float]
    ) -> Metric:
        family = CounterMetricFamily(f"gradloom_{name}", help_, labels=["worker", label])
        for value, count in values.items():
            family.add_metric([self._worker, value], count)
        return family

    def _plain(
        self, kind: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str, help_: str, value: float
    ) -> Metric:
        family = kind(f"gradloom_{name}", help_, labels=["worker"])
        family.add_metric([self._worker], value)
        return family


def _resident_bytes() -> int:
    """What of the process is in memory; 0 where the system does not say."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
