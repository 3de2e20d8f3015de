"""The series of a job or worker begin at 0 and go when it does."""

from typing import Any, NoReturn

from gradloom.jobs import RetryReason, RoundCompleted
from gradloom_coordinator.metrics import CoordinatorMetrics
from gradloom_coordinator.rounds import Refusal
from gradloom_coordinator.state import ClusterState, Worker

DONE = RoundCompleted(3, 9, 0.5, 0.1, None, None, 0.2, 100.0, 2, 1.0)


def samples(metrics: CoordinatorMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_what_happens_to_a_job_is_counted_and_forgotten_with_it() -> None:
    metrics = CoordinatorMetrics()
    before = samples(metrics)
    metrics.job_started("job")
    assert samples(metrics)["gradloom_tasks_total", ("job", "failed")] == 0
    metrics.task_done("w", "job", 10, 0.5)
    metrics.retried("job", "w", RetryReason.NONFINITE)
    metrics.round_done("job", DONE)
    after = samples(metrics)
    assert after["gradloom_tasks_total", ("job", "succeeded")] == 1
    assert after["gradloom_worker_rows_total", ("w", "job")] == 10
    assert after["gradloom_task_retries_total", ("job", "w", "nonfinite")] == 1
    assert after["gradloom_loss", ("job", "train")] == 0.5
    metrics.forget_job("job")
    assert samples(metrics).keys() - before.keys() == {("gradloom_worker_busy_seconds_total", ("w",))}


def test_the_series_of_a_worker_go_with_it_whatever_it_is_called() -> None:
    metrics = CoordinatorMetrics()
    before = samples(metrics)
    state = ClusterState(workers={name: Worker(name, 0.0, 0.0) for name in ("idle", "train")})
    metrics.observe(state, {}, 1.0)
    assert samples(metrics)["gradloom_worker_up", ("idle",)] == 1
    assert samples(metrics)["gradloom_workers", ("idle",)] == 2
    metrics.observe(ClusterState(), {}, 2.0)
    assert samples(metrics) == before


class Unwalked(dict[tuple[str, ...], Any]):
    """Can be looked into, but not walked through."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("a walk over all series")


def test_a_worker_that_goes_costs_no_look_at_the_series_of_all_others() -> None:
    metrics = CoordinatorMetrics()
    for worker in range(3):
        for job in range(4):
            metrics.task_done(f"w-{worker}", f"job-{job}", 1, 0.1)
    for family in metrics._families:
        family._children = Unwalked(family._children)
        family.forget("worker", "w-0")
    rows = [labels for name, labels in samples(metrics) if name == "gradloom_worker_rows_total"]
    assert sorted(rows) == [(f"w-{worker}", f"job-{job}") for worker in (1, 2) for job in range(4)]
    metrics.forget_job("job-1")
    metrics.task_done("w-1", "job-1", 5, 0.1)
    assert samples(metrics)["gradloom_worker_rows_total", ("w-1", "job-1")] == 5


def test_every_refusal_has_a_series() -> None:
    metrics = CoordinatorMetrics()
    for refusal in Refusal:
        metrics.dropped(refusal)
    dropped = [
        v for (name, _), v in samples(metrics).items() if name == "gradloom_duplicate_results_dropped_total"
    ]
    assert dropped == [1.0] * len(Refusal)
