"""Who leads, decided purely: one of several coordinators on one database, for a while that it must keep renewing.

Two clocks, which are never compared. What stands in the database is by the **database's** clock, so the coordinators'
own clocks need not agree. The one that leads counts its own time from the moment when it *asked* for the renewal, which
is before the database wrote it: so it stops before another may begin.

The **epoch** grows by one each time the lease changes hands. It goes with every write, and a write of an older one is
refused by the database: a leader that stood still for however long writes nothing once it has been followed.
"""

from dataclasses import dataclass

RENEWALS = 3
"""Times that a lease is renewed before it would end, if all goes well."""
BIDS = 6
"""Times that others look within the time of a lease."""
STEP_DOWN_SHARE = 1 / 6
"""Of the lease's time: what a leader needs to stop, and what two clocks may drift apart meanwhile."""
SHORTEST_S = 2.0
LONGEST_S = 300.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The row of the database."""

    holder: str
    """Tells one process from all others."""
    address: str
    """Where the holder serves."""
    epoch: int
    expires_at: float
    """Seconds by the database's clock."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Take it, now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody else leads; look again then."""

    for_s: float
    reason: str


def bid(lease: Lease | None, now: float, ttl_s: float) -> Acquire | Wait:
    """Whether a coordinator that does not lead may begin to. ``now`` by the database's clock."""
    if lease is None:
        return Acquire("nobody has led here before")
    left_s = lease.expires_at - now
    if left_s <= 0:
        return Acquire(f"the lease of {lease.address} has ended")
    return Wait(min(left_s, ttl_s / BIDS), f"standby; the leader is {lease.address}")


@dataclass(frozen=True, slots=True)
class Tenure:
    """What the one that leads knows of its own lease."""

    epoch: int
    ttl_s: float
    renewed_at: float
    """When the last renewal that succeeded was asked for; seconds of a clock of its own that only grows."""
    because: str = ""
    """Why it could begin."""

    @property
    def ends_at(self) -> float:
        """From then on nothing may be decided, by the same clock."""
        return self.renewed_at + self.ttl_s * (1 - STEP_DOWN_SHARE)

    def is_over(self, now: float) -> bool:
        """Whether another may have begun."""
        return now >= self.ends_at

    def renew_in_s(self, now: float) -> float:
        """How long to wait for the next renewal."""
        return max(0.0, self.renewed_at + self.ttl_s / RENEWALS - now)
