"""One contract for every format: shards laid end to end are the file, wherever the cuts fall."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from sklearn.datasets import dump_svmlight_file, load_breast_cancer

from builders.shards import read_shard
from gradloom.data.manifest import Manifest
from gradloom.data.planning import build_manifest
from gradloom.data.reading import iterate_raw
from gradloom.data.shard import RawShard

Matrix = NDArray[np.float64]
Write = Callable[[Path, Matrix, Matrix], Path]


def table_of(X: Matrix, y: Matrix) -> pa.Table:
    return pa.table({**{str(j): X[:, j] for j in range(X.shape[1])}, "label": y})


def write_parquet(folder: Path, X: Matrix, y: Matrix) -> Path:
    pa.parquet.write_table(table_of(X, y), folder / "d.parquet", row_group_size=100)
    return folder / "d.parquet"


def write_csv(folder: Path, X: Matrix, y: Matrix) -> Path:
    pa.csv.write_csv(table_of(X, y), folder / "d.csv")
    return folder / "d.csv"


def write_npy(folder: Path, X: Matrix, y: Matrix) -> Path:
    np.save(folder / "d.npy", np.column_stack([X, y]))
    return folder / "d.npy"


def write_columnwise_npy(folder: Path, X: Matrix, y: Matrix) -> Path:
    np.save(folder / "d.npy", np.asfortranarray(np.column_stack([X, y])))
    return folder / "d.npy"


def write_npz(folder: Path, X: Matrix, y: Matrix) -> Path:
    np.savez(folder / "d.npz", X=X, y=y)
    return folder / "d.npz"


def write_deflated_npz(folder: Path, X: Matrix, y: Matrix) -> Path:
    np.savez_compressed(folder / "d.npz", data=np.asfortranarray(X), target=y)
    return folder / "d.npz"


def write_svmlight(folder: Path, X: Matrix, y: Matrix) -> Path:
    dump_svmlight_file(X, y, str(folder / "d.svm"), zero_based=True)
    return folder / "d.svm"


FORMATS: list[tuple[Write, str | None]] = [
    (write_parquet, "label"),
    (write_csv, "label"),
    (write_npy, "30"),
    (write_columnwise_npy, "30"),
    (write_npz, None),
    (write_deflated_npz, None),
    (write_svmlight, None),
]


@pytest.fixture(params=FORMATS, ids=lambda case: case[0].__name__.removeprefix("write_"))
def case(request: pytest.FixtureRequest) -> tuple[Write, str | None]:
    return request.param  # type: ignore[no-any-return]


def whole(manifest: Manifest) -> tuple[Matrix, Any, Any]:
    shards = list(iterate_raw(manifest))
    check_order(shards)
    first = shards[0]
    return (
        np.concatenate([shard.X for shard in shards]),
        None if first.y is None else np.concatenate([shard.y for shard in shards if shard.y is not None]),
        None
        if first.weight is None
        else np.concatenate([shard.weight for shard in shards if shard.weight is not None]),
    )


def check_order(shards: list[RawShard]) -> None:
    starts = [0, *itertools.accumulate(len(shard.X) for shard in shards)]
    assert [shard.first_row for shard in shards] == starts[:-1]
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.X.flags.c_contiguous and shard.X.dtype == np.float64 for shard in shards)


@pytest.mark.parametrize("n_shards", [1, 2, 7, 569])
def test_shards_laid_end_to_end_are_the_file(
    tmp_path: Path, case: tuple[Write, str | None], n_shards: int
) -> None:
    write, target = case
    X, y = load_breast_cancer(return_X_y=True)
    path = write(tmp_path, X, y.astype(np.float64))
    manifest = build_manifest([str(path)], target=target, n_shards=n_shards)
    assert {len(range(s.first_row, s.first_row + s.rows)) for s in manifest.shards} <= {
        569 // n_shards,
        569 // n_shards + 1,
    }
    read_X, read_y, _ = whole(manifest)
    np.testing.assert_array_equal(read_X, X)
    np.testing.assert_array_equal(read_y, y)


def test_features_come_in_the_order_asked_for_and_weight_beside_them(
    tmp_path: Path, case: tuple[Write, str | None]
) -> None:
    write, target = case
    X, y = load_breast_cancer(return_X_y=True)
    path = write(tmp_path, X, y.astype(np.float64))
    manifest = build_manifest([str(path)], features=["7", "2", "29"], weight="4", target=target, n_shards=3)
    read_X, read_y, weight = whole(manifest)
    np.testing.assert_array_equal(read_X, X[:, [7, 2, 29]])
    np.testing.assert_array_equal(weight, X[:, 4])
    np.testing.assert_array_equal(read_y, y)


def test_several_files_are_one_data_set_and_shards_span_them(
    tmp_path: Path, case: tuple[Write, str | None]
) -> None:
    write, target = case
    X, y = load_breast_cancer(return_X_y=True)
    paths = []
    for i, rows in enumerate(np.array_split(np.arange(569), 4)):
        folder = tmp_path / str(i)
        folder.mkdir()
        paths.append(str(write(folder, X[rows], y[rows].astype(np.float64))))
    manifest = build_manifest(paths, target=target, n_shards=3)
    assert max(len(shard.pieces) for shard in manifest.shards) > 1
    read_X, read_y, _ = whole(manifest)
    np.testing.assert_array_equal(read_X, X)
    np.testing.assert_array_equal(read_y, y)


def test_a_shard_read_alone_is_the_shard_read_in_turn(tmp_path: Path, case: tuple[Write, str | None]) -> None:
    write, target = case
    X, y = load_breast_cancer(return_X_y=True)
    manifest = build_manifest([str(write(tmp_path, X, y.astype(np.float64)))], target=target, n_shards=5)
    in_turn = list(iterate_raw(manifest))
    for index in (4, 0, 2):
        np.testing.assert_array_equal(read_shard(manifest, index).X, in_turn[index].X)


def test_without_a_target_there_is_none_to_predict_from(tmp_path: Path) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    path = write_parquet(tmp_path, X, y.astype(np.float64))
    manifest = build_manifest([str(path)], features=["0", "1"], target="absent", target_optional=True)
    assert manifest.columns.target is None
    assert read_shard(manifest, 0).y is None
    known = build_manifest([str(path)], features=["0", "1"], target="label", target_optional=True)
    np.testing.assert_array_equal(read_shard(known, 0).y, y)
