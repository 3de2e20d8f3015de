"""CSV: rows are found without parsing fields, and parsed piece by piece."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.data.reading import iterate_raw
from gradloom.data.sources.csv_rows import row_starts
from gradloom.data.sources.csv_text import CsvSource
from gradloom.errors import DataError


def starts_of(text: bytes, block_bytes: int = 1 << 20) -> list[int]:
    blocks = [text[i : i + block_bytes] for i in range(0, len(text), block_bytes)]
    return [int(start) for found in row_starts(blocks, 0, "f.csv") for start in found]


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        (b"", []),
        (b"a", [0]),
        (b"a\nb", [0, 2]),
        (b"a\nb\n", [0, 2]),
        (b"a\r\nb\r\n", [0, 3]),
        (b"a\n\n\nb\n\n", [0, 4]),
        (b"\r\n\r\na\r\n\r\n", [4]),
        (b'"a\nb",c\nd', [0, 8]),
        (b'"a""\n""b"\nd', [0, 10]),
        (b'"",""\n"\n"\n', [0, 6]),
        (b'"a\rb"\nc', [0, 6]),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 1000])
def test_rows_begin_after_newlines_outside_of_quotes(
    text: bytes, starts: list[int], block_bytes: int
) -> None:
    assert starts_of(text, block_bytes) == starts


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'5" nail\n6" nail\n', "stray quote at byte 1;"),
        (b'"a"b\n', "stray quote at byte 2;"),
        (b'a, "b"\n', "stray quote at byte 3;"),
        (b'a\n"b\n', "never closed"),
        (b"a\rb\n", "bare carriage return at byte 1;"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 4, 1000])
def test_text_that_parsers_disagree_on_is_refused(text: bytes, problem: str, block_bytes: int) -> None:
    with pytest.raises(DataError, match=problem):
        starts_of(text, block_bytes)


cells = st.text(alphabet=',"\n\r ab1.é', max_size=6)


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), cells, cells), min_size=7, max_size=40
    ),
    newline=st.sampled_from(["\n", "\r\n"]),
    last_newline=st.booleans(),
    blank_lines=st.integers(0, 2),
)
def test_seven_shards_are_what_a_reader_of_the_whole_file_sees(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, str, str]],
    newline: str,
    last_newline: bool,
    blank_lines: int,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([("x", "no,te", "label"), *((x, note, f"L{label}") for x, note, label in rows)])
    body = text.getvalue() + newline * blank_lines
    path = write(tmp_path_factory.mktemp("csv") / "d.csv", body if last_newline else body.rstrip("\r\n"))

    manifest = build_manifest([path], features=["x"], target="label", n_shards=7)
    shards = list(iterate_raw(manifest))

    assert np.concatenate([shard.X[:, 0] for shard in shards]).tolist() == [x for x, _, _ in rows]
    labels = [label for shard in shards if shard.y is not None for label in shard.y]
    assert labels == [f"L{label}" for _, _, label in rows]


def test_a_sparse_index_still_finds_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.data.sources.row_index.RowIndexBuilder.__init__.__defaults__", (10,))
    path = write(tmp_path / "d.csv", "x,y\n" + "".join(f"{i},{-i}\n" for i in range(1000)))
    index = CsvSource().scan(path).row_index
    assert index is not None
    assert index.stride == 128
    manifest = build_manifest([path], target="y", n_shards=13)
    assert max(piece.skip_rows for shard in manifest.shards for piece in shard.pieces) > 0
    assert np.concatenate([shard.X[:, 0] for shard in iterate_raw(manifest)]).tolist() == list(range(1000))


def test_missing_cells_are_nan_among_numbers_and_none_among_text(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", 'a,b,y\n1,NA,u\n,2,NaN\nnull,"",v\n')
    raw = read_shard(build_manifest([path], target="y"), 0)
    np.testing.assert_array_equal(raw.X, [[1, np.nan], [np.nan, 2], [np.nan, np.nan]])
    assert raw.y is not None
    assert raw.y.tolist() == ["u", None, "v"]


def test_a_target_is_numbers_where_every_cell_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "x,y\n1,01\n2,2.50\n3,\n4,-1e3\n")
    y = read_shard(build_manifest([path], target="y"), 0).y
    assert y is not None
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, [1, 2.5, np.nan, -1000])


def test_a_number_among_text_labels_is_the_same_label_wherever_the_cuts_fall(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "x,y\n1,01\n2,1\n3,1.0\n4,A\n")
    together = read_shard(build_manifest([path], target="y"), 0).y
    assert together is not None
    assert together.tolist() == ["1", "1", "1", "A"]
    apart = read_shard(build_manifest([path], target="y", n_shards=2), 0).y
    assert apart is not None
    assert apart.tolist() == [1.0, 1.0]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", '\ufeff"x",y\n1,2\n')
    assert build_manifest([path], target="y").columns.features == ("x",)


def test_a_row_may_be_longer_than_a_block(tmp_path: Path) -> None:
    note = "z" * (3 << 20)
    path = write(tmp_path / "d.csv", f'x,note,y\n1,"{note}\n",2\n3,,4\n')
    raw = read_shard(build_manifest([path], features=["x"], target="y"), 0)
    assert raw.X[:, 0].tolist() == [1, 3]


def test_a_cell_that_is_no_number_is_named_with_column_row_and_file(tmp_path: Path) -> None:
    many = "".join(f"{i},0\n" for i in range(200_000))  # beyond the sample that planning looks at
    path = write(tmp_path / "d.csv", f"x,y\n{many}oops,1\n5,0\n")
    manifest = build_manifest([path], target="y", n_shards=3)
    read_shard(manifest, 0)
    with pytest.raises(
        DataError, match=r"^column 'x': row 200000 of .*d\.csv \(counted from 0\) holds 'oops'"
    ):
        read_shard(manifest, 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty; a header line"),
        ("\n\n", "is empty; a header line"),
        ("a;b\n1;2\n", "seems to be separated by ';'"),
        ("a\tb\n1\t2\n", r"seems to be separated by '\\t'"),
        (",a,y\n0,1,2\n", "column 1 has no name"),
        ("a,a,y\n0,1,2\n", "more than one column named 'a'"),
        ("a,y\n0,1,2\n", "can't be read as CSV: .*Expected 2 columns, got 3"),
        (
            "a,y\nred,1\n",
            "column 'a': is text in .*not a number; leave it out with --features, or encode it first",
        ),
        ("a,y\n2020-01-31,1\n", "column 'a': is date32"),
        ("a,y\ntrue,1\n", "column 'a': is bool"),
        ("a,y\n", "hold no row"),
    ],
)
def test_a_file_that_can_not_be_learnt_from_is_refused_when_planning(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        build_manifest([write(tmp_path / "d.csv", text)], target="y")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(b"caf\xe9,y\n1,2\n")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        build_manifest([str(path)], target="y")
