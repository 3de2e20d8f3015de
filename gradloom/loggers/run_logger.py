"""What every logger is, and what it is told: a job's beginning, its events in order, its end."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from gradloom.errors import Conflict
from gradloom.handles import Job
from gradloom.jobs import JobEvent, JobState, JobView, Note, RoundCompleted, StateChanged, TaskRetried

if TYPE_CHECKING:
    from gradloom.models import Model

Values = Iterable[tuple[str, float | None]]


class RunLogger(Protocol):
    """Takes in one run. A logger is for one run: make another for the next."""

    def begin(self, view: JobView) -> None:
        """The job, as it is when following it begins."""
        ...

    def __call__(self, event: JobEvent) -> None:
        """What happened, in order."""
        ...

    def end(self, view: JobView, model: "Model | None") -> None:
        """How it ended. ``model``: None if it has none."""
        ...

    def close(self) -> None:
        """Nothing more comes; also where following was interrupted. Closing twice does nothing."""
        ...


def log_run(job: Job, logger: RunLogger, timeout_s: float | None = None) -> JobView:
    """Follow a job to its end and tell a logger of it, from the job's first event that is kept.

    Raises Unavailable if it has not ended within ``timeout_s``, and what the logger raises.
    """
    try:
        logger.begin(job.view())
        for event in job.until_settled(timeout_s):
            logger(event)
        view = job.view()
        logger.end(view, _model_of(job, view))
    finally:
        logger.close()
    return view


def _model_of(job: Job, view: JobView) -> "Model | None":
    if view.state not in (JobState.COMPLETED, JobState.SERVING):
        return None
    try:
        return job.model()
    except Conflict:  # statistics and the like have none
        return None


def metrics_of(done: RoundCompleted) -> dict[str, float]:
    """A round's numbers by name; what is not known, or is no number, is left out."""
    return finite(
        (
            ("loss", done.loss),
            ("validation_loss", done.validation_loss),
            ("gradient_norm", done.gradient_norm),
            ("learning_rate", done.learning_rate),
            ("round_seconds", done.seconds),
            ("rows_per_second", done.rows_per_second),
            ("workers", float(done.workers)),
        )
    )


def finite(values: Values) -> dict[str, float]:
    """Those that a chart can show."""
    return {name: value for name, value in values if value is not None and math.isfinite(value)}


def parameters_of(view: JobView) -> dict[str, str]:
    """What was asked for, as it was submitted."""
    spec = view.submitted or view.spec
    return {
        "algorithm": spec.algorithm,
        "data": " ".join(spec.data.uris),
        "target": spec.data.target,
        "test_fraction": f"{spec.test_fraction:g}",
        "seed": str(spec.seed),
        "placement": spec.placement or "balanced",
        "synchrony": spec.synchrony or "synchronous",
        "codec": spec.codec or "none",
        "downlink": spec.downlink or "none",
        "speculation": spec.speculation,
        **{f"settings.{name}": value for name, value in spec.settings.items()},
    }


def steering_of(view: JobView) -> dict[str, str]:
    """What people have changed, in order: ``steering.01`` and so on."""
    return {
        f"steering.{i:02d}": f"round {one.at_round}: {one.field} {one.old} -> {one.new} by {one.who}"
        for i, one in enumerate(view.steering, 1)
    }


def sentence_of(event: JobEvent) -> str:
    """An event that is no round, in words; empty for a round."""
    match event.what:
        case StateChanged(state, reason):
            return f"{state}: {reason}" if reason else str(state)
        case TaskRetried(reason, worker, shards, attempt, detail):
            return f"shards {shards} of {worker} again, try {attempt} ({reason}) {detail}".rstrip()
        case Note(text):
            return text
        case RoundCompleted():
            return ""
