"""Parquet: types become float64, nulls become NaN, files may differ in numeric types."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.data.reading import iterate_raw
from gradloom.errors import DataError


def write(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return str(path)


def test_every_numeric_type_becomes_float64(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.parquet",
        i=pa.array([1, None, 3], pa.int8()),
        u=pa.array([1, 2**63, 3], pa.uint64()),
        h=pa.array(np.array([0.5, 1, 2], np.float16)),
        b=pa.array([True, False, None]),
        m=pa.array([Decimal("1.25"), Decimal("-2.50"), None]),
        n=pa.nulls(3),
        y=pa.array([1.5, None, 3.0]),
    )
    raw = read_shard(build_manifest([path], target="y"), 0)
    nan = np.nan
    expected = [[1, 1, 0.5, 1, 1.25, nan], [nan, 2.0**63, 1, 0, -2.5, nan], [3, 3, 2, nan, nan, nan]]
    np.testing.assert_array_equal(raw.X, expected)
    np.testing.assert_array_equal(raw.y, [1.5, nan, 3])


def test_a_whole_number_too_large_for_float64_is_rounded_as_every_float64_is(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", x=[2**53 + 1, 3], y=[0, 1])
    assert read_shard(build_manifest([path], target="y"), 0).X[0, 0] == 2.0**53


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["no", "yes", None]),
        pa.array(["no", "yes", None], pa.large_string()),
        pa.array(["no", "yes", None]).dictionary_encode(),
    ],
    ids=["string", "large_string", "dictionary"],
)
def test_a_text_target_is_text(tmp_path: Path, labels: pa.Array) -> None:
    raw = read_shard(build_manifest([write(tmp_path / "d.parquet", x=[1, 2, 3], y=labels)], target="y"), 0)
    assert raw.y is not None
    assert raw.y.tolist() == ["no", "yes", None]


def test_a_boolean_target_is_0_and_1(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", x=[1, 2], y=[True, False])
    np.testing.assert_array_equal(read_shard(build_manifest([path], target="y"), 0).y, [1.0, 0.0])


def test_files_may_differ_in_numeric_types_and_in_columns_that_are_not_needed(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=pa.array([1, 2, 3], pa.int32()), y=pa.array([0, 1, 0], pa.int32()))
    write(
        tmp_path / "b.parquet",
        more=["u", "v"],
        y=pa.array([1, 0], pa.int64()),
        x=pa.array([4, 5], pa.int64()),
    )
    manifest = build_manifest([str(tmp_path / "*.parquet")], target="y", n_shards=2)
    assert [len(shard.pieces) for shard in manifest.shards] == [1, 2]
    shards = list(iterate_raw(manifest))
    assert np.concatenate([shard.X[:, 0] for shard in shards]).tolist() == [1, 2, 3, 4, 5]


def test_numbers_in_one_file_and_text_in_another_are_text_in_a_shard_of_both(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", x=[1, 2, 3], y=[0, 1, None])
    b = write(tmp_path / "b.parquet", x=[1], y=["0"])
    y = read_shard(build_manifest([a, b], target="y"), 0).y
    assert y is not None
    assert y.tolist() == ["0", "1", None, "0"]


@pytest.mark.parametrize(
    ("column", "type_name"),
    [
        (pa.array(["a", "b"]), "string"),
        (pa.array(["a", "b"]).dictionary_encode(), "dictionary"),
        (pa.array([datetime(2020, 1, 1)] * 2), r"timestamp\[us\]"),  # noqa: DTZ001  a file without time zones
        (pa.array([[1], [2]]), "list"),
    ],
    ids=["string", "dictionary", "timestamp", "list"],
)
def test_a_feature_that_is_no_number_is_refused(tmp_path: Path, column: pa.Array, type_name: str) -> None:
    path = write(tmp_path / "d.parquet", x=[1, 2], when=column, y=[0, 1])
    with pytest.raises(
        DataError, match=f"column 'when': is {type_name}.*leave it out with --features, or encode it"
    ):
        build_manifest([path], target="y")
    assert build_manifest([path], target="y", features=["x"]).columns.features == ("x",)


def test_a_target_that_is_neither_number_nor_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", x=[1], y=[datetime(2020, 1, 1)])  # noqa: DTZ001
    with pytest.raises(DataError, match=r"column 'y': is timestamp.*a target must be numbers or text"):
        build_manifest([path], target="y")


def test_a_column_that_one_file_lacks_is_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", x=[1], height=[1], y=[1])
    b = write(tmp_path / "b.parquet", x=[1], hight=[1], y=[1])
    with pytest.raises(
        DataError, match=r"features: 'height' is not a column of .*b\.parquet.*mean 'hight'\?"
    ):
        build_manifest([a, b], target="y")


def test_bytes_that_are_not_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="can't be read as Parquet"):
        build_manifest([str(tmp_path / "d.parquet")], target="y")
