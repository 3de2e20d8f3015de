"""What operators do with workers: drain, exclude, readmit. Durable before it is acknowledged where it is to last."""

import time
from collections.abc import Callable

from gradloom.errors import NotFound
from gradloom_coordinator.durability.changes import Steered
from gradloom_coordinator.durability.store_jobs import EXCLUDED
from gradloom_coordinator.lifecycle import Lifecycle
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.state import ClusterState


class Operating:
    """Acts on the workers of one coordinator. ``who`` is the person, as far as that is known."""

    def __init__(self, jobs: Lifecycle, state: ClusterState, dispatch: Callable[[e.Event], None]) -> None:
        self._jobs = jobs
        self._state = state
        self._dispatch = dispatch

    def drain(self, worker: str, reason: str, who: str) -> None:
        """Have a worker finish what it computes and leave. Raises NotFound."""
        self._check_known(worker)
        self._dispatch(e.DrainRequested(worker, _said(f"drained by {who}", reason)))

    async def exclude(self, worker: str, reason: str, who: str) -> None:
        """Give a worker no work until it is readmitted. Raises NotFound, Unavailable."""
        self._check_known(worker)
        text = _said(f"excluded by {who}", reason)
        self._record(worker, text, who)
        self._dispatch(e.ExcludeRequested(worker, text))
        await self._jobs.acknowledge()

    async def readmit(self, worker: str, who: str) -> None:
        """Let a worker in again. Raises NotFound, Unavailable."""
        if worker not in self._state.trust:
            self._check_known(worker)
        self._record(worker, "", who)
        self._dispatch(e.ReadmitRequested(worker, f"by {who}"))
        await self._jobs.acknowledge()

    def _check_known(self, worker: str) -> None:
        if worker not in self._state.workers:
            here = ", ".join(sorted(self._state.workers)) or "none"
            raise NotFound(f"worker: {worker!r} is not known; connected now: {here}")

    def _record(self, worker: str, excluded: str, who: str) -> None:
        self._jobs.refuse_if_not_kept()
        before = self._state.trust[worker].barred if worker in self._state.trust else ""
        self._jobs.keep(Steered("", 0, who, time.time(), EXCLUDED + worker, before, excluded))


def _said(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what
