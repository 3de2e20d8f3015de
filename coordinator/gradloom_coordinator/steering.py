"""What people may change of a live job, what it is in words, and what the scheduler hears of it. Pure.

Each field has one text that says what is in force, defaults written out: it is compared, told, and kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from gradloom.algorithms import build
from gradloom.algorithms.algorithm import stale_sums_harm
from gradloom.algorithms.registry import setting_texts, steerable
from gradloom.codecs import canonical_text
from gradloom.errors import InvalidInput, VersionMismatch
from gradloom.jobs import SteerableField
from gradloom.specs import JobSpec, ScheduledChange, check_scheduling
from gradloom.steered import PAUSED, ROLLBACK
from gradloom.synchrony import SynchronyKind, parse_synchrony
from gradloom.wire.keeping import spec_to_bytes
from gradloom_coordinator.compression.traffic import check_codecs
from gradloom_coordinator.durability.changes import CheckpointKept, Steered
from gradloom_coordinator.scheduling.events import JobChanged, JobId
from gradloom_coordinator.scheduling.policies import policy_named

STEERABLE: Mapping[str, Callable[[JobSpec], str]] = {
    "placement": lambda spec: policy_named(spec.placement),
    "synchrony": lambda spec: str(parse_synchrony(spec.synchrony)),
    "speculation": lambda spec: spec.speculation,
    "share_weight": lambda spec: str(spec.share_weight),
    "codec": lambda spec: canonical_text(spec.codec),
    "downlink": lambda spec: canonical_text(spec.downlink, "downlink", may_be_auto=False),
}
"""The fields of a specification that may change while its job lives, with how their text is read from it."""
SETTINGS = "settings."
"""Before the name of an algorithm's setting, of those that it calls steerable."""
MAX_SCHEDULE = 1000
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
    _check_paths(spec, paths)
    taken = _taken(spec, wanted, paths)
    check_scheduling(taken)
    found = differences(spec, taken)  # reading the settings checks them
    for one in found:
        if one.field == "synchrony":
            _check_switch(one)
    check_synchrony(taken)
    check_codecs(taken)
    return found


def _taken(spec: JobSpec, wanted: JobSpec, paths: Sequence[str]) -> JobSpec:
    names = [path.removeprefix(SETTINGS) for path in paths if path.startswith(SETTINGS)]
    for name in names:
        if name not in wanted.settings:
            raise InvalidInput("update_mask", f"it names {SETTINGS}{name}, which spec.settings does not hold")
    settings = {**spec.settings, **{name: wanted.settings[name] for name in names}}
    fields = {path: getattr(wanted, path) for path in paths if not path.startswith(SETTINGS)}
    return replace(spec, settings=dict(sorted(settings.items())), **fields)


def _texts(spec: JobSpec) -> dict[str, str]:
    """All that may change, as it is."""
    settings, allowed = setting_texts(spec.algorithm, spec.settings), steerable(spec.algorithm)
    texts = {name: text(spec) for name, text in STEERABLE.items()}
    return {**texts, **{SETTINGS + name: settings[name] for name in sorted(allowed)}}


def steerable_fields(spec: JobSpec) -> tuple[SteerableField, ...]:
    """What may change of a live job, with what is in force."""
    try:
        texts = _texts(spec)
    except InvalidInput:  # its algorithm came with a package that is not installed any more
        return ()
    return tuple(SteerableField(name, text) for name, text in texts.items())


def altered(spec: JobSpec, changes: Iterable[Alteration | Steered]) -> JobSpec:
    """The specification after these changes. Raises VersionMismatch for a field that only a later release knows."""
    for one in changes:
        match one.field:
            case "share_weight":
                spec = replace(spec, share_weight=_number(one.new))
            case known if known in STEERABLE:
                texts: dict[str, Any] = {known: one.new}
                spec = replace(spec, **texts)
            case setting if setting.startswith(SETTINGS):
                settings = {**spec.settings, setting.removeprefix(SETTINGS): one.new}
                spec = replace(spec, settings=dict(sorted(settings.items())))
            case name if name in (PAUSED, ROLLBACK):
                pass
            case unknown:
                raise VersionMismatch(f"this release can't change {unknown} of a live job")
    return spec


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput("share_weight", f"{text!r} is not allowed; it must be a number") from None


def as_alteration(change: ScheduledChange) -> Alteration:
    """The same, whatever it was before."""
    return Alteration(change.field, "", change.value)


def differences(before: JobSpec, after: JobSpec) -> tuple[Alteration, ...]:
    """What has become different of all that may change."""
    old, new = _texts(before), _texts(after)
    return tuple(Alteration(name, old[name], new[name]) for name in old if old[name] != new[name])


def check_schedule(spec: JobSpec) -> None:
    """Refuse a schedule that could not be kept, before any work is spent. Raises InvalidInput.

    What changes in one round changes at once, as in one update.
    """
    if len(spec.schedule) > MAX_SCHEDULE:
        raise InvalidInput(
            "schedule", f"{len(spec.schedule)} changes are not allowed; at most {MAX_SCHEDULE} are"
        )
    last = 1
    for round_, group in groupby(spec.schedule, key=lambda one: one.at_round):
        if round_ < last:
            raise InvalidInput(
                "schedule", f"round {round_} is not allowed after round {last}; they must rise, from 1"
            )
        last, changes = round_, tuple(group)
        wanted = altered(spec, [as_alteration(one) for one in changes if _is_known(one.field)])
        alterations(spec, wanted, [one.field for one in changes])
        spec = wanted


def _is_known(field: str) -> bool:
    return field in STEERABLE or field.startswith(SETTINGS)


def paused_because(records: Iterable[Steered]) -> str:
    """Why a person has paused the job; empty if it is to go on."""
    return next((one.new for one in reversed(tuple(records)) if one.field == PAUSED), "")


def undone(checkpoint: CheckpointKept, records: Iterable[Steered]) -> bool:
    """Whether the job was set back to an earlier round after this checkpoint was taken."""
    return any(
        one.field == ROLLBACK and checkpoint.created_at <= one.at and checkpoint.round > int(one.new)
        for one in records
    )


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
    synchrony, algorithm = parse_synchrony(spec.synchrony), build(spec.algorithm, spec.settings)
    if synchrony.exact:
        return
    if not algorithm.takes_part_sums:
        raise InvalidInput(
            "synchrony",
            f"{spec.synchrony} does not suit {spec.algorithm} with these settings: its steps need every row, "
            "as synchronous rounds give them; a solver like adam or gradient_descent can do without",
        )
    harm = stale_sums_harm(algorithm) if synchrony.kind is SynchronyKind.ASYNCHRONOUS else ""
    if harm:
        raise InvalidInput("synchrony", f"{spec.synchrony} does not suit {spec.algorithm}: {harm}")


def etag_of(spec: JobSpec) -> str:
    """Stands for the specification: the same one has the same tag, also after a restart."""
    return hashlib.sha256(spec_to_bytes(spec)).hexdigest()[:16]


def _check_paths(spec: JobSpec, paths: Sequence[str]) -> None:
    names = [*STEERABLE, *(SETTINGS + name for name in sorted(steerable(spec.algorithm)))]
    allowed = ", ".join(names)
    if not paths:
        raise InvalidInput("update_mask", f"it is empty; it must name one or more of: {allowed}")
    for path in paths:
        if path not in names:
            raise InvalidInput(
                "update_mask",
                f"{path!r} can't be changed on a live job of {spec.algorithm}; allowed: {allowed}",
            )


def _check_switch(switch: Alteration) -> None:
    kinds = [parse_synchrony(text).kind for text in (switch.old, switch.new)]
    if SynchronyKind.LOCAL in kinds:
        raise InvalidInput(
            "synchrony",
            f"a live job can't be switched from {switch.old} to {switch.new}: local:H is a setting of the "
            "algorithm, which stays as it was submitted; synchronous, backup:B, bounded:S and asynchronous "
            "can be switched between",
        )
