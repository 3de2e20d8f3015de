"""From URIs to a manifest: which files, which columns, which rows make which shard.

Files are looked at, never loaded. The manifest depends on the files and the arguments alone, never on workers.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.column_choice import choose_columns
from gradloom.data.manifest import Columns, DataFile, Manifest, Piece, ShardPlan
from gradloom.data.sources import EXTENSIONS, FileScan, Source, extension_of, source_for
from gradloom.data.sources.opening import check_path, filesystem
from gradloom.data.sources.stores import check_bucket, is_local, storage_errors
from gradloom.errors import DataError, InvalidInput

SHARD_BYTES = 32 << 20
"""A shard of float32 is no larger by default: it fits beside others in the memory of a small worker."""
MIN_SHARDS = 16
MIN_SHARD_ROWS = 1024
MAX_DENSE_BYTES = 2 << 30
SCANS_AT_ONCE = 8
_MARKS = "*?["


@dataclass(frozen=True, slots=True)
class _Scanned:
    uri: str
    source: Source
    scan: FileScan


def expand(uris: Sequence[str], allowed: DataAllowed = EVERYTHING) -> list[str]:
    """The files that are meant by files, globs and directories, each list sorted, in the order given.

    In a directory, whatever begins with "." or "_" is left out, and so are files of unknown extension beside files
    of known ones. Raises DataError naming the URI that means no file, or the file whose name is no text;
    DataNotAllowed for the first one that may not be read for others.
    """
    if not uris:
        raise InvalidInput("data", "names no file; give at least one file, glob or directory")
    files = [
        file for uri in ([uris] if isinstance(uris, str) else uris) for file in _expand_one(uri, allowed)
    ]
    for file in files:
        _check_name(file)
    return files


def _check_name(file: str) -> None:
    """A manifest goes to the workers as text."""
    name = file.encode("utf-8", "backslashreplace").decode()
    if name != file:
        raise DataError(name, "the file's name holds bytes that are no UTF-8; rename it")


def _expand_one(uri: str, allowed: DataAllowed) -> list[str]:
    fs, path = filesystem(uri, allowed)
    checked = allowed if is_local(fs) else EVERYTHING
    check_path(uri, _named_folder(path), checked)
    with storage_errors(uri, fs):
        return _matched(uri, fs, path, checked)


def _matched(uri: str, fs: Any, path: str, checked: DataAllowed) -> list[str]:
    kind = _kind(fs, path)
    if kind == "file":
        return [uri if "://" in uri else path]
    if kind == "directory":
        paths = _below(fs, path, checked)
    elif any(mark in path for mark in _MARKS):
        paths = []
        for match in fs.glob(path):
            check_path(match, match, checked)
            paths += [match] if fs.isfile(match) else _below(fs, match, checked)
    else:
        check_bucket(fs, path, uri)
        raise DataError(uri, "no such file or directory")
    if not paths:
        check_bucket(fs, path, uri)
        raise DataError(uri, "holds no data file" if kind else "matches no file")
    return sorted(fs.unstrip_protocol(path) if "://" in uri else path for path in paths)


def _kind(fs: Any, path: str) -> str:
    """``file``, ``directory``, or empty where neither is. Raises what the file system does.

    ``fs.isfile`` would take a storage that does not answer, or refuses, for one that has no such file.
    """
    if is_local(fs):
        return "file" if fs.isfile(path) else "directory" if fs.isdir(path) else ""
    try:
        return str(fs.info(path)["type"])
    except FileNotFoundError:
        return ""


def _named_folder(path: str) -> str:
    """What a glob names before its first mark; of a plain path all of it."""
    plain = path[: min((path.find(mark) for mark in _MARKS if mark in path), default=len(path))]
    return plain if plain == path else plain.rpartition("/")[0] or "/"


def _below(fs: Any, directory: str, allowed: DataAllowed) -> list[str]:
    if not allowed.everything:
        _check_links(directory, allowed)
    paths = [path for path in fs.find(directory) if not _is_hidden(path[len(directory) :])]
    return [path for path in paths if extension_of(path) in EXTENSIONS] or paths


def _check_links(directory: str, allowed: DataAllowed) -> None:
    """Refuse a folder with a link that leads out, before what it leads to is listed. Raises DataNotAllowed."""
    pending, seen = [directory], set[str]()
    while pending:
        folder = os.path.realpath(pending.pop())
        if folder in seen:
            continue
        seen.add(folder)
        for at, folders, files in os.walk(folder):
            links = [path for name in (*folders, *files) if Path(path := f"{at}/{name}").is_symlink()]
            for link in links:
                check_path(link, link, allowed)
            pending += links


def _is_hidden(path: str) -> bool:
    return any(name.startswith((".", "_")) for name in path.split("/"))


def build_manifest(
    uris: Sequence[str],
    *,
    format: str | None = None,  # noqa: A002  the word that people type
    features: Sequence[str] = (),
    target: str | None = None,
    weight: str | None = None,
    n_shards: int | None = None,
    target_optional: bool = False,
    unsupervised: bool = False,
    allowed: DataAllowed = EVERYTHING,
) -> Manifest:
    """Look at every file once and fix files, columns and shards.

    ``features`` empty means every column but target and weight. ``target`` may be left out where the format
    carries its own, or with ``target_optional`` (prediction), where a target that is absent is left out, or for
    what is ``unsupervised``, where no target is read and one that is named is no feature.
    ``allowed`` is what may be read for others. Raises InvalidInput or DataError naming the file, column or argument
    that is wrong.
    """
    scanned = _scan_all([(uri, source_for(uri, format)) for uri in expand(uris, allowed)], allowed)
    rows = sum(each.scan.rows for each in scanned)
    if not rows:
        raise DataError("data", f"{', '.join(each.uri for each in scanned)} hold no row")
    choice = choose_columns(
        {each.uri: each.scan for each in scanned},
        tuple(features),
        target,
        weight,
        target_optional=target_optional,
        unsupervised=unsupervised,
    )
    if n_shards is None:
        n_shards = default_shard_count(rows, choice.n_features)
    _check_shards(n_shards, rows, choice.n_features)
    return Manifest(
        files=tuple(_data_file(each) for each in scanned),
        columns=Columns(choice.features(), choice.target, choice.weight),
        shards=_cut([each.scan for each in scanned], rows, n_shards),
    )


def _scan_all(files: Sequence[tuple[str, Source]], allowed: DataAllowed) -> list[_Scanned]:
    with ThreadPoolExecutor(SCANS_AT_ONCE) as pool:
        return list(pool.map(lambda file: _Scanned(file[0], file[1], file[1].scan(file[0], allowed)), files))


def _data_file(each: _Scanned) -> DataFile:
    return DataFile(each.uri, each.source.format, each.scan.rows, each.scan.size_bytes, each.scan.fingerprint)


def default_shard_count(rows: int, n_features: int) -> int:
    """A power of two, so that 2, 4, 8 or 16 workers each hold whole nodes of the canonical tree.

    As many as keep a float32 shard within 32 MiB, and at least 16 once there are 16 x 1024 rows; but no shard of
    fewer than 1024 rows, unless it is the only one.
    """
    needed = -(-rows * n_features * 4 // SHARD_BYTES)
    wanted = max(_power_of_two_from(needed), MIN_SHARDS)
    return max(1, min(wanted, _power_of_two_within(rows // MIN_SHARD_ROWS)))


def _power_of_two_from(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _power_of_two_within(n: int) -> int:
    return 1 << (n.bit_length() - 1) if n else 0


def _check_shards(n_shards: int, rows: int, n_features: int) -> None:
    if not 1 <= n_shards <= rows:
        raise InvalidInput("shards", f"{n_shards} is not between 1 and the number of rows, {rows}")
    dense_bytes = -(-rows // n_shards) * n_features * 8
    if dense_bytes > MAX_DENSE_BYTES:
        raise DataError(
            "data",
            f"one of {n_shards} shards of {rows} rows x {n_features} features is {dense_bytes / 2**30:.1f} GiB as a "
            f"dense matrix; at most {MAX_DENSE_BYTES >> 30} GiB are allowed: ask for more shards or fewer features",
        )


def _cut(scans: Sequence[FileScan], rows: int, n_shards: int) -> tuple[ShardPlan, ...]:
    """Equal ranges of rows (they differ by one row at most) over the files in their order."""
    bounds = [rows * i // n_shards for i in range(n_shards + 1)]
    file_starts = [0, *accumulate(scan.rows for scan in scans)]
    plans, file = [], 0
    for index, (first, stop) in enumerate(pairwise(bounds)):
        pieces, row = [], first
        while row < stop:
            while file_starts[file + 1] <= row:
                file += 1
            until = min(stop, file_starts[file + 1])
            pieces.append(_piece(scans[file], file, row - file_starts[file], until - row))
            row = until
        plans.append(ShardPlan(index, first, stop - first, tuple(pieces)))
    return tuple(plans)


def _piece(scan: FileScan, file: int, row_start: int, rows: int) -> Piece:
    if scan.row_index is None:
        return Piece(file, row_start, rows)
    byte_start, byte_stop, skip_rows = scan.row_index.byte_range(row_start, rows)
    return Piece(file, row_start, rows, byte_start, byte_stop, skip_rows)
