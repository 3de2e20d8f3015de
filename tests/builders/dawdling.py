"""Jobs that go on for as long as a test wants them to, and leave the machine to what is tested.

Their workers are told to be slow, and a slow worker sleeps. So such a job needs no big data, takes little of the
processors, and is not over before a command has started on a busy machine. For it the workers need --allow-chaos.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from builders.durable import LIMIT_S, until
from gradloom.client import Client, Job
from gradloom.errors import Conflict, NotFound
from gradloom.faults import MAX_SECONDS, Fault, FaultKind
from gradloom.jobs import JobState, WorkerState

ENDLESS = 100_000
"""Rounds that no test waits for."""
STEP = 50
"""Jobs end after a multiple of so many rounds, so that few undisturbed ones are needed to compare them with."""


def dawdle(client: Client, factor: float = 10.0, workers: Iterable[str] = ()) -> None:
    """Have workers take so many times as long for a task, asleep; all of them if none is named."""
    _slow(client, Fault(FaultKind.SLOW, MAX_SECONDS, factor), workers)


def hurry(client: Client, workers: Iterable[str] = ()) -> None:
    """Have them be as fast as they can again."""
    _slow(client, Fault(FaultKind.SLOW, 0.001, 1.001), workers)


def _slow(client: Client, fault: Fault, workers: Iterable[str]) -> None:
    for worker in workers or [view.worker for view in client.workers()]:
        try:
            client.inject(worker, fault)
        except (Conflict, NotFound):  # it may have been killed, which is noticed a little later
            if worker in {view.worker for view in client.workers() if view.state is not WorkerState.AWAY}:
                raise


def brought_to_an_end(client: Client, job: Job, workers: Iterable[str] = ()) -> tuple[int, str]:
    """Have a job that may have its number of rounds changed end soon: how many it did, and its model's hash."""
    job.pause("so that it can't pass its last round")
    until(lambda: job.view().state is JobState.PAUSED, f"{job.id} stands still")
    rounds = (job.view().rounds // STEP + 1) * STEP
    job.update(settings={"max_rounds": rounds})
    hurry(client, workers)
    job.resume()
    view = job.wait(LIMIT_S)
    assert (view.state, view.rounds) == (JobState.COMPLETED, rounds), view.reason
    return rounds, view.parameters_sha256


@dataclass(slots=True)
class References:
    """The hashes of jobs that nobody disturbs, by their number of rounds."""

    submit: Callable[[int], Job]
    hashes: dict[int, str] = field(default_factory=dict)

    def __call__(self, rounds: int) -> str:
        """Of this many rounds."""
        if rounds not in self.hashes:
            view = self.submit(rounds).wait(LIMIT_S)
            assert view.state is JobState.COMPLETED, view.reason
            self.hashes[rounds] = view.parameters_sha256
        return self.hashes[rounds]

    def check(self, client: Client, job: Job, workers: Iterable[str] = ()) -> None:
        """Bring a job to an end: it has every bit of one that nobody disturbed."""
        rounds, found = brought_to_an_end(client, job, workers)
        assert found == self(rounds)
