"""Planning: which files are meant, which columns play which part, how many shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.shards import read_shard
from gradloom.data.planning import build_manifest, default_shard_count, expand
from gradloom.data.reading import iterate_raw
from gradloom.data.sources import source_for
from gradloom.errors import DataError, InvalidInput

CSV = "age,height,income,weight\n1,2,0,1\n3,4,1,1\n5,6,0,1\n"


def touch(path: Path, text: str = CSV) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/planning", recursive=True)


def test_globs_and_lists_keep_the_order_given_and_sort_within(tmp_path: Path) -> None:
    a, b, z = (touch(tmp_path / name) for name in ("a.csv", "b.csv", "first/z.csv"))
    assert expand([z, str(tmp_path / "*.csv")]) == [z, a, b]


def test_a_directory_means_its_data_files_and_nothing_hidden(tmp_path: Path) -> None:
    kept = [touch(tmp_path / "day=1" / "part-0.csv"), touch(tmp_path / "part-1.csv")]
    for name in ("_SUCCESS", ".part-1.csv.crc", "README.md", "_delta_log/0.csv"):
        touch(tmp_path / name)
    assert expand([str(tmp_path)]) == kept


def test_a_directory_of_files_without_extension_means_them_all(tmp_path: Path) -> None:
    kept = [touch(tmp_path / "part-0"), touch(tmp_path / "part-1")]
    assert expand([str(tmp_path)]) == kept
    assert build_manifest([str(tmp_path)], format="csv", target="income").rows == 6


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    odd = touch(tmp_path / "a[1].csv")
    assert expand([odd]) == [odd]


def test_relative_paths_become_absolute_so_that_every_process_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = touch(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path)
    assert expand(["a.csv"]) == expand(["*.csv"]) == [path]


def test_memory_uris_work_from_end_to_end(memory: Any) -> None:
    memory.pipe("/planning/a.csv", CSV.encode())
    memory.pipe("/planning/b.csv", CSV.encode())
    manifest = build_manifest(["memory://planning/*.csv"], target="income", n_shards=3)
    assert [file.uri for file in manifest.files] == ["memory:///planning/a.csv", "memory:///planning/b.csv"]
    assert np.concatenate([shard.X for shard in iterate_raw(manifest)]).shape == (6, 3)


def test_a_file_whose_name_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"caf\\udce9\.csv: the file's name holds bytes that are no UTF-8"):
        build_manifest([str(tmp_path)], target="income")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("absent.csv", "absent.csv: no such file or directory"),
        ("*.csv", "matches no file"),
        ("empty", "empty: holds no data file"),
        ("nosuch://x.csv", "nosuch://x.csv: can't be opened: .*nosuch"),
    ],
)
def test_a_uri_that_means_no_file_is_refused(tmp_path: Path, uri: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=problem):
        expand([uri if "://" in uri else str(tmp_path / uri)])


def test_no_uri_at_all_is_refused() -> None:
    with pytest.raises(InvalidInput, match="data: names no file"):
        expand([])


@pytest.mark.parametrize(
    ("uri", "format_", "problem"),
    [
        (
            "d.xlsx",
            None,
            r"format: can't be told from the name d.xlsx; known extensions: \.parquet, .*svmlight",
        ),
        ("d.csv", "cvs", "format: 'cvs' is not known; allowed: csv, .* Did you mean 'csv'?"),
        ("d.csv.gz", None, "data: d.csv.gz is compressed as a whole.*convert it to Parquet"),
        ("d.csv.zst", "csv", "convert it to Parquet"),
    ],
)
def test_a_format_that_is_not_known_is_refused(uri: str, format_: str | None, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        source_for(uri, format_)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("a.PARQUET", "parquet"),
        ("s3://b/a.pq", "parquet"),
        ("a.csv", "csv"),
        ("a.npy", "npy"),
        ("a.npz", "npz"),
    ]
    + [(f"a{extension}", "svmlight") for extension in (".svm", ".svmlight", ".libsvm")],
)
def test_the_extension_tells_the_format_and_a_name_overrides_it(uri: str, name: str) -> None:
    assert source_for(uri).format == name
    assert source_for(uri, "csv").format == "csv"


def test_features_are_all_columns_but_target_and_weight(tmp_path: Path) -> None:
    path = touch(tmp_path / "d.csv")
    manifest = build_manifest([path], target="income", weight="weight")
    assert manifest.columns.features == ("age", "height")
    assert read_shard(manifest, 0).weight is not None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "target: is required: the column to learn; its columns are age, height, income, weight"),
        ({"target": "incme"}, r"target: 'incme' is not a column of .*d\.csv.* Did you mean 'income'\?"),
        (
            {"target": "income", "weight": "wheight"},
            r"weight: 'wheight' is not a column.*Did you mean 'weight'\?",
        ),
        ({"target": "income", "features": ["ag"]}, r"features: 'ag' is not a column.*Did you mean 'age'\?"),
        ({"target": "income", "features": ["age", "income"]}, "features: 'income' is the target"),
        (
            {"target": "income", "features": ["weight"], "weight": "weight"},
            "features: 'weight' is the weight",
        ),
        ({"target": "income", "features": ["age", "age"]}, "features: 'age' is named more than once"),
        ({"target": "income", "weight": "income"}, "weight: 'income' is the target already"),
        ({"target": "income", "n_shards": 4}, "shards: 4 is not between 1 and the number of rows, 3"),
        ({"target": "income", "n_shards": 0}, "shards: 0 is not between 1"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_nearest_name(
    tmp_path: Path, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        build_manifest([touch(tmp_path / "d.csv")], **arguments)


def test_long_lists_of_columns_are_cut_in_messages(tmp_path: Path) -> None:
    path = touch(
        tmp_path / "d.csv", ",".join(f"c{i}" for i in range(100)) + "\n" + ",".join("1" * 100) + "\n"
    )
    with pytest.raises(DataError, match="c10, c11 and 88 more"):
        build_manifest([path], target="zzz")


def test_files_with_and_without_a_target_of_their_own_do_not_mix(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=np.arange(2))
    np.savez(tmp_path / "b.npz", X=np.eye(2))
    with pytest.raises(DataError, match=r"b\.npz: carries the target None, and .*a\.npz carries y"):
        build_manifest([str(tmp_path / "*.npz")])


def test_an_empty_file_among_others_adds_no_row(tmp_path: Path) -> None:
    paths = [
        touch(tmp_path / "a.csv"),
        touch(tmp_path / "b.csv", CSV.split("\n")[0]),
        touch(tmp_path / "c.csv"),
    ]
    manifest = build_manifest(paths, target="income", n_shards=2)
    assert [file.rows for file in manifest.files] == [3, 0, 3]
    assert {piece.file for shard in manifest.shards for piece in shard.pieces} == {0, 2}


@pytest.mark.parametrize(
    ("rows", "n_features", "shards"),
    [
        (1, 1, 1),
        (150, 4, 1),
        (2047, 4, 1),
        (2048, 4, 2),
        (8124, 112, 4),
        (16 * 1024, 4, 16),
        (60_000, 784, 16),
        (1_000_000, 784, 128),
        (100_000_000, 10, 128),
    ],
)
def test_the_default_number_of_shards(rows: int, n_features: int, shards: int) -> None:
    assert default_shard_count(rows, n_features) == shards


@given(rows=st.integers(1, 10**9), n_features=st.integers(1, 10**5))
def test_the_default_number_of_shards_keeps_its_limits(rows: int, n_features: int) -> None:
    shards = default_shard_count(rows, n_features)
    assert shards.bit_count() == 1
    assert shards == 1 or shards <= rows // 1024
    assert shards >= 16 or rows < 16 * 1024
    if shards * 2 <= rows // 1024:
        assert -(-rows // shards) * n_features * 4 <= (32 << 20) + 4 * n_features
