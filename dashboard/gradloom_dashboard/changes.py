"""What was typed into the controls of a job, as one change of it. Pure."""

from collections.abc import Callable, Mapping

from gradloom.cli.steering import changes_of
from gradloom.client import Job
from gradloom.jobs import JobView


def update_of(changed: Mapping[str, str], etag: str) -> Callable[[Job], JobView]:
    """All of it at once, refused if somebody has changed the job since ``etag``. Raises InvalidInput for bad words."""
    found = changes_of([f"{name}={words or 'none'}" for name, words in changed.items()])
    return lambda job: job.update(
        placement=found.placement,
        synchrony=found.synchrony,
        speculation=found.speculation,
        share_weight=found.share_weight,
        codec=found.codec,
        downlink=found.downlink,
        settings=found.settings,
        etag=etag,
    )


def told(changed: Mapping[str, str]) -> str:
    """The same in words: ``learning_rate is 0.05 now``."""
    return ", ".join(f"{name} is {words or 'none'} now" for name, words in changed.items())
