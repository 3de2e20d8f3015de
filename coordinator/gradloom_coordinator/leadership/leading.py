"""Keeps the lease of a coordinator that leads, and ends its rule in time when it can't.

A thread of its own renews: neither a busy event loop nor a slow database's writer delays it. A second one watches the
clock, for the first may still wait for a database that does not answer when the time is over. They only tell that the
lease is lost; whether it still holds is asked of the clock (``why_not``), by every call that comes in.
"""

import logging
import threading
import time
from collections.abc import Callable

from gradloom.errors import GradloomError
from gradloom_coordinator.durability.databases import Fenced
from gradloom_coordinator.leadership.lease import Tenure
from gradloom_coordinator.leadership.lease_table import LeaseTable

log = logging.getLogger(__name__)

JOIN_LIMIT_S = 5.0
RETRY_SHARE = 1 / 12
"""Of the lease's time: the pause before the database is tried again."""
LOOK_S = 0.5
"""Longest pause between two looks at the clock: a wait stands still while the machine sleeps, the lease goes on."""
LOST = "this coordinator has lost its lease"
"""What callers are told, who may be strangers; the log says why."""


def since_boot() -> float:
    """Seconds that only grow, also while the machine sleeps, where the system has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Leading:
    """The time in which this coordinator leads: from a lease that was taken to its loss or release.

    ``on_lost`` is called in a thread, once, with the reason, which is not for strangers. ``clock`` must not stand still
    while others' goes on.
    """

    def __init__(
        self,
        table: LeaseTable,
        tenure: Tenure,
        on_lost: Callable[[str], None],
        clock: Callable[[], float] = since_boot,
    ) -> None:
        self._table = table
        self._tenure = tenure
        self._on_lost = on_lost
        self._clock = clock
        self._lost = ""
        self._trouble = ""
        self._released = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._watch = threading.Thread(target=self._watch_clock, name="lease-clock", daemon=True)
        self._thread.start()
        self._watch.start()

    @property
    def epoch(self) -> int:
        """Goes with every write."""
        return self._tenure.epoch

    def why_not(self) -> str:
        """Why this coordinator does not lead at this moment; empty = it does."""
        return LOST if self._lost or self._tenure.is_over(self._clock()) else ""

    def lose(self, why: str) -> None:
        """Stop leading, for a reason that was found elsewhere."""
        if not self._lost:
            self._lost = why
            self._ending.set()

    def release(self) -> bool:
        """Let another one lead at once; False if this one no longer did, or can't tell. Blocks for JOIN_LIMIT_S."""
        self._ending.set()
        self._thread.join(0.0 if self.why_not() else JOIN_LIMIT_S)
        return self._released

    # ---- in the thread that watches the clock

    def _watch_clock(self) -> None:
        while not self._ending.wait(min(LOOK_S, max(0.0, self._left_s()))):
            if self._left_s() <= 0:
                self.lose(self._too_late())
        if self._lost:
            self._on_lost(self._lost)

    # ---- in the thread that renews; it alone uses the connection

    def _run(self) -> None:
        try:
            self._renew()
            if not self.why_not():
                self._let_go()
        finally:
            self._table.close()

    def _renew(self) -> None:
        wait_s = self._tenure.renew_in_s(self._clock())
        while not self._ending.wait(wait_s):
            asked_at = self._clock()
            try:
                self._table.renew(self.epoch)
            except Fenced as error:
                self.lose(error.message)
            except GradloomError as error:
                wait_s = self._after_failure(error.message)
            except Exception as error:
                log.exception("a defect: the lease can't be renewed")
                wait_s = self._after_failure(str(error))
            else:
                # however late: nobody has followed, for we would have been fenced
                self._tenure = Tenure(self.epoch, self._tenure.ttl_s, asked_at)
                self._say("")
                wait_s = self._tenure.renew_in_s(self._clock())

    def _let_go(self) -> None:
        try:
            self._table.release(self.epoch)
        except GradloomError as error:
            log.warning("the lease was not released, it ends by itself: %s", error.message)
        self._released = True

    def _after_failure(self, trouble: str) -> float:
        is_first = not self._trouble
        self._say(trouble)
        # it may be the connection alone, and there is time for another one
        return 0.0 if is_first else self._tenure.ttl_s * RETRY_SHARE

    # ---- in either

    def _left_s(self) -> float:
        return self._tenure.ends_at - self._clock()

    def _too_late(self) -> str:
        because = f": {self._trouble}" if self._trouble else ""
        return f"{LOST}, it could not be renewed in time{because}"

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("the lease can't be renewed now: %s", trouble)
        elif self._trouble and not trouble:
            log.info("the lease is renewed again")
        self._trouble = trouble
