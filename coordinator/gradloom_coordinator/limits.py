"""When the scheduler loses patience, and what follows from those numbers alone. Pure: values in, values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradloom_coordinator.events import WorkerId
from gradloom_coordinator.policies import Placement


@dataclass(frozen=True, slots=True)
class Limits:
    """When the scheduler loses patience."""

    suspect_after_s: float = 3.0
    lost_after_s: float = 5.0
    task_timeout_s: float = 600.0
    max_attempts: int = 4
    max_deaths: int = 3
    """A shard on which so many workers were lost in one round is given to no other."""
    backoff_base_s: float = 0.1
    backoff_limit_s: float = 5.0
    max_running_jobs: int = 4
    speed_memory: float = 0.8
    """Weight of the past in the moving average of a worker's rows per second."""
    replace_gain: float = 1.25
    """Shards are placed anew when the slowest worker would take so many times the ideal round."""
    replace_every_rounds: int = 10
    replace_min_gain_s: float = 0.05


def pays_to_replace(
    limits: Limits, placement: Placement, rows: Sequence[int], rows_per_second: Mapping[WorkerId, float]
) -> bool:
    """Whether measured speeds say that placing the shards anew would shorten the rounds by enough."""
    slowest_s = max(sum(rows[i] for i in part) / rows_per_second[w] for w, part in placement.shards.items())
    ideal_s = sum(rows) / sum(rows_per_second.values())
    return slowest_s - ideal_s > limits.replace_min_gain_s and slowest_s > limits.replace_gain * ideal_s
