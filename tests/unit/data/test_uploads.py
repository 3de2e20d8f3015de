"""Data from memory as a file: what is written is what workers read, and what can't be is refused."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.data.sources.opening import open_file
from gradloom.data.upload_names import ColumnNames, is_upload, upload_name
from gradloom.data.uploads import write_data
from gradloom.errors import DataUnreachable, InvalidInput

X = np.arange(12.0).reshape(4, 3)
NAMES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (X, ("0", "1", "2")),
        (X.astype(np.float32), ("0", "1", "2")),
        (np.asfortranarray(X), ("0", "1", "2")),
        (X.astype(np.int16), ("0", "1", "2")),
        (X.tolist(), ("0", "1", "2")),
        (sparse.csr_matrix(X), ("0", "1", "2")),
        (sparse.coo_array(X), ("0", "1", "2")),
        (pd.DataFrame(X, columns=list(NAMES)), NAMES),
    ],
    ids=["float64", "float32", "fortran", "int16", "lists", "csr", "coo", "frame"],
)
def test_rows_come_back_as_they_were(tmp_path: Path, rows: Any, names: tuple[str, ...]) -> None:
    path = tmp_path / "d.npz"
    with path.open("wb") as file:
        written = write_data(file, rows, ["u", "v", "u", "v"], pd.Series([1.0, 0.5, 2.0, 0.0]))
    assert written == ColumnNames("y", "sample_weight")
    manifest = build_manifest([str(path)], target=written.target, weight=written.weight)
    raw = read_shard(manifest, 0)
    assert manifest.columns.features == names
    np.testing.assert_array_equal(raw.X, X)
    assert raw.y is not None
    assert raw.weight is not None
    assert (raw.y.tolist(), raw.weight.tolist()) == (["u", "v", "u", "v"], [1.0, 0.5, 2.0, 0.0])


def test_features_that_are_called_like_the_target_keep_their_names(tmp_path: Path) -> None:
    path, names = tmp_path / "d.npz", ["y", "sample_weight", "target"]
    with path.open("wb") as file:
        written = write_data(file, X, [0, 1, 0, 1], np.ones(4), names)
    assert written == ColumnNames("labels", "weight")
    manifest = build_manifest([str(path)], weight=written.weight)
    assert manifest.columns.features == tuple(names)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"X": np.zeros(3)}, r"X: has the shape \(3,\)"),
        ({"X": [["a"]]}, "X: holds something that is no number"),
        ({"X": X, "y": [1, 2]}, r"y: has the shape \(2,\); X has 4 rows"),
        ({"X": X, "y": [1, "a", None, 2]}, "y: holds something that is no number"),
        ({"X": X, "sample_weight": np.ones((4, 2))}, r"sample_weight: has the shape \(4, 2\)"),
        ({"X": X, "feature_names": ["a", "b"]}, "feature_names: are 2 names, and X has 3 columns"),
        ({"X": X, "feature_names": ["a", "b", "a"]}, "feature_names: 'a' is there more than once"),
        ({"X": X, "y": [0] * 4, "feature_names": ["y", "target", "labels"]}, "one must be left for y"),
    ],
)
def test_what_can_not_be_written_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        write_data(BytesIO(), **arguments)


def test_a_worker_that_can_not_see_an_upload_says_what_to_do(tmp_path: Path) -> None:
    name = upload_name(1_700_000_000.5)
    assert is_upload(f"s3://bucket/uploads/{name}")
    assert not is_upload("s3://bucket/uploads/data.npz")
    told = r"no such file here: .* start that with --upload-uri"
    with pytest.raises(DataUnreachable, match=told), open_file(str(tmp_path / name)):
        pass
    with pytest.raises(DataUnreachable, match=r"no such file$"), open_file(str(tmp_path / "other.npz")):
        pass
