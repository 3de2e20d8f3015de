"""When the scheduler loses patience, and how finely it cuts the work. Numbers only; each says where it comes from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Every number that the scheduler decides by. The defaults were chosen in the policy laboratory."""

    # ---- liveness
    suspect_after_s: float = 3.0
    lost_after_s: float = 5.0
    resume_grace_s: float = 10.0
    """A worker whose stream broke may go on with its session for so long."""
    task_timeout_s: float = 600.0

    # ---- retries
    max_attempts: int = 4
    max_deaths: int = 3
    """A chunk on which so many workers were lost in one round is given to no other."""
    backoff_base_s: float = 0.1
    backoff_limit_s: float = 5.0

    # ---- jobs
    max_running_jobs: int = 2
    shared_chunk_s: float = 0.1
    """Longest chunk while jobs share the workers: so long one job's short rounds may wait for another's chunk."""
    max_credit_s: float = 10.0
    """Of work that a job may have had less than the others, and is given first."""

    # ---- placement
    speed_memory: float = 0.8
    """Weight of the past in the moving average of a worker's rows per second."""
    replace_gain: float = 1.25
    """Shards are placed anew when the slowest worker would take so many times the ideal round."""
    replace_every_rounds: int = 10
    """A gain is judged so often, and loading must pay within as many rounds."""
    replace_min_gain_s: float = 0.05
    replicas: int = 2
    """A helper loads a shard that it lacks as long as fewer workers than this hold it."""

    # ---- chunks
    max_chunks: int = 16
    """Of one worker's share of a round."""
    chunk_min_s: float = 0.02
    """A chunk takes no less, or handing it out would cost too much of it."""
    wire_bytes_per_s: float = 1e9
    """What a partial's way to the coordinator is reckoned with."""
    answer_s: float = 0.00015
    """What an answer costs the coordinator (benchmarks/round_trip.py)."""
    max_answer_share: float = 0.5
    """Of the coordinator's time: chunks are so long that the answers of all workers take no more."""
    max_send_share: float = 1 / 16
    """Of a chunk's time: chunks are so large that sending them takes no more."""
    lead_s: float = 0.01
    """Work in a worker's hands beside what it computes: so much, and what the way to it takes, that it never waits."""
    max_in_hand: int = 32
    """Tasks of one worker, however long it says that the way takes."""
    help: bool = True
    """Whether workers that are through take over what others have not started."""

    # ---- speculation (source: Spark's spark.speculation.* defaults)
    speculation: bool = True
    copy_after_share: float = 0.75
    """Of a round's shards that are counted before anything is copied."""
    copy_slower: float = 1.5
    """Times the median seconds per row of the round."""
    copy_min_s: float = 0.1
    hung_slower: float = 5.0
    """Times the median, before that share is counted: few workers may hold the rest of a round."""
    hung_min_s: float = 1.0
    copy_slots: float = 0.1
    """Of the workers; at least one."""

    # ---- trust
    exclude_after: int = 3
    """Failures in a row."""
    exclude_s: float = 10.0
    """Doubles with every further exclusion."""
    exclude_limit_s: float = 300.0

    # ---- blame
    straggler_ratio: float = 1.5
    """Times the median seconds per row of the round."""
    straggler_min_s: float = 0.02
    """A worker that was this little behind in a round was not slow."""
    chronic_rounds: int = 5
    """Of the last ten: slow in so many is chronic, in fewer a one-off."""
