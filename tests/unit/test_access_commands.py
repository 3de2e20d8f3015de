"""The commands about tokens, in this process."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from gradloom import token_file
from gradloom.callers import AuditEntry
from gradloom.cli import main
from gradloom.cli.refusals import exit_status
from gradloom.cli.views import audit_table
from gradloom.errors import NotAllowed, Unauthenticated
from gradloom.wire.access import audit_from_proto, audit_to_proto


@pytest.fixture
def token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``token("list")``: the status, stdout and stderr of a command on one file."""

    def run(*words: object) -> tuple[int, str, str]:
        status = main(["token", *map(str, words), "--file", str(tmp_path / "tokens.json")])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_token_is_shown_once_and_kept_as_its_hash(token, tmp_path: Path) -> None:
    status, out, err = token("create", "ann", "--role", "operator")
    assert status == 0
    text = out.strip()
    assert text.startswith("gradloom_")
    assert "ann is operator, until " in err
    assert text not in err
    assert text not in token("list")[1]
    found = token_file.read(tmp_path / "tokens.json").find(text)
    assert found is not None
    assert found.expires == found.created + 90 * 86_400


def test_a_token_can_go_straight_into_a_file_of_its_own(token, tmp_path: Path) -> None:
    out = tmp_path / "bob.token"
    status, said, err = token("create", "bob", "--role", "viewer", "--days", 0, "--out", out, "--json")
    assert status == 0, err
    values = json.loads(said)
    assert (values["name"], values["role"], values["expires"], "token" in values) == (
        "bob",
        "viewer",
        None,
        False,
    )
    text = out.read_text().strip()
    assert text not in said + err
    assert token_file.read(tmp_path / "tokens.json").find(text) is not None
    other = tmp_path / "other.token"
    assert token("create", "bob", "--role", "admin", "--out", other)[0] == 1
    assert not other.exists()


def test_tokens_are_listed_and_revoked_by_name_or_id(token) -> None:
    for name in ("ann", "ann", "bob"):
        assert token("create", name, "--role", "viewer")[0] == 0
    first, second, bob = json.loads(token("list", "--json")[1])
    assert [one["name"] for one in (first, second, bob)] == ["ann", "ann", "bob"]
    assert datetime.fromisoformat(first["created"]) <= datetime.fromisoformat(second["created"])
    assert first["expires"].endswith("+00:00")
    status, out, _ = token("revoke", second["id"])
    assert (status, out) == (0, f"revoked {second['id']} of ann (viewer)\n")
    assert token("revoke", "ann")[1] == f"revoked {first['id']} of ann (viewer)\n"
    assert "bob   viewer" in token("list")[1]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("create", "eve", "--role", "root"), 2, "role: 'root' is not known"),
        (("create", "e v e", "--role", "viewer"), 2, "name: 'e v e' is not allowed"),
        (("create", "eve", "--role", "viewer", "--days", "-1"), 2, "days: -1 is not allowed"),
        (("list",), 2, "No such file"),
        (("revoke", "eve"), 2, "No such file"),
    ],
)
def test_what_makes_no_sense_is_refused(token, words: tuple[str, ...], status: int, sentence: str) -> None:
    found, out, err = token(*words)
    assert (found, out) == (status, "")
    assert sentence in err


def test_the_audit_log_is_read_in_order_and_with_addresses_as_people_write_them() -> None:
    entry = AuditEntry(
        0.0, "ann", "admin", "both", "ipv6:%5B::1%5D:57498", "UpdateJob", "job-1", {}, "ok", ""
    )
    message = audit_to_proto(replace(entry, fields=dict.fromkeys("zyxcba", "1")))
    read = audit_from_proto(message)
    assert list(read.fields) == list("abcxyz")
    with io.StringIO() as text:
        Console(file=text, width=200).print(audit_table([read]))
        assert "[::1]:57498" in text.getvalue()
        assert "a=1 b=1 c=1 x=1" in text.getvalue()


def test_a_refusal_of_the_cluster_is_status_one() -> None:
    assert [exit_status(kind("no")) for kind in (Unauthenticated, NotAllowed)] == [1, 1]
