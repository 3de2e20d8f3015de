"""svmlight: sparse text made dense, with features named by the index that the file writes."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.data.reading import iterate_raw
from gradloom.data.sources.svmlight import SvmlightSource
from gradloom.data.sources.svmlight_rows import parse_rows
from gradloom.errors import DataError

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
        ("1 2:1 2:1\n", "can't be read as svmlight: .*each once"),
        ("a 1:1\n", "can't be read as svmlight: 'a' is no number"),
        ("1 1.5:1\n", "can't be read as svmlight: '1.5' is no whole number"),
        ("1 1:+-1\n", "can't be read as svmlight: a number has two signs"),
        ("1 -1:1\n", r"can't be read as svmlight: the index -1 is not allowed; it must lie in \[0, "),
        ("1 99999999999:1\n", "can't be read as svmlight: the index 99999999999 is not allowed"),
        ("1 1:1 2\n", "can't be read as svmlight: a row is a label and then words of the form index:value"),
        ("1 1:\n", "can't be read as svmlight: a row is a label and then"),
        ("1 1:2:\n", "can't be read as svmlight: a ':' must stand between two numbers"),
        ("1 1:\u00bd\n", "can't be read as svmlight: a byte beyond ASCII"),
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


NUMBERS = st.sampled_from(
    ["1", "-1", "+1", "0", "2.5", ".5", "3.", "1e5", "1E-3", "1e+2", "nan", "-inf", "1e-400"]
)
WORDS = NUMBERS | st.floats(allow_nan=False).map(repr) | st.sampled_from(["", "a", "+-1", "0x1", "1.5.2"])
CELLS = st.lists(st.tuples(st.integers(-1, 25), WORDS), max_size=4)


@st.composite
def lines(draw: st.DrawFn) -> str:
    cells = draw(CELLS)
    if draw(st.integers(0, 9)):
        cells = sorted(dict(cells).items())
    query = draw(st.sampled_from(["", "", " qid:7"]))
    rest = draw(st.sampled_from(["", "", "", " # 1:\u00bd", "#", " 5", "::", " :1", "\r"]))
    return draw(WORDS) + query + "".join(f" {index}:{value}" for index, value in cells) + rest


@settings(max_examples=300)
@given(st.lists(lines() | st.sampled_from(["", " ", "# x"]), max_size=4).map("\n".join))
def test_rows_are_read_or_refused_as_scikit_learn_does(text: str) -> None:
    data = text.encode()
    try:
        expected, labels = load_svmlight_file(io.BytesIO(data), zero_based=True, dtype=np.float64)
    except ValueError:
        with pytest.raises(ValueError, match=re.compile(".", re.DOTALL)):
            parse_rows(data)
        return
    found = parse_rows(data)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.starts, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.values, expected.data)


def test_what_plans_and_reads_needs_neither_arrow_nor_scikit_learn_before_a_file_is_opened() -> None:
    program = (
        "import gradloom.data.planning, gradloom.data.reading, gradloom.steps, sys;"
        "assert not {'sklearn', 'scipy', 'pyarrow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
