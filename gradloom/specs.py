"""What a person asks for: a job and its data, checked before any work is spent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradloom.errors import InvalidInput

MAX_HELD_OUT_FRACTION = 0.9
MAX_SHARDS = 1_000_000
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Where the data is, and which column plays which part."""

    uris: tuple[str, ...]
    """Files, globs or folders, local or as fsspec understands them (s3://, gs://, ...)."""
    target: str = ""
    """Empty only for formats that carry their own target (npz, svmlight)."""
    features: tuple[str, ...] = ()
    """Empty = every column but target and weight."""
    weight: str = ""
    format: str = ""
    """parquet, csv, npy, npz or svmlight; empty = by the file name."""
    shards: int = 0
    """0 = chosen from the size of the data, never from the number of workers."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One training job."""

    algorithm: str
    data: DataSpec
    settings: Mapping[str, str] = field(default_factory=dict)
    test_fraction: float = 0.0
    """Share of the rows held out of training, by a seeded hash of their position."""
    seed: int = 0
    placement: str = ""
    """Placement policy; empty = the coordinator's default."""


def check_spec(spec: JobSpec) -> None:
    """Refuse what is wrong whatever the algorithm and the data. Raises InvalidInput."""
    if not spec.data.uris or not all(spec.data.uris):
        raise InvalidInput("data", "at least one file, glob or folder is needed")
    if not 0.0 <= spec.test_fraction <= MAX_HELD_OUT_FRACTION:
        raise InvalidInput(
            "test_fraction",
            f"{spec.test_fraction} is not allowed; it must lie in [0, {MAX_HELD_OUT_FRACTION}]",
        )
    if not 0 <= spec.seed <= MAX_SEED:
        raise InvalidInput("seed", f"{spec.seed} is not allowed; it must lie in [0, {MAX_SEED}]")
    if not 0 <= spec.data.shards <= MAX_SHARDS:
        raise InvalidInput("shards", f"{spec.data.shards} is not allowed; it must lie in [0, {MAX_SHARDS}]")
