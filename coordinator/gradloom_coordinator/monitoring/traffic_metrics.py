"""Prometheus metrics of what jobs send: read off their ledgers when somebody looks."""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from gradloom_coordinator.compression.ledger import BUCKETS_S, Ledger
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.events import JobId

BOUNDS = (*(f"{bound:g}" for bound in BUCKETS_S), "+Inf")


class TrafficMetrics:
    """A collector over all jobs that are kept; the series of a job go with its record."""

    def __init__(self, runs: Mapping[JobId, JobRun]) -> None:
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        """The families as they stand."""
        started = [run for run in list(self._runs.values()) if run.traffic.started]
        yield from _bytes({run.job_id: run.traffic.ledger for run in started})
        seconds = HistogramMetricFamily(
            "gradloom_codec_seconds", "Time of one encoding or decoding.", labels=["job_id", "codec", "op"]
        )
        error = GaugeMetricFamily(
            "gradloom_compression_relative_error",
            "|decoded - wanted| / |wanted| when it was last measured.",
            labels=["job_id", "codec"],
        )
        residual = GaugeMetricFamily(
            "gradloom_residual_norm", "Of what workers left out in the newest round.", labels=["job_id"]
        )
        resets = CounterMetricFamily(
            "gradloom_residual_resets",
            "Workers that took with them what they had left out.",
            labels=["job_id"],
        )
        for run in started:
            ledger, job = run.traffic.ledger, run.job_id
            for (codec, op), times in list(ledger.times.items()):
                counts = [sum(times.counts[: i + 1]) for i in range(len(BOUNDS))]
                buckets = [(bound, float(count)) for bound, count in zip(BOUNDS, counts, strict=True)]
                seconds.add_metric([job, codec, op], buckets, times.total_s)
            if ledger.relative_error is not None:
                error.add_metric([job, run.traffic.codec], ledger.relative_error)
            residual.add_metric([job], ledger.residual_norm)
            resets.add_metric([job], ledger.resets)
        yield from (seconds, error, residual, resets)


def _bytes(ledgers: Mapping[JobId, Ledger]) -> Iterator[Metric]:
    raw = CounterMetricFamily(
        "gradloom_gradient_raw_bytes", "Of partials, as they stand in memory.", labels=["job_id", "codec"]
    )
    wire = CounterMetricFamily(
        "gradloom_gradient_wire_bytes",
        "Of partials (up) and broadcasts (down), as they were sent.",
        labels=["job_id", "codec", "direction"],
    )
    for job, ledger in ledgers.items():
        for codec, flow in list(ledger.up.items()):
            raw.add_metric([job, codec], flow.raw_bytes)
        for direction, flows in (("up", ledger.up), ("down", ledger.down)):
            for codec, flow in list(flows.items()):
                wire.add_metric([job, codec, direction], flow.wire_bytes)
    yield from (raw, wire)
