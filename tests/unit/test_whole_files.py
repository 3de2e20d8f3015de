"""Files that appear whole or not at all."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.whole_files import PUBLIC, SECRET, whole_file, write_whole


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [SECRET, PUBLIC])
def test_a_file_has_the_permissions_that_were_asked_for_whatever_was_there(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.touch(0o640)
    write_whole(path, b"bytes", mode)
    assert (path.read_bytes(), mode_of(path)) == (b"bytes", mode)
    assert list(tmp_path.iterdir()) == [path]


def test_without_permissions_the_umask_has_its_say(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    asked.touch()
    write_whole(tmp_path / "file", [b"in ", b"pieces"], None)
    assert (tmp_path / "file").read_bytes() == b"in pieces"
    assert mode_of(tmp_path / "file") == mode_of(asked)


def test_whoever_looks_meanwhile_sees_the_old_file_and_after_an_error_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old", PUBLIC)

    def pieces() -> Iterator[bytes]:
        yield b"new"
        assert path.read_bytes() == b"old"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, pieces(), PUBLIC)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", ["file", "link", "dangling"])
def test_a_new_file_takes_only_a_name_that_is_free(tmp_path: Path, there: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), whole_file(tmp_path / there, SECRET, new=True) as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["dangling", "file", "link"]


def test_a_link_stays_one_and_so_does_one_that_leads_nowhere(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        write_whole(link, content, PUBLIC)
        assert (link.is_symlink(), target.read_bytes()) == (True, content)


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    write_whole(link, b"bytes", PUBLIC)
    assert (link.is_symlink(), link.read_bytes()) == (False, b"bytes")
