"""NPY and NPZ: dtypes, names of members, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.errors import DataError, InvalidInput


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i4", "<i8", "<f2", ">f4", "<f8", "longdouble"])
def test_every_numeric_dtype_becomes_float64(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "d.npy", np.array([[1, 0], [0, 1], [1, 1]], dtype))
    raw = read_shard(build_manifest([str(tmp_path / "d.npy")], target="1", n_shards=2), 1)
    assert raw.X.tolist() == [[0.0], [1.0]]
    assert raw.y is not None
    assert raw.y.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("x_name", "y_name"), [("X", "y"), ("x", "target"), ("data", "labels"), ("features", "y")]
)
def test_npz_members_may_have_the_usual_names(tmp_path: Path, x_name: str, y_name: str) -> None:
    arrays: dict[str, Any] = {x_name: np.eye(3), y_name: np.arange(3)}
    np.savez(tmp_path / "d.npz", **arrays)
    manifest = build_manifest([str(tmp_path / "d.npz")])
    assert manifest.columns.target == y_name
    assert manifest.columns.features == ("0", "1", "2")
    np.testing.assert_array_equal(read_shard(manifest, 0).y, [0, 1, 2])


@pytest.mark.parametrize(
    "labels", [np.array(["é", "no"]), np.array(["é".encode(), b"no"])], ids=["str", "bytes"]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_labels_may_be_text(tmp_path: Path, labels: Any, save: Any) -> None:
    save(tmp_path / "d.npz", X=np.eye(2), y=labels)
    y = read_shard(build_manifest([str(tmp_path / "d.npz")]), 0).y
    assert y is not None
    assert y.tolist() == ["é", "no"]


def test_npz_without_a_target_takes_a_column_of_x(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.array([[1, 2], [3, 4]]))
    raw = read_shard(build_manifest([str(tmp_path / "d.npz")], target="0"), 0)
    assert raw.X.tolist() == [[2], [4]]
    assert raw.y is not None
    assert raw.y.tolist() == [1, 3]


def test_a_target_of_its_own_can_not_be_exchanged(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=np.eye(2), y=np.arange(2))
    with pytest.raises(DataError, match="target: '0' can't be chosen: the files carry their own target, 'y'"):
        build_manifest([str(tmp_path / "d.npz")], target="0")


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"Z": np.eye(2)}, "holds no array named X, x, data, features; it holds Z"),
        (
            {"X": np.zeros(3), "y": np.zeros(3)},
            r"\[X\]: must be a 2-D array of numbers; it is 1-D of float64",
        ),
        ({"X": np.eye(2, dtype=complex), "y": np.zeros(2)}, "2-D of complex128"),
        ({"X": np.array([["a"]]), "y": np.zeros(1)}, "2-D array of numbers"),
        ({"X": np.eye(2), "y": np.zeros(3)}, r"\[y\]: must be a 1-D array of 2 numbers or texts"),
        (
            {"X": np.eye(2), "y": np.array([{}, {}])},
            r"\[y\]: must be a 1-D array of 2 numbers or texts.*object",
        ),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, "hold no row"),
        ({"X": np.zeros((2, 0)), "y": np.zeros(2)}, "no column beside target and weight"),
    ],
)
def test_npz_that_can_not_be_learnt_from_is_refused(
    tmp_path: Path, arrays: dict[str, Any], problem: str
) -> None:
    np.savez(tmp_path / "d.npz", allow_pickle=True, **arrays)
    with pytest.raises(DataError, match=problem):
        build_manifest([str(tmp_path / "d.npz")])


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    for name, problem in (("d.npy", "can't be read as a numpy array"), ("d.npz", "can't be read as NPZ")):
        (tmp_path / name).write_bytes(b"no array at all")
        with pytest.raises(DataError, match=problem):
            build_manifest([str(tmp_path / name)], target="0")


def test_an_array_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros((100, 3)))
    whole = (tmp_path / "d.npy").read_bytes()
    (tmp_path / "d.npy").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"is cut short: its header promises \(100, 3\) of float64"):
        build_manifest([str(tmp_path / "d.npy")], target="0")


def test_arrays_of_another_width_do_not_fit_together(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    np.save(tmp_path / "b.npy", np.zeros((4, 2)))
    with pytest.raises(DataError, match=r"has 2 columns, and .* has 3"):
        build_manifest([str(tmp_path / "*.npy")], target="0")


def test_a_required_target_says_which_columns_there_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    with pytest.raises(
        InvalidInput, match="target: is required: the column to learn; its columns are 0, 1, 2"
    ):
        build_manifest([str(tmp_path / "a.npy")])
