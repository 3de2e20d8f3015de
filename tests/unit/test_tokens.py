"""Tokens, and the file of them."""

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from gradloom import token_file, tokens
from gradloom.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from gradloom.roles import Role, role_named
from gradloom.settings import read_token
from gradloom.tokens import TokenBook
from gradloom.whole_files import alone

NOW = 1_700_000_000.0


def added(
    book: TokenBook, name: str = "ann", role: Role = Role.OPERATOR, days: float | None = 1
) -> TokenBook:
    return book.with_one(tokens.new_token(name, role, NOW, days)[1])


def test_a_token_is_long_random_and_kept_as_its_hash_alone(tmp_path: Path) -> None:
    text, token = tokens.new_token("ann", Role.OPERATOR, NOW, 30)
    assert text.startswith("gradloom_")
    assert len(text) >= len("gradloom_") + 43  # 32 bytes in base64
    assert text != tokens.new_token("ann", Role.OPERATOR, NOW, 30)[0]
    path = tmp_path / "tokens.json"
    token_file.change(path, lambda book: book.with_one(token))
    assert text not in path.read_text()
    assert text.removeprefix("gradloom_") not in path.read_text()
    book = token_file.read(path)
    assert book.find(text) == token
    assert book.find(text + "x") is None
    assert text not in repr(token)
    assert text not in repr(book)


def test_it_counts_up_to_its_end() -> None:
    _, token = tokens.new_token("ann", Role.VIEWER, NOW, 2)
    assert not token.expired(NOW + 2 * 86_400 - 1)
    assert token.expired(NOW + 2 * 86_400)
    assert not tokens.new_token("ann", Role.VIEWER, NOW, None)[1].expired(1e12)


def test_a_token_whose_hash_only_begins_like_another_is_not_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text, token = tokens.new_token("ann", Role.ADMIN, NOW, None)
    book = TokenBook([token])
    monkeypatch.setattr(tokens, "sha256_of", lambda _: token.sha256[:60] + "0000")
    assert book.find("something else") is None
    assert text


@pytest.mark.parametrize("name", ["", " ann", "a b", "ann\n", "é", "x" * 101, "../x", "-x", "a,b"])
def test_names_that_no_log_could_show_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^name: "):
        tokens.new_token(name, Role.VIEWER, NOW, 1)


@pytest.mark.parametrize("days", [-1.0, 1e9, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(days: float) -> None:
    with pytest.raises(InvalidInput, match=r"^days: "):
        tokens.new_token("ann", Role.VIEWER, NOW, days)


def test_a_role_that_is_none_is_refused_with_the_nearest() -> None:
    assert role_named(" Viewer ") is Role.VIEWER
    with pytest.raises(InvalidInput, match=r"role: 'oprator' is not known.*Did you mean 'operator'"):
        role_named("oprator")


def test_a_name_may_change_its_token_but_not_its_role() -> None:
    book = added(added(TokenBook()))
    assert len({token.id for token in book.tokens}) == 2
    with pytest.raises(AlreadyExists, match="'ann' has the role operator here"):
        added(book, role=Role.ADMIN)


def test_tokens_are_revoked_by_name_or_one_by_its_id() -> None:
    book = added(added(added(TokenBook())), "bob")
    first, second, bob = book.tokens
    assert book.without("ann").tokens == (bob,)
    assert book.without(second.id).tokens == (first, bob)
    with pytest.raises(NotFound, match="there is no token of 'eve'; known names: ann, bob"):
        book.without("eve")


GOOD = json.loads(tokens.to_json(added(TokenBook())))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is no file of tokens of version 1"),
        ('{"version": 2, "tokens": []}', "it is no file of tokens of version 1"),
        ('{"version": 1}', "its 'tokens' must be a list"),
        ('{"version": 1, "tokens": [7]}', "token 0: it is not an object"),
        ({"name": None}, "its 'name' is missing or not allowed"),
        ({"name": "a\nb"}, "its 'name' is missing or not allowed"),
        ({"role": "root"}, "role: 'root' is not known"),
        ({"sha256": "abc"}, "its 'sha256' must be 64 hexadecimal digits"),
        ({"sha256": "Z" * 64}, "its 'sha256' must be 64 hexadecimal digits"),
        ({"created": None}, "its 'created' is missing"),
        ({"expires": "tomorrow"}, "its 'expires' is no time"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(tmp_path: Path, document: object, words: str) -> None:
    if isinstance(document, dict):
        document = json.dumps({"version": 1, "tokens": [{**GOOD["tokens"][0], **document}]})
    path = tmp_path / "tokens.json"
    path.write_text(str(document))
    with pytest.raises(InvalidInput) as refused:
        token_file.read(path)
    assert words in str(refused.value)


def test_the_same_token_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"version": 1, "tokens": GOOD["tokens"] * 2}))
    with pytest.raises(InvalidInput, match="two of its tokens are the same"):
        token_file.read(path)


def test_a_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token_file.change(path, added)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()

    def broken(book: TokenBook) -> TokenBook:
        raise NotFound("no")

    with pytest.raises(NotFound):
        token_file.change(path, broken)
    assert path.read_text() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["tokens.json", "tokens.json.lock"]


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "tokens.json"
    link.symlink_to(tmp_path / "real" / "tokens.json")
    token_file.change(link, added)
    assert link.is_symlink()
    assert len(token_file.read(tmp_path / "real" / "tokens.json").tokens) == 1


@pytest.mark.parametrize("mode", [0o400, 0o640])
def test_who_could_read_the_file_can_still_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens.json"
    token_file.change(path, added)
    path.chmod(mode)
    token_file.change(path, lambda book: book.without("ann"))
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_the_file_stays_whose_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens.json"
    token_file.change(path, added)
    os.chown(path, 10001, 10002)
    path.chmod(0o640)
    token_file.change(path, lambda book: book.without("ann"))
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (10001, 10002, 0o640)
    assert not caplog.records


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_that_can_not_be_given_back_is_told_loudly_and_is_for_no_other_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "tokens.json"
    token_file.change(path, added)
    os.chown(path, 10001, 10002)
    path.chmod(0o640)
    monkeypatch.setattr(os, "fchown", forbidden)
    token_file.change(path, lambda book: book.without("ann"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "belonged to user 10001 and group 10002" in caplog.text
    assert "REVOKES NOTHING" in caplog.text


def test_a_broken_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("{")
    with pytest.raises(InvalidInput, match="it is not JSON"):
        token_file.change(path, added)
    assert path.read_text() == "{"


def test_a_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token_file.change(path, added)
    path.chmod(0o666)
    with pytest.raises(InvalidInput, match="everybody on this machine may write"):
        token_file.read(path)


@pytest.mark.parametrize("where", ["nowhere/tokens.json", "."])
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(InvalidInput, match=r"^tokens_file: "):
        token_file.read(tmp_path / where)
    with pytest.raises(InvalidInput, match=r"^tokens_file: "):
        token_file.change(tmp_path / where, added)


def _add_some(path: Path, who: int) -> None:
    for number in range(10):
        token_file.change(path, lambda book, n=number: added(book, f"writer{who}-{n}"))


def test_of_several_who_write_at_once_none_loses_what_another_wrote(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_some, args=(path, who)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(token_file.read(path).tokens) == 30


def test_whoever_holds_it_for_too_long_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradloom.whole_files.LOCK_LIMIT_S", 0.05)
    path = tmp_path / "tokens.json"
    with alone(path), pytest.raises(Conflict, match="another process has been changing"):
        token_file.change(path, added)


@pytest.mark.parametrize(
    "text", ["short", "has a space in it, so", "é" * 20, "x" * 513, "line\nbreak\nin the middle"]
)
def test_what_is_no_token_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        tokens.checked(text, "GRADLOOM_TOKEN")
    assert text not in str(refused.value)


def test_a_token_of_a_file_comes_without_the_line_break(tmp_path: Path) -> None:
    path = tmp_path / "token"
    text, _ = tokens.new_token("ann", Role.VIEWER, NOW, 1)
    path.write_text(f" {text}\n")
    assert read_token(path) == text
    path.write_text("\n")
    with pytest.raises(InvalidInput, match="is empty"):
        read_token(path)


def test_a_secret_is_kept_only_if_what_is_done_meanwhile_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(RuntimeError), token_file.secret_kept(path, "text"):
        raise RuntimeError
    assert not path.exists()
    with token_file.secret_kept(path, "text"):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="File exists"), token_file.secret_kept(path, "other"):
        pass
    assert path.read_text() == "text\n"
    assert list(tmp_path.iterdir()) == [path]
