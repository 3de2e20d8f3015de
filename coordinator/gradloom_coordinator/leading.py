"""Keeps the lease of a coordinator that leads, and ends its rule in time when it can't.

A thread of its own renews: neither a busy event loop nor a slow database's writer delays it. It only tells that the
lease is lost; whether it still holds is asked of the clock (``why_not``), by every call that comes in.
"""

import logging
import threading
import time
from collections.abc import Callable

from gradloom.errors import GradloomError, Unavailable
from gradloom_coordinator.databases import Fenced
from gradloom_coordinator.lease import Tenure
from gradloom_coordinator.lease_table import LeaseTable

log = logging.getLogger(__name__)

JOIN_LIMIT_S = 5.0
RETRY_SHARE = 1 / 12
"""Of the lease's time: the pause before the database is tried again."""


class Leading:
    """The time in which this coordinator leads: from a lease that was taken to its loss or release.

    ``on_lost`` is called in the thread, once, with the reason. ``clock`` must not stand still while others' goes on.
    """

    def __init__(
        self,
        table: LeaseTable,
        tenure: Tenure,
        on_lost: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._tenure = tenure
        self._on_lost = on_lost
        self._clock = clock
        self._lost = ""
        self._trouble = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """Goes with every write."""
        return self._tenure.epoch

    def why_not(self) -> str:
        """Why this coordinator does not lead at this moment; empty = it does."""
        if not self._lost and self._tenure.is_over(self._clock()):
            return self._too_late()
        return self._lost

    def lose(self, why: str) -> None:
        """Stop leading, for a reason that was found elsewhere."""
        if not self._lost:
            self._lost = why
            self._ending.set()

    def release(self) -> None:
        """Let another one lead at once, if this one still does; blocks for a moment."""
        self._ending.set()
        self._thread.join(JOIN_LIMIT_S)
        if not self._lost:
            try:
                self._table.release(self.epoch)
            except GradloomError as error:
                log.warning("the lease was not released, it ends by itself: %s", error.message)
        self._table.close()

    # ---- in the thread

    def _run(self) -> None:
        wait_s = self._tenure.renew_in_s(self._clock())
        while not self._ending.wait(wait_s):
            asked_at = self._clock()
            try:
                self._table.renew(self.epoch)
            except Fenced as error:
                self.lose(error.message)
                break
            except GradloomError as error:
                wait_s = self._after_failure(error)
            except Exception as error:
                log.exception("a defect: the lease can't be renewed")
                wait_s = self._after_failure(Unavailable(str(error)))
            else:
                # however late: nobody has followed, for we would have been fenced
                self._tenure = Tenure(self.epoch, self._tenure.ttl_s, asked_at)
                self._say("")
                wait_s = self._tenure.renew_in_s(self._clock())
            if self._tenure.is_over(self._clock()):
                self.lose(self._too_late())
        if self._lost:
            self._on_lost(self._lost)

    def _after_failure(self, error: GradloomError) -> float:
        self._say(error.message)
        left_s = self._tenure.ends_at - self._clock()
        return max(0.0, min(left_s, self._tenure.ttl_s * RETRY_SHARE))

    def _too_late(self) -> str:
        because = f": {self._trouble}" if self._trouble else ""
        return f"this coordinator has lost its lease, it could not be renewed in time{because}"

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("the lease can't be renewed now: %s", trouble)
        elif self._trouble and not trouble:
            log.info("the lease is renewed again")
        self._trouble = trouble
