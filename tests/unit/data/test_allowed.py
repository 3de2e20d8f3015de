import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradloom.data.allowed import EVERYTHING, DataAllowed, allowed, given_roots, parse_roots
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.planning import build_manifest, expand
from gradloom.data.reading import read_rows
from gradloom.data.sources import FORMATS, source_of
from gradloom.data.sources.opening import open_file
from gradloom.errors import DataError, DataNotAllowed, InvalidInput

UPLOAD = "gradloom-upload-1700000000-0123456789abcdef0123456789abcdef.npz"
DATA = allowed(("/data", "s3://bucket/prefix"), loopback=True)
HOSTILE = (
    "/etc/passwd",
    "etc/passwd",
    "~/.ssh/id_rsa",
    "~root/x",
    "/data/../etc/passwd",
    "/data/./../../etc/passwd",
    "/data/a/../../etc/*",
    "/data/*/../../etc/passwd",
    "/data/%2e%2e/etc/passwd",
    "/data/%252e%252e/etc/passwd",
    "/data\\..\\etc",
    "/database/x.csv",
    "/data-secret/x.csv",
    "//etc/passwd",
    "/*/passwd",
    "/dat?/x.csv",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "file:etc/passwd",
    "file://data/x.csv",
    "file://localhost/data/x.csv",
    "local:///etc/passwd",
    "FILE:///etc/passwd",
    " /etc/passwd",
    "/data/x.csv\n/etc/passwd",
    "/data/x\x00.csv",
    "simplecache::file:///etc/passwd",
    "filecache::/data/x.csv",
    "zip://x.csv::file:///etc/x.zip",
    "tar://x.csv::/data/x.tar",
    "dir::/etc",
    "/data/x::y",
    "http://169.254.169.254/latest/meta-data",
    "https://bucket/prefix/x.csv",
    "ftp://bucket/prefix/x.csv",
    "github://owner:repo@main/x.csv",
    "reference://prefix",
    "memory://prefix/x.csv",
    "data:text/csv;base64,YQ==",
    "s3://bucket/other/x.csv",
    "s3://bucket/prefixed/x.csv",
    "s3://bucket/prefix/../other/x.csv",
    "s3://bucket/prefix/%2E%2E/other/x.csv",
    "s3://other@bucket/prefix/x.csv",
    "s3://bucket@evil/prefix/x.csv",
    "s3a://bucket/prefix/x.csv",
    "s3://BUCKET/prefix/x.csv",
)


@pytest.mark.parametrize("uri", HOSTILE)
def test_what_lies_elsewhere_is_refused_by_its_name(uri: str) -> None:
    with pytest.raises(DataNotAllowed, match=r"allowed: /data, s3://bucket/prefix") as refused:
        DATA.check(uri)
    assert refused.value.field == uri


@pytest.mark.parametrize(
    "uri",
    [
        "/data/x.csv",
        "/data",
        "/data/",
        "//data/x.csv",
        "/data/./x.csv",
        "/data/deep/*.parquet",
        "/data/two..dots/x.csv",
        "file:///data/x.csv",
        "s3://bucket/prefix/x.csv",
        "s3://bucket/prefix/*/x.csv",
        "s3://bucket/prefix",
    ],
)
def test_what_lies_below_a_root_is_not(uri: str) -> None:
    DATA.check(uri)


def test_without_a_list_everything_may_be_read_on_loopback_and_uploads_alone_beyond() -> None:
    assert allowed(None, loopback=True) is EVERYTHING
    for uri in HOSTILE:
        EVERYTHING.check(uri)
    worker = allowed(None, loopback=False)
    worker.check(f"/anywhere/{UPLOAD}")
    worker.check(f"s3://any/{UPLOAD}")
    for uri in ("/data/x.csv", f"http://host/{UPLOAD}", f"/data/{UPLOAD}/x", "/data/gradloom-upload-1.npz"):
        with pytest.raises(DataNotAllowed, match="allowed: files that clients have sent"):
            worker.check(uri)
    coordinator = allowed(None, loopback=False, upload_folder="/state/uploads")
    coordinator.check(f"/state/uploads/{UPLOAD}")
    with pytest.raises(DataNotAllowed):
        coordinator.check(f"/elsewhere/{UPLOAD}")


def test_roots_are_read_from_text() -> None:
    assert given_roots(" ") is None
    assert given_roots("none") == ()
    given_texts = given_roots("/data/, s3://bucket/a/ ,file:///x,gs://")
    assert given_texts is not None
    assert [str(root) for root in parse_roots(given_texts)] == ["/data", "s3://bucket/a", "/x", "gs://"]
    allowed(("/",), loopback=True).check("/etc/passwd")


@pytest.mark.parametrize(
    "root", ["data", "~/data", "/data/..", "file://host/data", "zip::/data", "s3://a/%2e%2e/b"]
)
def test_a_root_that_means_nothing_or_anything_is_refused(root: str) -> None:
    with pytest.raises(InvalidInput, match="data_allow"):
        allowed((root,), loopback=True)


@given(st.text(alphabet=st.sampled_from("/.*%2e~:s3data\\ab\0@#?"), max_size=40))
@example("s3://bucket/prefix/..")
def test_nothing_that_passes_opens_outside_of_the_roots(uri: str) -> None:
    """fsspec may read a text in another way than we do; what counts is where it would open it."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    for text in (uri, f"/data/{uri}", f"file:///data/{uri}"):
        try:
            DATA.check(text)
        except DataNotAllowed:
            continue
        if text.startswith("s3://"):
            continue
        fs, path = fsspec.core.url_to_fs(text)
        assert isinstance(fs, LocalFileSystem)
        assert f"{os.path.normpath(path)}/".replace("//", "/").startswith("/data/")


# ---- links, on a real disk


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, DataAllowed]:
    """A folder that may be read, one that may not, and the rule."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "x.csv").write_text("a,b\n1,2\n")
    return inside, outside, allowed((str(inside),), loopback=True)


def test_a_link_that_leads_out_is_refused_wherever_it_stands(places: tuple[Path, Path, DataAllowed]) -> None:
    inside, outside, rule = places
    (inside / "link.csv").symlink_to(outside / "x.csv")
    (inside / "folder").symlink_to(outside)
    (inside / "dangling.csv").symlink_to(outside / "nothing.csv")
    for name in (
        "link.csv",
        "folder/x.csv",
        "folder",
        "folder/*.csv",
        "l*.csv",
        "dangling.csv",
        "",
    ):
        with pytest.raises(DataNotAllowed, match="leads out"):
            expand([f"{inside}/{name}"], rule)
        with pytest.raises(DataNotAllowed, match="leads out"):
            build_manifest([f"{inside}/{name}"], target="b", allowed=rule)
    with pytest.raises(DataError, match="matches no file"):  # a glob does not go through links
        expand([f"{inside}/f*/x.csv"], rule)
    assert expand([str(inside / "x.csv")], rule) == [str(inside / "x.csv")]


def test_whether_a_file_is_there_is_not_told_of_what_lies_outside(
    places: tuple[Path, Path, DataAllowed],
) -> None:
    inside, outside, rule = places
    (inside / "folder").symlink_to(outside)
    told = []
    for name in ("x.csv", "not-there.csv"):
        with pytest.raises(DataNotAllowed) as refused:
            expand([f"{inside}/folder/{name}"], rule)
        told.append(refused.value.problem)
    assert told[0] == told[1]


def test_links_among_what_may_be_read_are_followed_even_in_circles(
    places: tuple[Path, Path, DataAllowed],
) -> None:
    inside, outside, _ = places
    (inside / "link.csv").symlink_to(inside / "x.csv")
    (inside / "other").symlink_to(outside)
    (outside / "circle").symlink_to(inside)
    rule = allowed((str(inside), str(outside)), loopback=True)
    assert str(inside / "link.csv") in expand([f"{inside}/*.csv"], rule)
    assert str(inside / "x.csv") in expand([str(inside)], rule)
    with open_file(str(inside / "link.csv"), rule) as file:
        assert file.read(3) == b"a,b"


def test_a_root_may_itself_be_a_link(tmp_path: Path, places: tuple[Path, Path, DataAllowed]) -> None:
    inside, _, _ = places
    (tmp_path / "data").symlink_to(inside)
    rule = allowed((str(tmp_path / "data"),), loopback=True)
    with open_file(f"{tmp_path}/data/x.csv", rule) as file:
        assert file.read(1) == b"a"


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_asks_before_it_opens(
    format_: str, places: tuple[Path, Path, DataAllowed], tmp_path: Path
) -> None:
    inside, outside, rule = places
    (inside / "link").symlink_to(outside / "x.csv")
    file = DataFile(str(inside / "link"), format_, 1, 8, "")
    for source in (source_of(format_),):
        with pytest.raises(DataNotAllowed):
            source.scan(file.uri, rule)
        with pytest.raises(DataNotAllowed):
            source.read(file, Piece(0, 0, 1), Columns(("a",), None, None), rule)


def test_what_was_planned_is_asked_again_when_it_is_read(places: tuple[Path, Path, DataAllowed]) -> None:
    inside, outside, rule = places
    manifest = build_manifest([str(inside / "x.csv")], target="b", allowed=rule)
    read_rows(manifest.files, manifest.columns, manifest.shards[0], rule)
    (inside / "x.csv").unlink()
    (inside / "x.csv").symlink_to(outside / "x.csv")  # the same bytes: no fingerprint tells them apart
    with pytest.raises(DataNotAllowed):
        read_rows(manifest.files, manifest.columns, manifest.shards[0], rule)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's word is read from /proc")
@pytest.mark.parametrize("with_proc", [True, False])
def test_a_name_that_is_exchanged_while_it_is_opened_gains_nothing(
    places: tuple[Path, Path, DataAllowed], monkeypatch: pytest.MonkeyPatch, with_proc: bool
) -> None:
    inside, outside, rule = places
    path, really_open = inside / "x.csv", os.open

    def exchange_and_open(name: str, flags: int) -> int:
        path.unlink()
        path.symlink_to(outside / "x.csv")
        handle = really_open(name, flags)
        path.unlink()
        path.write_text("back again")
        return handle

    def no_proc(_: Path) -> Path:
        raise FileNotFoundError

    monkeypatch.setattr("gradloom.data.sources.opening.os.open", exchange_and_open)
    if not with_proc:
        monkeypatch.setattr("gradloom.data.sources.opening.Path.readlink", no_proc)
    with pytest.raises(DataNotAllowed), open_file(str(path), rule):
        pass


def device(_: Path) -> str:
    return "/dev/zero"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "x.csv")
    return str(folder / "x.csv")


@pytest.mark.parametrize("make", [device, pipe])
@pytest.mark.timeout(20)
def test_a_pipe_or_a_device_never_holds_anybody_up(make: Callable[[Path], str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no regular file"), open_file(make(tmp_path)):
        pass


def test_an_upload_is_known_by_its_real_name(tmp_path: Path) -> None:
    rule = allowed((), loopback=False)
    np.savez(tmp_path / UPLOAD, X=np.zeros((2, 1)), y=[0, 1])
    assert build_manifest([str(tmp_path / UPLOAD)], allowed=rule).rows == 2
    secret = tmp_path / "secret"
    secret.write_text("x")
    other = tmp_path / UPLOAD.replace("0", "1")
    other.symlink_to(secret)
    with pytest.raises(DataNotAllowed), open_file(str(other), rule):
        pass
