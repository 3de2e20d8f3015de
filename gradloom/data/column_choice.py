"""Which columns play which part: features, target and weight, checked against every file of the data set.

Names and kinds only: no I/O, no rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from gradloom.data.sources.cells import not_numeric
from gradloom.data.sources.source import Column, FileScan
from gradloom.errors import DataError, InvalidInput

NAMES_SHOWN = 12

Scans = Mapping[str, FileScan]
"""What was found in each file, by URI."""


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """The columns of a job. Features of a sparse format are a range until their number is known to be bearable."""

    named: tuple[str, ...]
    indices: range
    target: str | None
    weight: str | None

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return len(self.named) + len(self.indices)

    def features(self) -> tuple[str, ...]:
        """Their names in order."""
        return (*self.named, *map(str, self.indices))


def choose_columns(
    scans: Scans,
    features: tuple[str, ...],
    target: str | None,
    weight: str | None,
    *,
    target_optional: bool,
    unsupervised: bool = False,
) -> ColumnChoice:
    """Decide and check the columns of a data set of one or more files.

    ``target_optional``: a target that is absent is left out. ``unsupervised``: whatever target there is is no
    feature, and is not read.

    Raises DataError or InvalidInput naming the column or argument, and the nearest name that there is.
    """
    _check_alike(scans)
    chosen = _target(scans, target, optional=target_optional or (unsupervised and target is None))
    if weight is not None:
        _require(scans, "weight", weight)
        if weight == chosen:
            raise InvalidInput("weight", f"{weight!r} is the target already")
    read = None if unsupervised else chosen
    if features:
        _check_features(scans, features, target or chosen, weight)
        return ColumnChoice(features, range(0), read, weight)
    return _all_others(scans, {target, chosen, weight}, read, weight)


def _check_alike(scans: Scans) -> None:
    """Refuse files that do not fit together."""
    first_uri, first = next(iter(scans.items()))
    for uri, scan in scans.items():
        if _own_name(scan) != _own_name(first):
            raise DataError(
                uri, f"carries the target {_own_name(scan)}, and {first_uri} carries {_own_name(first)}"
            )
        if (scan.indices is None) != (first.indices is None):
            raise DataError(
                uri, f"is sparse text and {first_uri} is not, or the other way round; give them apart"
            )
        if scan.positional and first.positional and len(scan.columns) != len(first.columns):
            raise DataError(uri, f"has {len(scan.columns)} columns, and {first_uri} has {len(first.columns)}")


def _own_name(scan: FileScan) -> str | None:
    return None if scan.own_target is None else scan.own_target.name


def _target(scans: Scans, given: str | None, *, optional: bool) -> str | None:
    own = _own_name(next(iter(scans.values())))
    if own is not None:
        if given not in (None, own) and not optional:
            raise DataError("target", f"{given!r} can't be chosen: the files carry their own target, {own!r}")
        return own
    if given is None:
        if optional:
            return None
        raise InvalidInput("target", f"is required: the column to learn; {_columns_of(scans)}")
    if optional and any(scan.column(given) is None for scan in scans.values()):
        return None
    for uri, column in _found(scans, "target", given):
        if column.kind == "other":
            raise DataError(
                f"column {given!r}", f"is {column.type_name} in {uri}; a target must be numbers or text"
            )
    return given


def _require(scans: Scans, role: str, name: str) -> None:
    """Refuse a column that is missing somewhere or not numeric."""
    for uri, column in _found(scans, role, name):
        if column.kind != "numeric":
            raise not_numeric(name, column.type_name, uri)


def _found(scans: Scans, role: str, name: str) -> list[tuple[str, Column]]:
    found = []
    for uri, scan in scans.items():
        column = scan.column(name)
        if column is None:
            raise DataError(role, f"{name!r} is not a column of {uri}; {_columns_of({uri: scan}, near=name)}")
        found.append((uri, column))
    return found


def _columns_of(scans: Scans, near: str = "") -> str:
    """The columns of the first file in words, and the nearest to a name that is not among them."""
    scan = next(iter(scans.values()))
    if scan.indices is not None:
        return f"its columns are the indices {scan.indices.start} to {scan.indices.stop - 1}"
    names = list(scan.columns)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    close = get_close_matches(near, names, n=1, cutoff=0.5)
    hint = f". Did you mean {close[0]!r}?" if close else ""
    return f"its columns are {', '.join(names[:NAMES_SHOWN])}{more}{hint}"


def _check_features(scans: Scans, features: Sequence[str], target: str | None, weight: str | None) -> None:
    if len(set(features)) < len(features):
        twin = next(name for name in features if features.count(name) > 1)
        raise InvalidInput("features", f"{twin!r} is named more than once")
    for name in features:
        if name == target:
            raise InvalidInput("features", f"{name!r} is the target")
        if name == weight:
            raise InvalidInput("features", f"{name!r} is the weight")
        _require(scans, "features", name)


def _all_others(scans: Scans, taken: set[str | None], target: str | None, weight: str | None) -> ColumnChoice:
    """Every column of the first file that has no other part."""
    first = next(iter(scans.values()))
    if first.indices is not None:
        return ColumnChoice((), _all_indices(scans, weight), target, weight)
    names = tuple(name for name in first.columns if name not in taken)
    if not names:
        raise DataError("features", "there is no column beside target and weight")
    for name in names:
        _require(scans, "features", name)
    return ColumnChoice(names, range(0), target, weight)


def _all_indices(scans: Scans, weight: str | None) -> range:
    """Indices from 0 if a 0 occurs anywhere, else from 1, to the largest of all files."""
    ranges = [scan.indices for scan in scans.values() if scan.indices]
    if not ranges:
        raise DataError("features", "no row holds any feature")
    if weight is not None:
        raise InvalidInput("weight", "in a sparse format needs the features by name")
    return range(min(1, *(indices.start for indices in ranges)), max(indices.stop for indices in ranges))
