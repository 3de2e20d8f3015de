"""NPZ beyond X and y: weights, names of columns, and sparse matrices by rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.errors import DataError

X = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -4.0, 3.0]])


def saved(folder: Path, **arrays: Any) -> str:
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return str(path)


def csr(matrix: Any, **more: Any) -> dict[str, Any]:
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
    return {**parts, "shape": matrix.shape, "format": matrix.format.encode(), **more}


def test_weights_of_the_file_are_used_where_they_are_named_and_are_no_feature(tmp_path: Path) -> None:
    path = saved(tmp_path, X=X, y=np.arange(4), sample_weight=[1, 2, 3, 4])
    plain, weighted = build_manifest([path]), build_manifest([path], weight="sample_weight")
    assert plain.columns.features == weighted.columns.features == ("0", "1", "2")
    assert read_shard(plain, 0).weight is None
    raw = read_shard(weighted, 0)
    assert raw.weight is not None
    assert raw.weight.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(raw.X, X)


def test_columns_have_the_names_that_the_file_gives_them(tmp_path: Path) -> None:
    path = saved(tmp_path, X=X, y=np.arange(4), feature_names=["a", "b", "c"])
    manifest = build_manifest([path], features=("c", "a"))
    np.testing.assert_array_equal(read_shard(manifest, 0).X, X[:, [2, 0]])
    target = build_manifest([saved(tmp_path, X=X, feature_names=["a", "b", "c"])], target="b", weight="c")
    raw = read_shard(target, 0)
    assert raw.y is not None
    assert raw.weight is not None
    assert (raw.X.ravel().tolist(), raw.y.tolist(), raw.weight.tolist()) == (
        X[:, 0].tolist(), X[:, 1].tolist(), X[:, 2].tolist(),
    )  # fmt: skip


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_sparse_rows_are_read_as_dense_ones(tmp_path: Path, kind: Any, index: Any) -> None:
    matrix = kind(X)
    matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(index)
    path = saved(tmp_path, **csr(matrix, y=np.array(["p", "q", "p", "q"]), weight=np.ones(4)))
    manifest = build_manifest([path], features=("2", "1"), weight="weight", n_shards=2)
    for i in range(2):
        raw = read_shard(manifest, i)
        np.testing.assert_array_equal(raw.X, X[2 * i : 2 * i + 2][:, [2, 1]])
        assert raw.y is not None
        assert raw.y.tolist() == ["p", "q"]


def test_what_scipy_saves_is_read(tmp_path: Path) -> None:
    sparse.save_npz(tmp_path / "s.npz", sparse.csr_matrix(X))
    raw = read_shard(build_manifest([str(tmp_path / "s.npz")], target="2"), 0)
    np.testing.assert_array_equal(raw.X, X[:, :2])


def test_entries_of_the_same_place_add_up(tmp_path: Path) -> None:
    twice = sparse.csr_matrix(
        (np.array([1.0, 2.0, 5.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2)
    )
    raw = read_shard(build_manifest([saved(tmp_path, **csr(twice, y=np.zeros(2)))]), 0)
    np.testing.assert_array_equal(raw.X, [[0, 3], [5, 0]])


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"X": X, "y": np.zeros(4), "weight": np.ones(3)}, r"\[weight\]: must be a 1-D array of 4 numbers"),
        ({"X": X, "y": np.zeros(4), "feature_names": ["a"]}, "must be a 1-D array of 3 texts, one a column"),
        ({"X": X, "y": np.zeros(4), "feature_names": ["a", "b", "a"]}, "more than one column named 'a'"),
        (csr(sparse.csc_matrix(X), y=np.zeros(4)), "a sparse matrix of format 'csc'; needed is csr"),
        ({**csr(sparse.csr_matrix(X)), "indptr": np.arange(3)}, "the shapes or types of its members do not fit"),
    ],
)  # fmt: skip
def test_members_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        build_manifest([saved(tmp_path, **arrays)])
