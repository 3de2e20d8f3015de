"""The coordinator's page for Prometheus. Names, types and labels are for dashboards: change them with care.

What happens is counted where it happens (``measures.py``); how things stand is looked up (``standing.py``) when
somebody scrapes, on the event loop, which owns all of it. The page itself is written in the scraper's thread.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from gradloom.jobs import RoundCompleted
from gradloom.roles import Role
from gradloom_coordinator.monitoring.standing import tidy
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.events import Event, JobId, RoundReady
from gradloom_coordinator.scheduling.measures import Measures
from gradloom_coordinator.scheduling.meters import Distribution, Reading, Tally
from gradloom_coordinator.scheduling.rounds import Refusal
from gradloom_coordinator.scheduling.state import ClusterState

LOOK_LIMIT_S = 2.0
"""A coordinator whose event loop does not answer for so long shows what it last had."""
TIDY_EVERY_S = 5.0
COMMANDS = (
    "SubmitJob",
    "CancelJob",
    "UpdateJob",
    "PauseJob",
    "ResumeJob",
    "StepJob",
    "RollbackJob",
    "AnnotateJob",
    "DrainWorker",
    "ExcludeWorker",
    "ReadmitWorker",
    "InjectFault",
)
"""Calls that change something."""


class CoordinatorMetrics(Collector):
    """The coordinator's own registry, and what the edge counts."""

    def __init__(self, measures: Measures | None = None) -> None:
        self.measures = measures if measures is not None else Measures()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(self)
        self._look: Callable[[], Iterable[Reading]] = list
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last: list[Reading] = []
        self._tidied_at = 0.0
        self._forgotten: set[JobId] = set()
        self._checkpoint_bytes = Tally("checkpoint_bytes", "Size of the last checkpoint.")
        self._leader = Tally("coordinator_leader", "1: this coordinator decides.")
        self._checkpoint_bytes.begin()
        self._leader.set(1.0)
        for command in COMMANDS:
            for role in (Role.OPERATOR, Role.ADMIN):
                self.measures.commands.begin(command, "ok", role)
            self.measures.command_seconds.begin(command)

    # ---- scraping

    def show(self, look: Callable[[], Iterable[Reading]], loop: asyncio.AbstractEventLoop) -> None:
        """Show what ``look`` finds, too; it is called on the event loop."""
        self._look, self._loop = look, loop

    def collect(self) -> Iterator[Metric]:
        """All families as they stand; called by the thread of whoever scrapes."""
        if self._loop is None:
            self._last = self._read()
        else:
            self._read_there(self._loop)
        return map(_family, self._last)

    def _read(self) -> list[Reading]:
        own = [self._checkpoint_bytes.reading("gauge"), self._leader.reading("gauge")]
        return [*self._look(), *own, *self.measures.readings()]

    def _read_there(self, loop: asyncio.AbstractEventLoop) -> None:
        answer: Future[list[Reading]] = Future()

        def look() -> None:
            try:
                answer.set_result(self._read())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the scraper's
                answer.set_exception(error)

        try:
            loop.call_soon_threadsafe(look)
            self._last = answer.result(LOOK_LIMIT_S)
        except (TooLate, RuntimeError):  # it stands still, or is closed
            return

    # ---- what the edge counts

    def decided(self, state: ClusterState, event: Event, seconds: float) -> None:
        """The scheduler took so long over an event."""
        opened = state.jobs.get(event.job) if isinstance(event, RoundReady) else None
        self.measures.decision.observe(seconds, opened.policy if opened is not None else "none")

    def loop_was_late(self, seconds: float) -> None:
        """The event loop came so late to its timer."""
        self.measures.loop_lag.observe(max(0.0, seconds))

    def dropped(self, reason: str) -> None:
        """An answer was not counted."""
        self.measures.refuse(Refusal(reason))

    def round_done(self, job_id: str, completed: RoundCompleted) -> None:
        """A round of training is done."""
        self.measures.rounds.add(job_id)
        self.measures.trained_rows.add(job_id, by=completed.rows_per_second * completed.seconds)
        self.measures.round_seconds.observe(completed.seconds, job_id)

    def went_on(self, seconds: float) -> None:
        """A job goes on, so long after the coordinator came back."""
        self.measures.recovery.observe(seconds, "coordinator")

    def commanded(self, command: str, result: str, seconds: float, role: str) -> None:
        """Somebody called something; it counts if it changes something."""
        if command in COMMANDS:
            self.measures.commands.add(command, result, role)
            self.measures.command_seconds.observe(seconds, command)

    def not_allowed(self, reason: str) -> None:
        """A call was refused for who made it: ``session``, ``token``, ``certificate``, ``role`` or ``name``."""
        self.measures.auth_failures.add(reason)

    def checkpoint_written(self, seconds: float, byte_length: int) -> None:
        """A checkpoint is complete."""
        self.measures.checkpoint_seconds.observe(seconds)
        self._checkpoint_bytes.set(byte_length)
        self.checkpoint_done("written")

    def checkpoint_done(self, result: str) -> None:
        """One was ``written``, ``failed`` to be, or was found ``unusable``."""
        self.measures.checkpoints.add(result)

    def store_wrote(self, seconds: float) -> None:
        """A transaction is durable. Called by the thread that writes, and by no other."""
        self.measures.store_seconds.observe(seconds)

    def started_again(self, times: int) -> None:
        """How often the coordinator has started after its first time."""
        self.measures.restarts.add(by=times)

    # ---- forgetting

    def forget_job(self, job_id: str) -> None:
        """The job's record is not kept any longer, nor are its series."""
        self._forgotten.discard(job_id)
        self.measures.forget("job_id", {job_id})

    def tidy(self, state: ClusterState, runs: Mapping[JobId, JobRun], now: float) -> None:
        """Forget workers and jobs that are gone for a while; does nothing more often than now and then."""
        if now - self._tidied_at < TIDY_EVERY_S:
            return
        self._tidied_at = now
        gone, ended = tidy(state, runs, now)
        if gone:
            self.measures.forget("worker", gone)
        if fresh := ended - self._forgotten:
            self._forgotten |= fresh
            self.measures.forget("job_id", fresh)


def _family(reading: Reading) -> Metric:
    name, labels = f"gradloom_{reading.name}", list(reading.labels)
    match reading.kind:
        case "counter":
            counter = CounterMetricFamily(name, reading.help, labels=labels)
            for values, number in reading.values.items():
                counter.add_metric(values, number)
            return counter
        case "gauge":
            gauge = GaugeMetricFamily(name, reading.help, labels=labels)
            for values, number in reading.values.items():
                gauge.add_metric(values, number)
            return gauge
        case "histogram":
            histogram = HistogramMetricFamily(name, reading.help, labels=labels)
            for values, seen in reading.distributions.items():
                histogram.add_metric(values, _buckets(seen), seen.total)
            return histogram


def _buckets(seen: Distribution) -> list[tuple[str, float]]:
    ends = [*(f"{bound:g}" for bound in seen.bounds), "+Inf"]
    return list(zip(ends, map(float, accumulate(seen.counts)), strict=True))
