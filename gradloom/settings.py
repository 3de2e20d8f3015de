"""Settings of the services. Only the ``__main__`` modules fill them from arguments and the environment."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 50051


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
    """Records that are kept; the oldest go first. Their model files stay."""
    heartbeat_interval_s: float = 1.0
    suspect_after_s: float = 3.0
    lost_after_s: float = 5.0
    task_timeout_s: float = 600.0
    planning_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How one worker runs."""

    coordinator: str = f"127.0.0.1:{DEFAULT_PORT}"
    name: str = "worker"
    """Wished name; the coordinator makes it unique."""
    metrics_port: int | None = None
    cache_bytes: int = 1024**3
    """Memory for shards; the longest unused ones go first."""
    give_up_after_s: float = 300.0
    """Leave when the coordinator could not be reached for so long."""
