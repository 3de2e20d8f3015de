"""svmlight: sparse text made dense, with features named by the index that the file writes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_svmlight_file

from gradloom.data.planning import build_manifest
from gradloom.data.reading import iterate_raw, read_shard
from gradloom.data.sources.svmlight import SvmlightSource
from gradloom.errors import DataError, InvalidInput

ONE_BASED = "+1 1:0.5 3:2 # a comment\n\n  # only a comment\n-1 2:1\n   \n+1\n-1 qid:7 3:-4"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_one_based_rows_are_what_scikit_learn_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "d.svm", ONE_BASED)
    expected, labels = load_svmlight_file(path)
    manifest = build_manifest([path])
    assert manifest.columns.features == ("1", "2", "3")
    raw = read_shard(manifest, 0)
    np.testing.assert_array_equal(raw.X, expected.toarray())
    np.testing.assert_array_equal(raw.y, labels)


def test_blank_and_comment_lines_are_no_rows_wherever_the_cuts_fall(tmp_path: Path) -> None:
    manifest = build_manifest([write(tmp_path / "d.svm", ONE_BASED)], n_shards=4)
    shards = list(iterate_raw(manifest))
    assert [shard.X.tolist() for shard in shards] == [[[0.5, 0, 2]], [[0, 1, 0]], [[0, 0, 0]], [[0, 0, -4]]]


def test_lines_may_straddle_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gradloom.data.sources.svmlight.blocks", lambda file, start: iter(lambda: file.read(3), b"")
    )
    scan = SvmlightSource().scan(write(tmp_path / "d.svm", ONE_BASED))
    assert scan.rows == 4
    assert scan.row_index is not None
    assert [ONE_BASED[start] for start in scan.row_index.offsets] == ["+", "-", "+", "-"]
    assert scan.indices == range(1, 4)


def test_an_index_0_in_any_file_makes_all_of_them_zero_based(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.svm", "1 2:5\n"), write(tmp_path / "b.svm", "0 0:1 1:1\n")
    manifest = build_manifest([a, b])
    assert manifest.columns.features == ("0", "1", "2")
    assert read_shard(manifest, 0).X.tolist() == [[0, 0, 5], [1, 1, 0]]


def test_a_named_feature_that_never_occurs_is_0_and_others_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "new.svm", "1 2:5 900:1\n")
    manifest = build_manifest([path], features=["1", "2", "30"], target_optional=True)
    assert read_shard(manifest, 0).X.tolist() == [[0, 5, 0]]


def test_a_dense_shard_beyond_2_gib_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = write(tmp_path / "d.svm", "1 2000000000:1\n-1 1:1\n")
    with pytest.raises(DataError, match=r"2000000000 features is 29\.8 GiB as a dense matrix; at most 2 GiB"):
        build_manifest([path])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 5:1 2:1\n", "can't be read as svmlight: .*sorted"),
        ("a 1:1\n", "can't be read as svmlight: could not convert"),
        ("1 -1:1\n", "can't be read as svmlight: Invalid index"),
        ("1 99999999999:1\n", "can't be read as svmlight: value too large"),
        ("1\n-1\n", "no row holds any feature"),
        ("# nothing\n", "hold no row"),
    ],
)
def test_text_that_can_not_be_learnt_from_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        build_manifest([write(tmp_path / "d.svm", text)])


@pytest.mark.parametrize("name", ["age", "-1", "01", "1.5", "12345678901"])
def test_a_feature_is_named_by_its_index(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"is not a column of .*its columns are the indices 1 to 3"):
        build_manifest([write(tmp_path / "d.svm", ONE_BASED)], features=[name])


def test_without_scikit_learn_the_format_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InvalidInput, match=r"svmlight needs scikit-learn: pip install 'gradloom\[sklearn\]'"):
        build_manifest([write(tmp_path / "d.svm", ONE_BASED)])


def test_importing_the_sources_does_not_import_scikit_learn() -> None:
    program = "import gradloom.data.planning, sys; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
