"""The file of tokens as a running coordinator sees it: what is wrong with it is said again and again."""

import threading
from pathlib import Path

import pytest

from gradloom import token_file, tokens
from gradloom.roles import Role
from gradloom_coordinator.access import watched_tokens
from gradloom_coordinator.access.watched_tokens import TELL_EVERY_S, WatchedTokens

from .conftest import CREATED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "tokens.json"
    _, token = tokens.new_token("ann", Role.VIEWER, CREATED, None)
    token_file.change(found, lambda book: book.with_one(token))
    return found


def put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


async def test_a_file_that_can_not_be_read_is_told_of_once_a_minute(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    watched = WatchedTokens(path, lambda: now[0])
    put(path, None)
    for seconds, told in ((0.0, 1), (1.0, 1), (TELL_EVERY_S - 2.0, 1), (1.0, 2), (1.0, 2)):
        now[0] += seconds
        assert not await watched.look()
        assert caplog.text.count("REVOKED ONES TOO") == told
    assert watched.book.tokens


async def test_a_file_that_does_not_answer_is_told_of_and_read_once_it_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mended, read, began = threading.Event(), token_file.read, []

    def hang(file: Path) -> tokens.TokenBook:
        began.append(file)
        mended.wait()
        return read(file)

    watched = WatchedTokens(path)
    monkeypatch.setattr(watched_tokens, "LOOK_LIMIT_S", 0.02)
    monkeypatch.setattr(token_file, "read", hang)
    put(path, tokens.to_json(tokens.TokenBook()))
    try:
        for _ in range(3):
            assert not await watched.look()
        assert caplog.text.count("no answer within 0.02 s") == 1
        assert len(began) == 1
    finally:
        mended.set()
    monkeypatch.setattr(watched_tokens, "LOOK_LIMIT_S", 20.0)
    assert await watched.look()
    assert not watched.book.tokens
