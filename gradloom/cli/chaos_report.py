"""What a fault did to the jobs that ran: rounds before, during and after it, and how soon it was noticed. No calls."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gradloom.faults import TIMED, Fault
from gradloom.jobs import JobEvent, JobState, Note, RoundCompleted, StateChanged, TaskRetried
from gradloom.words import seconds_text

MAX_NOTES = 20


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds of one stretch of time."""

    rounds: int
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class JobUnderFault:
    """One job before, during and after a fault. Times are counted from the fault on."""

    job_id: str
    state: str
    before: Rounds
    during: Rounds
    after: Rounds
    retries: dict[str, int]
    """By reason."""
    detection_s: float | None
    """Until the cluster first said something of the worker; None = it never did."""
    recovery_s: float | None
    """Until the first round after that (after the fault, if it was not noticed) was done; None = there was none."""
    longest_gap_s: float | None
    """Between the ends of two rounds, from the last one before the fault on."""
    went_on: bool
    """Whether rounds were done after the fault, or the job completed."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One fault and all that it touched."""

    worker: str
    fault: str
    at: float
    """Seconds since the epoch, by the coordinator's clock."""
    jobs: tuple[JobUnderFault, ...]


@dataclass(slots=True)
class Watching:
    """Takes in one job's events until there is enough to say."""

    worker: str
    fault: Fault
    at: float
    observe_s: float
    state: JobState = JobState.RUNNING
    rounds: list[tuple[float, float]] = field(default_factory=list)
    """End and length of each round that is reported."""
    retries: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    detected_at: float | None = None
    over_at: float | None = None
    """When the fault and its consequences were over; known from the first round after them."""
    seen_at: float = 0.0

    def see(self, event: JobEvent) -> None:
        """Take in the next event."""
        self.seen_at = event.at
        match event.what:
            case StateChanged(state, _):
                self.state = state
            case RoundCompleted():
                self._round(event.at, event.what.seconds)
            case TaskRetried() as retry if event.at >= self.at:
                self.retries[retry.reason.value] = self.retries.get(retry.reason.value, 0) + 1
                if retry.worker == self.worker:
                    self._noticed(event.at)
            case Note(text) if event.at >= self.at and f"worker {self.worker} " in f"{text} ":
                if not text.startswith("chaos: "):
                    self._noticed(event.at)
                self.notes.append(f"{event.at - self.at:+.2f} s: {text}")

    @property
    def through(self) -> bool:
        """Whether enough was seen of what came after the fault."""
        return self.over_at is not None and self.seen_at >= self.over_at + self.observe_s

    def result(self, job_id: str) -> JobUnderFault:
        """What there is to say."""
        over_at = self.over_at or float("inf")
        ends = [end for end, _ in self.rounds]
        gaps = [later - max(end, self.at) for end, later in pairwise(ends) if later >= self.at]
        return JobUnderFault(
            job_id,
            str(self.state),
            before=_rounds([length for end, length in self.rounds if end < self.at]),
            during=_rounds([length for end, length in self.rounds if self.at <= end <= over_at]),
            after=_rounds([length for end, length in self.rounds if end > over_at]),
            retries=self.retries,
            detection_s=None if self.detected_at is None else self.detected_at - self.at,
            recovery_s=None if self.over_at is None else self._recovered_at(ends) - self.at,
            longest_gap_s=max(gaps, default=None),
            went_on=self.over_at is not None or self.state is JobState.COMPLETED,
            notes=tuple(self.notes[:MAX_NOTES]),
        )

    def _noticed(self, at: float) -> None:
        self.detected_at = self.detected_at or at
        self.over_at = None  # not yet: what is lost has to be computed again

    def _round(self, end: float, length: float) -> None:
        if end >= self.at - self.observe_s:
            self.rounds.append((end, length))
        lasts_s = self.fault.seconds if self.fault.kind in TIMED else 0.0
        if self.over_at is None and end - length >= self.at + lasts_s:
            self.over_at = end

    def _recovered_at(self, ends: Sequence[float]) -> float:
        """The end of the first round after the fault was noticed."""
        noticed_at = self.detected_at if self.detected_at is not None else self.at
        return next(end for end in ends if end >= noticed_at)


def markdown(experiment: Experiment) -> str:
    """The report."""
    lines = [f"# {experiment.worker}: {experiment.fault}", ""]
    if not experiment.jobs:
        lines.append("No job was running: there is nothing to report.")
    for job in experiment.jobs:
        lines += _job_lines(job)
    return "\n".join(lines).rstrip() + "\n"


def _job_lines(job: JobUnderFault) -> list[str]:
    went_on = (
        "its rounds went on" if job.went_on else "no round was done after the fault while it was watched"
    )
    lines = [f"## {job.job_id}", "", f"The job is {job.state}: {went_on}.", ""]
    lines += ["| rounds | number | p50 | p99 |", "|---|---|---|---|"]
    for name, rounds in (("before", job.before), ("during", job.during), ("after", job.after)):
        lines.append(f"| {name} | {rounds.rounds} | {_text(rounds.p50_s)} | {_text(rounds.p99_s)} |")
    retries = ", ".join(f"{n} {reason}" for reason, n in sorted(job.retries.items())) or "none"
    lines += ["", f"- retries: {retries}"]
    lines.append(f"- noticed after: {_text(job.detection_s)}")
    lines.append(f"- first round after that: {_text(job.recovery_s)}")
    lines.append(f"- longest time without a finished round: {_text(job.longest_gap_s)}")
    return [*lines, "", *(f"    {note}" for note in job.notes), ""]


def _rounds(lengths: list[float]) -> Rounds:
    ordered = sorted(lengths)
    return Rounds(len(ordered), _quantile(ordered, 0.5), _quantile(ordered, 0.99))


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def _text(seconds: float | None) -> str:
    return "-" if seconds is None else seconds_text(seconds)
