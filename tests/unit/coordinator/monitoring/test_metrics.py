"""The coordinator's page: begins at 0, shows what the scheduler knows, and forgets who is long gone."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from builders.scheduling import Desk
from gradloom.jobs import JobState, RoundCompleted, WorkerState, WorkerView
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.monitoring import metrics as page
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.monitoring.standing import SHOWN_S, Look, standing
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.meters import Reading, Tally
from gradloom_coordinator.scheduling.rounds import Refusal

DONE = RoundCompleted(3, 9, 0.5, 0.1, None, None, 0.2, 100.0, 2, 1.0)
EPOCH = 1_000_000.0

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(metrics: CoordinatorMetrics) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("gradloom_")
    }


def view(worker: str) -> WorkerView:
    return WorkerView(
        worker=worker,
        state=WorkerState.IDLE,
        host="host",
        pid=1,
        cores=2.0,
        memory_bytes=0,
        version="1.2.3",
        heartbeat_age_s=0.5,
        tasks_in_flight=0,
        shards=3,
        rows=0,
        rows_per_second=0.0,
        connected_s=0.0,
        metrics_address="",
    )


def run_of(job: str) -> JobRun:
    return JobRun(job, JobSpec("logistic", DataSpec(("a.csv",))), Journal(), EPOCH - 5.0)


class Shown:
    """A scheduler with one job, and its page."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.runs = desk, {"job": run_of("job")}
        self.state = desk.scheduler.state
        self.metrics = CoordinatorMetrics(self.state.measures)
        self.metrics._look = self.look

    def look(self) -> list[Reading]:
        views = [view(worker) for worker in self.state.workers]
        return standing(Look(self.state, self.runs, views, Limits(), self.desk.now, EPOCH))

    def samples(self) -> Samples:
        return samples(self.metrics)

    def tidy(self) -> None:
        self.metrics.tidy(self.state, self.runs, self.desk.now)


@pytest.fixture
def shown() -> Shown:
    desk = Desk.of("a", "b")
    desk.start([10, 10])
    return Shown(desk)


def test_everything_that_is_known_beforehand_begins_at_0(shown: Shown) -> None:
    found = shown.samples()
    assert found["gradloom_task_retries_total", ("job", "a", "nonfinite")] == 0
    assert found["gradloom_tasks_total", ("job", "timeout")] == 0
    assert found["gradloom_stragglers_detected_total", ("a", "memory")] == 0
    assert found["gradloom_worker_events_total", ("lost", "heartbeat_timeout")] == 0
    assert found["gradloom_control_commands_total", ("PauseJob", "ok", "operator")] == 0
    assert found["gradloom_round_seconds_count", ("job",)] == 0
    assert found["gradloom_workers", ("lost",)] == 0


def test_the_gauges_say_how_things_stand(shown: Shown) -> None:
    shown.desk.answer("a", after_s=2.0)
    found = shown.samples()
    assert found["gradloom_worker_up", ("a",)] == 1
    assert found["gradloom_worker_info", ("a", "host", "1.2.3", "2")] == 1
    assert found["gradloom_workers", ("busy",)] == 1
    assert found["gradloom_worker_inflight_tasks", ("b",)] == 1
    assert found["gradloom_worker_shards", ("b",)] == 3
    assert found["gradloom_tasks", ("job", "running")] == 1
    assert found["gradloom_tasks", ("job", "pending")] == 0
    assert found["gradloom_retry_budget_remaining", ("job",)] == 4
    assert found["gradloom_synchrony_info", ("job", "synchronous")] == 1
    assert found["gradloom_worker_event_timestamp_seconds", ("a", "joined", "")] == EPOCH
    assert found["gradloom_job_event_timestamp_seconds", ("job", "submitted", "")] == EPOCH - 5.0


def test_work_that_came_to_nothing_lowers_goodput(shown: Shown) -> None:
    shown.desk.answer("a", after_s=2.0, took_s=2.0)
    assert shown.samples()["gradloom_goodput_ratio", ("job",)] == 1.0
    shown.state.measures.rework.add("job", "superseded", by=6.0)
    assert shown.samples()["gradloom_goodput_ratio", ("job",)] == 0.25


def test_a_worker_that_is_gone_is_shown_as_down_for_a_while(shown: Shown) -> None:
    shown.desk.answer("a", after_s=1.0)
    shown.desk.tell(e.WorkerLeft("a", "SIGTERM"))
    shown.desk.now += SHOWN_S - 1.0
    shown.tidy()
    found = shown.samples()
    assert found["gradloom_worker_up", ("a",)] == 0
    assert found["gradloom_worker_busy_seconds_total", ("a",)] == 1.0
    assert ("gradloom_worker_heartbeat_age_seconds", ("a",)) not in found
    shown.desk.now += 10.0
    shown.tidy()
    assert not [labels for _, labels in shown.samples() if "a" in labels]
    assert shown.samples()["gradloom_worker_busy_seconds_total", ("b",)] == 0


def test_a_job_that_has_ended_is_shown_for_a_while(shown: Shown) -> None:
    shown.metrics.round_done("job", DONE)
    run = shown.runs["job"]
    shown.desk.tell(e.CancelRequested("job", ""))
    run.state, run.ended = JobState.CANCELLED, shown.desk.now
    shown.desk.now += SHOWN_S - 1.0
    shown.tidy()
    found = shown.samples()
    assert found["gradloom_rounds_total", ("job",)] == 1
    assert found["gradloom_job_state", ("job", "cancelled")] == 1
    assert found["gradloom_progress_ratio", ("job",)] == 1.0
    shown.desk.now += 10.0
    shown.tidy()
    assert not [labels for _, labels in shown.samples() if "job" in labels]
    assert shown.samples()["gradloom_jobs", ("cancelled",)] == 1


def test_a_job_whose_record_goes_takes_its_series_along() -> None:
    metrics = CoordinatorMetrics()
    before = samples(metrics)
    metrics.measures.begin_job("job", ["w"])
    assert samples(metrics) != before
    metrics.forget_job("job")
    assert samples(metrics) == before


def test_every_refusal_has_a_series() -> None:
    metrics = CoordinatorMetrics()
    for refusal in Refusal:
        metrics.dropped(refusal)
    dropped = [
        v for (name, _), v in samples(metrics).items() if name == "gradloom_duplicate_results_dropped_total"
    ]
    assert dropped == [1.0] * len(Refusal)


def test_only_calls_that_change_something_are_counted() -> None:
    metrics = CoordinatorMetrics()
    metrics.commanded("UpdateJob", "InvalidInput", 0.1, "operator")
    metrics.commanded("GetJob", "ok", 0.1, "operator")
    found = samples(metrics)
    assert found["gradloom_control_commands_total", ("UpdateJob", "InvalidInput", "operator")] == 1
    assert not [labels for _, labels in found if "GetJob" in labels]


async def test_a_scrape_looks_on_the_event_loop() -> None:
    metrics, threads = CoordinatorMetrics(), list[int]()

    def look() -> Iterator[Reading]:
        threads.append(threading.get_ident())
        found = Tally("answer", "The answer.")
        found.set(42.0)
        yield found.reading("gauge")

    metrics.show(look, asyncio.get_running_loop())
    found = await asyncio.to_thread(samples, metrics)
    assert found["gradloom_answer", ()] == 42
    assert threads == [threading.get_ident()]


async def test_an_event_loop_that_stands_still_shows_what_it_last_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "LOOK_LIMIT_S", 0.01)
    metrics = CoordinatorMetrics()
    metrics.show(list, asyncio.get_running_loop())
    before = await asyncio.to_thread(samples, metrics)
    while not before:  # the machine may have been slow, too
        before = await asyncio.to_thread(samples, metrics)
    metrics.round_done("job", DONE)
    assert samples(metrics) == before, "the loop can't answer: it is we who ask"


async def test_what_goes_wrong_in_a_look_is_the_scrapers_error() -> None:
    metrics = CoordinatorMetrics()

    def look() -> list[Reading]:
        raise ValueError("a defect")

    metrics.show(look, asyncio.get_running_loop())
    with pytest.raises(ValueError, match="a defect"):
        await asyncio.to_thread(samples, metrics)


def test_promtool_takes_the_page(shown: Shown, tmp_path: Path) -> None:
    shown.desk.answer("a", after_s=2.0)
    text = generate_latest(shown.metrics.registry)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
