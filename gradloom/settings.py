"""Settings of the services. Only the ``__main__`` modules fill them from arguments and the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PORT = 50051
DRAIN_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """How one coordinator runs."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 = any free port."""
    metrics_port: int | None = None
    """Port of /metrics; 0 = any free port, None = no metrics."""
    data_dir: Path = Path("gradloom-data")
    max_workers: int = 1024
    max_queued_jobs: int = 1000
    max_ended_jobs: int = 200
    """Records that are kept; the oldest go first. Their model files stay, if the coordinator is ``durable``."""
    heartbeat_interval_s: float = 1.0
    suspect_after_s: float = 3.0
    lost_after_s: float = 5.0
    task_timeout_s: float = 600.0
    planning_timeout_s: float = 600.0
    store_url: str = ""
    """Where jobs are kept: ``sqlite:///FILE`` or ``postgresql://USER@HOST/DATABASE``; empty = a file in data_dir."""
    checkpoint_uri: str = ""
    """Folder of the checkpoints, as fsspec understands it; empty = one in data_dir."""
    checkpoint_every_s: float = 10.0
    checkpoint_every_rounds: int = 0
    """Whichever comes first; 0 = by time alone."""
    durable: bool = True
    """Whether jobs outlive the coordinator: without a database and checkpoints they end with it."""
    upload_uri: str = ""
    """Folder of the data sets that clients send, which all workers can read; empty = one in data_dir."""
    upload_limit_bytes: int = 16 * 1024**3
    """All uploads that are kept take no more together."""
    upload_keep_s: float = 3600.0
    """An upload that no job has used for so long goes."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How one worker runs."""

    coordinator: str = f"127.0.0.1:{DEFAULT_PORT}"
    name: str = "worker"
    """Wished name; the coordinator makes it unique."""
    node: str = ""
    """The machine that it shares with other workers; empty = this host's name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What jobs may ask for."""
    metrics_port: int | None = None
    cache_bytes: int = 1024**3
    """Memory for shards; the longest unused ones go first."""
    give_up_after_s: float = 300.0
    """Leave when the coordinator could not be reached for so long."""
    resume_for_s: float = 10.0
    """A session that broke off may be resumed for so long."""
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    """A worker that is told to leave finishes what it computes for so long."""
    allow_chaos: bool = False
    """Whether operators may have it do harm to itself."""
