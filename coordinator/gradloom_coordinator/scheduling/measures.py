"""What has happened since the coordinator's start, counted where it happens; nothing is decided by it.

The scheduler's parts write here, and ``metrics.py`` reads it when somebody scrapes. A family of series is declared
once, below, with its name, what it says and its labels. No I/O, no clock.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from gradloom.jobs import RetryReason
from gradloom_coordinator.scheduling.blame import Cause
from gradloom_coordinator.scheduling.meters import Distribution, Meter, Reading, Spread, Tally
from gradloom_coordinator.scheduling.rounds import Refusal

TASK_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
ROUND_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
MOMENT_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""For what should be over in a moment."""
DECISION_S = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
WRITE_S = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
TROUBLE_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0)
TRIES = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0)
STALE_ROUNDS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)

REFUSED: Mapping[str, str] = {
    Refusal.LATE: "late",
    Refusal.STALE: "stale",
    Refusal.DUPLICATE: "duplicate",
    Refusal.UNKNOWN_JOB: "job_over",
    Refusal.FOREIGN: "foreign",
    Refusal.WORKER_GONE: "worker_gone",
}
"""Why an answer was not counted, as a label."""
TRIED_AGAIN = tuple(
    reason for reason in RetryReason if reason not in (RetryReason.BAD_DATA, RetryReason.SHARD_CHANGED)
)
OUTCOMES = ("succeeded", "failed", "cancelled", "superseded", "timeout")


class Lost(StrEnum):
    """Why computing came to nothing though no try failed."""

    SUPERSEDED = "superseded"
    """Another worker was faster with the same shards."""
    ROUND_OVER = "round_over"
    JOB_OVER = "job_over"
    EXCLUDED = "excluded"
    """Its worker was given no more work."""


class Came(StrEnum):
    """What can happen to a worker."""

    JOINED = "joined"
    RESTARTED = "restarted"
    """It joined again soon after it was gone."""
    RESUMED = "resumed"
    """It came back into its session."""
    BROKE_OFF = "broke_off"
    SUSPECTED = "suspected"
    LOST = "lost"
    LEFT = "left"
    DRAINED = "drained"
    EXCLUDED = "excluded"
    READMITTED = "readmitted"
    CHAOS = "chaos"
    """A person had it suffer a fault, which is the reason."""


OUTCOME_OF: Mapping[str, str] = {
    **dict.fromkeys(RetryReason, "failed"),
    RetryReason.DEADLINE: "timeout",
    Lost.SUPERSEDED: "superseded",
}
"""Of a task that was given up for a reason; for all other reasons it was cancelled."""
LOST_BY = (RetryReason.HEARTBEAT_TIMEOUT, RetryReason.DEADLINE, RetryReason.STREAM_RESET)


class Measures:
    """All counters and histograms of one coordinator."""

    def __init__(self) -> None:
        self._families: list[Tally | Spread] = []
        self._of_workers()
        self._of_tasks()
        self._of_retries()
        self._of_stragglers()
        self._of_training()
        self._of_the_coordinator()
        self._preset()

    def _tally(self, name: str, help_: str, *labels: str) -> Tally:
        family = Tally(name, help_, *labels)
        self._families.append(family)
        return family

    def _spread(self, name: str, help_: str, bounds: tuple[float, ...], *labels: str) -> Spread:
        family = Spread(name, help_, bounds, *labels)
        self._families.append(family)
        return family

    def _of_workers(self) -> None:
        self.came_at = Tally(
            "worker_event_timestamp_seconds",
            "When something last happened to a worker, by the epoch.",
            "worker",
            "event",
            "reason",
        )
        """By our own clock; a gauge, which the page shows by the epoch."""
        self.worker_events = self._tally(
            "worker_events", "What happened to workers: joined, lost, ...", "event", "reason"
        )

    def _of_tasks(self) -> None:
        self.tasks = self._tally("tasks", "Tasks that came to an end, by how.", "job_id", "outcome")
        self.assignments = self._tally(
            "scheduler_assignments", "Tasks given to a worker.", "policy", "worker"
        )
        self.decision = self._spread(
            "scheduler_decision_seconds",
            "Time the scheduler took over an event; with the policy's name where it opened a round.",
            DECISION_S,
            "policy",
        )
        self.queue_wait = self._spread(
            "task_queue_wait_seconds", "Time tasks lay with their worker before it began them.", TASK_S
        )
        self.task_seconds = self._spread(
            "task_duration_seconds",
            "Time a worker took over a task: load, compute, encode.",
            TASK_S,
            "worker",
        )
        self.round_trip = self._spread(
            "grpc_rtt_seconds", "A task's way to its worker and its answer's way back.", MOMENT_S, "worker"
        )
        self.hits = self.misses = 0
        """Tasks whose shards their worker had in its cache, or had not."""
        self.rebalanced = self._tally(
            "rebalanced_shards", "Shards that changed their owner, by why.", "job_id", "reason"
        )

    def _of_retries(self) -> None:
        self.retries = self._tally(
            "task_retries",
            "Tries that came to nothing, by the worker they failed on.",
            "job_id",
            "worker",
            "reason",
        )
        self.attempts = self._spread(
            "task_attempts", "Which try at its shards an answer that counts was, copies included.", TRIES
        )
        self.backoff = self._spread(
            "retry_backoff_seconds", "How long shards were held back after a failure.", TROUBLE_S
        )
        self.first_tries = 0
        """Answers that counted at the first try: most of them, so that these are not in ``attempts``."""
        self.quarantined = self._tally(
            "tasks_quarantined", "Tasks that were given up, and their jobs with them.", "reason"
        )
        self.dropped = self._tally(
            "duplicate_results_dropped", "Answers that were not counted, by why.", "reason"
        )
        self.rework = self._tally(
            "rework_seconds", "Workers' time that came to nothing, by why.", "job_id", "reason"
        )
        self.detection = self._spread(
            "failure_detection_seconds",
            "From a lost worker's last sign of life until it was noticed.",
            TROUBLE_S,
        )
        self.recovery = self._spread(
            "recovery_seconds",
            "worker: from its loss until another has computed its task; stream: until its session is resumed; "
            "coordinator: from its start until a job goes on.",
            TROUBLE_S,
            "kind",
        )

    def _of_stragglers(self) -> None:
        self.stragglers = self._tally(
            "stragglers_detected", "Rounds in which a worker was slow, by why.", "worker", "cause"
        )
        self.barrier_wait = self._spread(
            "barrier_wait_seconds", "Time workers waited for the end of a round.", TASK_S, "job_id"
        )
        self.last_arrivals = self._tally(
            "barrier_last_arrivals", "Rounds that ended with this worker's answer.", "worker"
        )
        self.critical_path = self._tally(
            "critical_path_seconds",
            "Time in which all others had answered and a round waited for this one.",
            "worker",
        )
        self.staleness = self._spread(
            "gradient_staleness_rounds",
            "How many updates old partials were that counted; only where they may be.",
            STALE_ROUNDS,
            "job_id",
        )
        self.left_out = self._tally(
            "gradients_dropped",
            "Partials (left_out: shards) that took no part in an update, by why.",
            "reason",
        )

    def _of_training(self) -> None:
        self.rounds = self._tally("rounds", "Rounds of training done.", "job_id")
        self.trained_rows = self._tally("rows", "Rows that rounds of training have gone over.", "job_id")
        self.round_seconds = self._spread(
            "round_seconds", "Duration of a round of training.", ROUND_S, "job_id"
        )
        self.nonfinite = self._tally(
            "nonfinite_updates", "Partials with NaN or Inf, which were kept out of an update.", "job_id"
        )

    def _of_the_coordinator(self) -> None:
        self.loop_lag = self._spread(
            "scheduler_loop_lag_seconds", "How late the coordinator's event loop came to its timer.", MOMENT_S
        )
        self.commands = self._tally(
            "control_commands", "Calls of people that change something.", "command", "result", "role"
        )
        self.command_seconds = self._spread(
            "control_apply_seconds", "From such a call until it was durable and answered.", WRITE_S, "command"
        )
        self.auth_failures = self._tally(
            "auth_failures", "Calls that were refused for who made them.", "reason"
        )
        self.checkpoint_seconds = self._spread("checkpoint_seconds", "Time to write a checkpoint.", WRITE_S)
        self.checkpoints = self._tally("checkpoints", "Checkpoints by how they went.", "result")
        self.store_seconds = self._spread(
            "store_write_seconds", "Time of a transaction of the database.", WRITE_S
        )
        self.restarts = self._tally("coordinator_restarts", "Starts of the coordinator after its first one.")

    # ---- what is there before anything has happened

    def _preset(self) -> None:
        """Every label set that is known beforehand begins at 0, so that no panel is empty."""
        for event in Came:
            for reason in LOST_BY if event is Came.LOST else ("",):
                self.worker_events.begin(event, reason)
        for reason in RetryReason:
            self.quarantined.begin(reason)
        for label in REFUSED.values():
            self.dropped.begin(label)
        for label in ("late", "stale", "left_out"):
            self.left_out.begin(label)
        for kind in ("worker", "stream", "coordinator"):
            self.recovery.begin(kind)
        for result in ("written", "failed", "unusable"):
            self.checkpoints.begin(result)
        for label in ("session", "token", "certificate", "role", "name"):
            self.auth_failures.begin(label)
        for family in (self.queue_wait, self.attempts, self.backoff, self.detection, self.loop_lag):
            family.begin()
        for plain in (self.checkpoint_seconds, self.store_seconds, self.restarts):
            plain.begin()
        self.decision.begin("none")

    def begin_worker(self, worker: str) -> None:
        """A worker's own series begin at 0."""
        for family in (self.last_arrivals, self.critical_path, self.task_seconds, self.round_trip):
            family.begin(worker)
        for cause in Cause:
            self.stragglers.begin(worker, cause)

    def begin_job(self, job: str, workers: Iterable[str]) -> None:
        """A job's own series begin at 0, those by worker too."""
        for outcome in OUTCOMES:
            self.tasks.begin(job, outcome)
        for family in (self.rounds, self.trained_rows, self.round_seconds, self.nonfinite, self.barrier_wait):
            family.begin(job)
        self.staleness.begin(job)
        for why in (*Lost, *TRIED_AGAIN):
            self.rework.begin(job, why)
        for why in ("speed", "policy", "worker_came", "worker_went"):
            self.rebalanced.begin(job, why)
        for worker in workers:
            for reason in TRIED_AGAIN:
                self.retries.begin(job, worker, reason)

    # ---- what several parts count alike

    def happened(self, worker: str, event: Came, now: float, reason: str = "") -> None:
        """Something happened to a worker."""
        self.worker_events.add(event, reason)
        self.came_at.set(now, worker, event, reason)

    def lost(self, job: str, why: str, seconds: float) -> None:
        """A task was taken out of a worker's hands, who had spent so long on it."""
        self.tasks.add(job, OUTCOME_OF.get(why, "cancelled"))
        self.rework.add(job, REFUSED.get(why, why), by=seconds)

    def refuse(self, refusal: Refusal) -> None:
        """An answer is not counted."""
        self.dropped.add(REFUSED[refusal])
        if refusal in (Refusal.LATE, Refusal.STALE):
            self.left_out.add(REFUSED[refusal])

    # ---- reading

    def readings(self) -> list[Reading]:
        """A copy of every family."""
        return [*self._hot(), *(family.reading() for family in self._families if family is not self.attempts)]

    def _hot(self) -> Iterable[Reading]:
        """What is counted in fewer steps, because it is counted with every task."""
        busy = Tally("worker_busy_seconds", "Time a worker spent on tasks that it answered.", "worker")
        for (worker,), seconds in self.task_seconds.sums().items():
            busy.set(seconds, worker)
        locality = Tally(
            "locality_hits", "Tasks whose shards their worker had (hit) or had to load (miss).", "result"
        )
        locality.set(self.hits, "hit")
        locality.set(self.misses, "miss")
        attempts = self.attempts.reading()
        later = attempts.distributions[()]
        counts = (later.counts[0] + self.first_tries, *later.counts[1:])
        all_of_them = Distribution(later.bounds, counts, later.total + self.first_tries)
        return busy.reading(), locality.reading(), replace(attempts, distributions={(): all_of_them})

    def forget(self, label: str, gone: Collection[str]) -> None:
        """Remove the series of workers or jobs that are gone."""
        family: Meter
        for family in (*self._families, self.came_at):
            family.forget(label, gone)
