"""The policies that are compared, by name: limits of the real scheduler, and where shards are placed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradloom.errors import InvalidInput
from gradloom.synchrony import SYNCHRONOUS, Synchrony, SynchronyKind
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.policies import DEFAULT_POLICY

USUAL = Limits()
PLAIN = replace(
    USUAL,
    max_chunks=1,
    chunk_min_s=math.inf,
    lead_s=1e6,
    replace_gain=math.inf,
    help=False,
    speculation=False,
)
EVERYBODY = 1_000_000
MAIN = ("default", "synchronous", "speculation", "backup-1", "backup-2", "balanced")
"""What is compared if nobody says what."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to share out work."""

    what: str
    limits: Limits = USUAL
    placement: str = DEFAULT_POLICY
    backups: int = 0
    """A round is over when all but so many workers have answered; what they lack is not counted."""
    synchrony: Synchrony = SYNCHRONOUS

    def synchrony_for(self, shards_of_one: int) -> Synchrony:
        """When a round is over, if a worker has so many shards."""
        return (
            Synchrony(SynchronyKind.BACKUP, self.backups * shards_of_one) if self.backups else self.synchrony
        )


CONTESTANTS: Mapping[str, Contestant] = {
    "default": Contestant("chunks, help, taking back, copies; 2 replicas"),
    "synchronous": Contestant("one chunk a worker, and nothing else", PLAIN),
    "speculation": Contestant(
        "Spark's rule: one chunk a worker, late ones copied", replace(PLAIN, speculation=True)
    ),
    "backup-1": Contestant("the slowest worker is not waited for", PLAIN, backups=1),
    "backup-2": Contestant("the two slowest workers are not waited for", PLAIN, backups=2),
    "balanced": Contestant(
        "one chunk a worker, sized by measured speed", replace(PLAIN, replace_gain=USUAL.replace_gain)
    ),
    "bounded-3": Contestant(
        "one chunk a worker; no shard is more than 3 updates behind",
        PLAIN,
        synchrony=Synchrony(SynchronyKind.BOUNDED, 3),
    ),
    "asynchronous": Contestant(
        "one chunk a worker; nobody waits", PLAIN, synchrony=Synchrony(SynchronyKind.ASYNCHRONOUS)
    ),
    "no-help": Contestant("default without help", replace(USUAL, help=False)),
    "no-copies": Contestant("default without copies", replace(USUAL, speculation=False)),
    "replicas-1": Contestant("default, a helper loads nothing", replace(USUAL, replicas=1)),
    "replicas-3": Contestant("default, a shard on 3 workers", replace(USUAL, replicas=3)),
    "replicas-all": Contestant("default, a shard on any worker", replace(USUAL, replicas=EVERYBODY)),
    "chunks-4": Contestant("default, 4 chunks a worker", replace(USUAL, max_chunks=4)),
    "chunks-8": Contestant("default, 8 chunks a worker", replace(USUAL, max_chunks=8)),
    "chunks-16": Contestant("default, 16 chunks a worker", replace(USUAL, max_chunks=16)),
    "chunks-32": Contestant("default, 32 chunks a worker", replace(USUAL, max_chunks=32)),
    "place-random": Contestant("default, placed by lot", placement="random"),
    "place-round-robin": Contestant("default, placed in turn", placement="round_robin"),
    "place-local": Contestant("default, placed where cached", placement="local"),
}


def chosen(names: Sequence[str]) -> dict[str, Contestant]:
    """Policies by name, in order; ``all`` = all of them. Raises InvalidInput for an unknown one."""
    found: dict[str, Contestant] = {}
    for name in names or MAIN:
        if name != "all" and name not in CONTESTANTS:
            raise InvalidInput.unknown_name("policy", name, [*CONTESTANTS, "all"])
        found |= CONTESTANTS if name == "all" else {name: CONTESTANTS[name]}
    return found
