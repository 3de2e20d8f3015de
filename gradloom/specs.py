"""What a person asks for: a job and its data, checked before any work is spent."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gradloom.errors import InvalidInput
from gradloom.synchrony import SynchronyKind, parse_synchrony

MAX_HELD_OUT_FRACTION = 0.9
MAX_SHARDS = 1_000_000
MAX_SEED = 2**63 - 1
MAX_SHARE_WEIGHT = 1000.0


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
class ScheduledChange:
    """A change of a live job that is to take effect in a given round."""

    at_round: int
    """The first round of training, from 1, that it has a say in."""
    field: str
    """As people set it: ``synchrony``, ``settings.learning_rate``, ..."""
    value: str


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
    synchrony: str = ""
    """When a round is over; empty = synchronous."""
    share_weight: float = 1.0
    """Its share of the workers beside other jobs."""
    required_labels: Mapping[str, str] = field(default_factory=dict)
    """Only workers with all of these labels compute for it."""
    speculation: str = "on"
    """Copies of tasks that take too long: ``on`` or ``off``."""
    codec: str = ""
    """How gradients travel: none, float16, bfloat16, int8, topk:R, dgc:R, powersgd:N, signsgd or auto; empty = none."""
    downlink: str = ""
    """How changes of the parameters travel to workers: the same, but for dgc and auto; empty = none."""
    schedule: tuple[ScheduledChange, ...] = ()
    """What is to change by itself, in order: how a job that was steered is run again."""


def with_local_steps(spec: JobSpec) -> JobSpec:
    """``synchrony`` ``local:H`` as the setting that it stands for. Raises InvalidInput if both are given."""
    synchrony = parse_synchrony(spec.synchrony)
    if synchrony.kind is not SynchronyKind.LOCAL:
        return spec
    steps = str(synchrony.number)
    if spec.settings.get("local_steps", steps) != steps:
        raise InvalidInput(
            "synchrony",
            f"{spec.synchrony} and local_steps={spec.settings['local_steps']} contradict each other",
        )
    return replace(spec, settings=dict(sorted({**spec.settings, "local_steps": steps}.items())))


def setting_text(name: str, value: object) -> str:
    """A setting as the text that algorithms read: ``true``, ``none``, ``0.01``, ``adam``. Raises InvalidInput."""
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", None) == 0:  # a numpy scalar
        value = item()
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return value
        case int():
            return repr(int(value))
        case float() if math.isfinite(value):
            return repr(float(value))
    raise InvalidInput(name, f"{value!r} is not allowed; a finite number, a text, true, false or none is")


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
    check_scheduling(spec)


def check_scheduling(spec: JobSpec) -> None:
    """Refuse a wrong way to schedule the job: what may be changed while it lives. Raises InvalidInput."""
    from gradloom.codecs import (
        canonical_text,
    )  # not at the head: it needs numpy, which few of our commands do

    parse_synchrony(spec.synchrony)
    canonical_text(spec.codec)
    canonical_text(spec.downlink, "downlink", may_be_auto=False)
    if not 0.0 < spec.share_weight <= MAX_SHARE_WEIGHT:
        raise InvalidInput(
            "share_weight", f"{spec.share_weight} is not allowed; it must lie in (0, {MAX_SHARE_WEIGHT:g}]"
        )
    if spec.speculation not in ("on", "off"):
        raise InvalidInput("speculation", f"{spec.speculation!r} is not allowed; it must be on or off")
