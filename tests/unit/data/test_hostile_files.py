"""Files that promise more than they hold: refused by their headers, before memory is asked for."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders.shards import read_shard
from gradloom.data.planning import build_manifest
from gradloom.errors import DataError, InvalidInput

LIMIT_BYTES = 16 << 20


def npy(
    header: str, data: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None
) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    said = struct.pack("<H" if version == (1, 0) else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + said + text + data


def described(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def refused(path: Path, data: bytes) -> str:
    """How a file is refused, in little memory."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as refusal:
            read_shard(build_manifest([str(path)], unsupervised=True), 0)
        assert tracemalloc.get_traced_memory()[1] < LIMIT_BYTES
    finally:
        tracemalloc.stop()
    return refusal.value.message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (npy(described("(1152921504606846976, 2)")), "promises"),
        (npy(described("(4294967296, 4294967296)")), "promises"),  # 2^64 elements: int64 makes 0 of it
        (npy(described("(-1, 3)")), "of shape"),
        (npy(described("(1, 1)", "'<U0'")), "of shape"),
        (npy(described("(0, 1152921504606846976)")), "at most 1048576 may be"),
        (npy(described("(1, 1)", "'<U400000'")), "of shape"),
        (npy(described("(1, 1)"), version=(2, 0), length=2**31), "a header of 2147483648 bytes is none"),
        (npy(described("(1, 1)"), version=(0, 0)), "format version"),
        (npy("(" * 100), "can't be read as a numpy array"),
        (npy("{[]: 1}"), "can't be read as a numpy array"),
        (npy("__import__('os')"), "can't be read as a numpy array"),
        (b"\x93NUMPY", "can't be read as a numpy array"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # numpy warns of headers that Python 2 might have written
def test_an_array_whose_header_lies(tmp_path: Path, data: bytes, why: str) -> None:
    assert why in refused(tmp_path / "d.npy", data)


def archive(**members: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **members)  # type: ignore[arg-type]
    return file.getvalue()


CSR = {
    "data": np.ones(2),
    "indices": np.array([0, 1]),
    "indptr": np.array([0, 1, 2]),
    "shape": np.array([2, 2]),
    "format": np.array(b"csr"),
}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"indices": np.array([0, 2**60])}, "indices do not fit"),
        ({"indices": np.array([0, -1])}, "indices do not fit"),
        ({"indptr": np.array([0, 2**60, 2])}, "does not rise"),
        ({"indptr": np.array([0, 1, 2**60])}, "elements, and not"),
        ({"indptr": np.array([2**63, 2**63, 2**63 + 2], np.uint64)}, "elements, and not"),
        ({"shape": np.array([2, 2**60])}, "at most 1048576 columns"),
        ({"shape": np.array([2])}, "its format or shape is none"),
        ({"shape": np.array([2.0, 2.0])}, "its format or shape is none"),
        ({"format": np.array(b"\xff\xff")}, "of format"),
        ({"format": np.array(["csr", "csr"])}, "its format or shape is none"),
        ({"shape": np.array([{}, {}])}, "Python objects, which are never read"),
    ],
)
def test_a_sparse_matrix_that_lies(tmp_path: Path, changed: dict[str, object], why: str) -> None:
    assert why in refused(tmp_path / "d.npz", archive(**{**CSR, **changed}))


def zipped(content: bytes, method: int, claims: int | None = None) -> bytes:
    """An archive with X; ``claims``: how long it says that X is."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        out.writestr("X.npy", content)
    data = bytearray(file.getvalue())
    if claims is not None:
        at = data.rindex(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<I", claims)
    return bytes(data)


def test_an_archive_that_says_what_deflate_can_not_do(tmp_path: Path) -> None:
    promise = npy(described("(60000000, 8)"))
    said = refused(tmp_path / "d.npz", zipped(promise, zipfile.ZIP_DEFLATED, claims=2**32 - 2))
    assert "can't be 4294967294 bytes, deflated to" in said
    said = refused(tmp_path / "d.npz", zipped(promise, zipfile.ZIP_STORED, claims=2**32 - 2))
    assert "promises" in said
    assert "neither stored nor deflated" in refused(tmp_path / "d.npz", zipped(promise, zipfile.ZIP_LZMA))


def test_an_archive_whose_names_are_no_text(tmp_path: Path) -> None:
    whole = bytearray(archive(X=np.ones((2, 2)), ü=np.ones(1)))
    at = whole.rindex("ü".encode())
    whole[at : at + 2] = b"\xc3\xc3"
    assert "can't be read as NPZ" in refused(tmp_path / "d.npz", bytes(whole))


def test_a_member_that_begins_before_its_archive(tmp_path: Path) -> None:
    whole = archive(X=np.ones((2, 2)))
    cut = whole[20:]  # zipfile takes all offsets to be 20 too large, and those of members become negative
    assert "begins before the archive" in refused(tmp_path / "d.npz", cut)


@pytest.mark.parametrize(
    "codes",
    [[0x110000], [0xFFFFFFFF], [0xD800], "big", b"\xff"],
    ids=["beyond", "huge", "half", "big", "bytes"],
)
def test_texts_that_are_none(tmp_path: Path, codes: object) -> None:
    match codes:
        case list():
            names = np.array(codes, dtype="<u4").view("<U1")
        case "big":
            names = np.array([0x41], dtype="<u4").view(">U1")
        case _:
            names = np.array([codes])
    assert "holds bytes that are no text" in refused(
        tmp_path / "d.npz", archive(X=np.ones((1, 1)), feature_names=names)
    )


def test_names_of_columns_that_are_no_names(tmp_path: Path) -> None:
    with_names = zipped(npy(described("(1, 1)"), bytes(8)), zipfile.ZIP_STORED)
    (tmp_path / "d.npz").write_bytes(with_names)
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as out:
        out.writestr("feature_names.npy", npy(described("(1,)", "'<U200000'"), bytes(800_000)))
        out.writestr("y", b"no array at all")
    with pytest.raises(DataError):
        read_shard(build_manifest([str(tmp_path / "d.npz")], features=["a"], unsupervised=True), 0)


def test_a_damaged_footer_of_parquet_is_no_trouble_of_the_storage(tmp_path: Path) -> None:
    """Arrow raises an OSError for it, which elsewhere means: try again."""
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0]}), path)
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<I", data[-8:-4])
    for at in range(len(data) - 8 - length, len(data) - 8, 9):
        damaged = bytes(data[:at] + b"\xff" + data[at + 1 :])
        path.write_bytes(damaged)
        try:
            read_shard(build_manifest([str(path)], unsupervised=True), 0)
        except DataError:
            continue
