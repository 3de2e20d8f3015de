"""What people may change of a live job, what it is in words, and what the scheduler hears of it. Pure.

Each field has one text that says what is in force, defaults written out: it is compared, told, and kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gradloom.algorithms import build
from gradloom.errors import InvalidInput, VersionMismatch
from gradloom.specs import JobSpec, check_scheduling
from gradloom.synchrony import SynchronyKind, parse_synchrony
from gradloom.wire.keeping import spec_to_bytes
from gradloom_coordinator.changes import Steered
from gradloom_coordinator.events import JobChanged, JobId
from gradloom_coordinator.policies import policy_named

STEERABLE: Mapping[str, Callable[[JobSpec], str]] = {
    "placement": lambda spec: policy_named(spec.placement),
    "synchrony": lambda spec: str(parse_synchrony(spec.synchrony)),
    "speculation": lambda spec: spec.speculation,
    "share_weight": lambda spec: str(spec.share_weight),
}
"""The fields of a specification that may change while its job lives, with how their text is read from it."""
WITHIN_A_ROUND = frozenset({"speculation", "share_weight"})
"""Those that no round is prepared by: they count at once."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """One field that changes."""

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        since = "now" if self.field in WITHIN_A_ROUND else "the next round"
        return f"{self.field}: {self.old} -> {self.new}, from {since} on"


def alterations(spec: JobSpec, wanted: JobSpec, paths: Sequence[str]) -> tuple[Alteration, ...]:
    """What becomes different when the paths are taken from ``wanted``. Raises InvalidInput."""
    _check_paths(paths)
    taken = replace(spec, **{path: getattr(wanted, path) for path in paths})
    check_scheduling(taken)
    found = tuple(
        Alteration(name, text(spec), text(taken))
        for name, text in STEERABLE.items()
        if text(spec) != text(taken)
    )
    for one in found:
        if one.field == "synchrony":
            _check_switch(one)
    check_synchrony(taken)
    return found


def altered(spec: JobSpec, changes: Iterable[Alteration | Steered]) -> JobSpec:
    """The specification after these changes. Raises VersionMismatch for a field that only a later release knows."""
    for one in changes:
        match one.field:
            case "placement":
                spec = replace(spec, placement=one.new)
            case "synchrony":
                spec = replace(spec, synchrony=one.new)
            case "speculation":
                spec = replace(spec, speculation=one.new)
            case "share_weight":
                spec = replace(spec, share_weight=float(one.new))
            case unknown:
                raise VersionMismatch(f"this release can't change {unknown} of a live job")
    return spec


def changed(job: JobId, spec: JobSpec, changes: Sequence[Alteration]) -> JobChanged:
    """What the scheduler hears; ``spec`` as it is after the changes."""
    fields = {one.field for one in changes}
    return JobChanged(
        job,
        placement=spec.placement if "placement" in fields else None,
        synchrony=parse_synchrony(spec.synchrony) if "synchrony" in fields else None,
        speculation=spec.speculation == "on" if "speculation" in fields else None,
        share_weight=spec.share_weight if "share_weight" in fields else None,
    )


def check_synchrony(spec: JobSpec) -> None:
    """Refuse a synchrony under which the algorithm's steps would be wrong. Raises InvalidInput."""
    if parse_synchrony(spec.synchrony).exact or build(spec.algorithm, spec.settings).takes_part_sums:
        return
    raise InvalidInput(
        "synchrony",
        f"{spec.synchrony} does not suit {spec.algorithm} with these settings: its steps need every row, "
        "as synchronous rounds give them; an optimizer like adam or momentum can do without",
    )


def etag_of(spec: JobSpec) -> str:
    """Stands for the specification: the same one has the same tag, also after a restart."""
    return hashlib.sha256(spec_to_bytes(spec)).hexdigest()[:16]


def _check_paths(paths: Sequence[str]) -> None:
    allowed = ", ".join(STEERABLE)
    if not paths:
        raise InvalidInput("update_mask", f"it is empty; it must name one or more of: {allowed}")
    for path in paths:
        if path not in STEERABLE:
            raise InvalidInput("update_mask", f"{path!r} can't be changed on a live job; allowed: {allowed}")


def _check_switch(switch: Alteration) -> None:
    kinds = [parse_synchrony(text).kind for text in (switch.old, switch.new)]
    if SynchronyKind.LOCAL in kinds:
        raise InvalidInput(
            "synchrony",
            f"a live job can't be switched from {switch.old} to {switch.new}: local:H is a setting of the "
            "algorithm, which stays as it was submitted; synchronous, backup:B, bounded:S and asynchronous "
            "can be switched between",
        )
