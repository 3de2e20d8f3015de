"""A job's specification as the scheduler is told of it."""

from gradloom.synchrony import parse_synchrony
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.policies import policy_named


def submitted(run: JobRun) -> e.JobSubmitted:
    """The event that makes a job known."""
    spec = run.in_force
    return e.JobSubmitted(
        run.job_id,
        policy_named(spec.placement),
        algorithm=spec.algorithm,
        share_weight=spec.share_weight,
        required_labels=spec.required_labels,
        speculation=spec.speculation == "on",
        synchrony=parse_synchrony(spec.synchrony),
    )
