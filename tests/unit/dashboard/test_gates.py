"""Which requests a control room answers at all."""

import pytest

from gradloom.errors import InvalidInput
from gradloom_dashboard.gates import (
    Asked,
    check_openness,
    gates_of,
    login_path,
    needs_no_login,
    next_page,
    policy,
    refusal,
)

LOCAL = gates_of("127.0.0.1", ())
NAMED = gates_of("0.0.0.0", ("Room.Example.",))


def asked(method: str = "GET", host: str = "localhost:8080", origin: str = "", path: str = "/") -> Asked:
    return Asked(path, method, host, origin)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "localhost.:8080"]
)
def test_this_machine_is_known_by_its_names(host: str) -> None:
    assert refusal(LOCAL, asked(host=host)) is None


@pytest.mark.parametrize(
    "host", ["", "room.example", "10.0.0.7:8080", "localhost.example", "0.0.0.0", "evil@localhost"]
)
def test_other_names_are_refused_until_they_are_given(host: str) -> None:
    refused = refusal(LOCAL, asked(host=host))
    assert refused is not None
    assert refused.status == 400
    assert "--allowed-host" in refused.words


def test_a_given_name_and_the_address_that_is_listened_at_are_known() -> None:
    assert refusal(NAMED, asked(host="room.example:443")) is None
    assert refusal(NAMED, asked(host="0.0.0.0:8080")) is not None
    assert refusal(gates_of("10.0.0.7", ()), asked(host="10.0.0.7:8080")) is None


def test_probes_ask_by_whatever_name_but_change_nothing() -> None:
    assert refusal(LOCAL, asked(host="10.1.2.3:8080", path="/health")) is None
    assert refusal(LOCAL, asked("POST", host="10.1.2.3:8080", path="/health")) is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", ""])
def test_what_may_change_something_comes_from_a_page_of_ours(method: str) -> None:
    assert refusal(LOCAL, asked(method, origin="http://localhost:8080")) is None
    assert refusal(LOCAL, asked(method, origin="https://localhost:8080")) is None
    for origin in (
        "",
        "null",
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "https://evil.example",
        "ws://localhost:8080",
        "http://localhost:8080.evil.example",
    ):
        refused = refusal(LOCAL, asked(method, origin=origin))
        assert refused is not None, origin
        assert refused.status == 403


def test_a_named_host_may_stand_behind_a_proxy_with_a_port_of_its_own() -> None:
    behind = asked("POST", host="127.0.0.1:8080", origin="https://room.example")
    assert refusal(NAMED, behind) is None
    assert refusal(LOCAL, behind) is not None


@pytest.mark.parametrize("name", ["", "http://room", "room:80", "*.example", "a b", "a/b"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="allowed_host"):
        gates_of("127.0.0.1", (name,))


def test_beyond_this_machine_people_log_in() -> None:
    check_openness("127.0.0.1", login=False, insecure=False)
    check_openness("0.0.0.0", login=True, insecure=False)
    check_openness("0.0.0.0", login=False, insecure=True)
    with pytest.raises(
        InvalidInput, match=r"host: '0\.0\.0\.0' can be reached .* give --require-login, or --insecure"
    ):
        check_openness("0.0.0.0", login=False, insecure=False)


@pytest.mark.parametrize(
    "path", ["/", "/jobs/x", "/_nicegui_ws/socket.io/", "/_niceguix", "/login/x", "/new"]
)
def test_everything_but_the_login_and_public_files_needs_a_login(path: str) -> None:
    assert not needs_no_login(path)
    assert all(map(needs_no_login, ("/login", "/logout", "/health", "/_nicegui/3.18.0/static/nicegui.js")))


def test_after_the_login_one_is_where_one_wanted_to_be_but_never_elsewhere() -> None:
    assert login_path("/") == "/login"
    assert login_path("/jobs/a?b&c") == "/login?next=/jobs/a%3Fb%26c"
    assert next_page("/jobs/logistic-1") == "/jobs/logistic-1"
    for wanted in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "jobs",
        "",
        "/a\nb",
        "/logout",
    ):
        assert next_page(wanted) == "/", wanted


def test_the_policy_lets_only_our_scripts_run() -> None:
    with_scripts = policy("abc")
    assert "script-src 'self' 'nonce-abc' 'unsafe-eval'" in with_scripts
    assert "http:" not in with_scripts
    without = policy("abc", scripts=False)
    assert "script-src" not in without
    assert "unsafe" not in without
    assert without.startswith("default-src 'none'")
