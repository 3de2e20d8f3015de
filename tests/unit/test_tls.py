"""Where plain text may be spoken, and what the three files of TLS are called."""

from pathlib import Path

import pytest

from gradloom.errors import InvalidInput
from gradloom.settings import Access, access_from_environment
from gradloom.tls import (
    TlsFiles,
    check_listening,
    check_target,
    host_and_port,
    hosts_of,
    is_loopback,
    join_host_port,
    reachable_from_here,
    tls_files,
)

FILES = TlsFiles(Path("/ca.pem"), Path("/me.pem"), Path("/me.key"))

HERE = [
    "127.0.0.1",
    "127.8.9.10",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ip6-localhost",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "0:0:0:0:0:0:0:1",
]
ELSEWHERE = [
    "0.0.0.0",
    "::",
    "",
    "10.0.0.7",
    "128.0.0.1",
    "192.168.1.1",
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
    "coordinator",
    "localhost.example.org",
    "127.0.0.1.example.org",
    "notlocalhost",
]


@pytest.mark.parametrize("host", HERE)
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)
    check_listening(host, None, insecure=False)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_these_are_reached_from_other_machines(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InvalidInput, match=r"host: .*--tls-ca.*gradloom certs init.*--insecure"):
        check_listening(host, None, insecure=False)
    check_listening(host, FILES, insecure=False)
    check_listening(host, None, insecure=True)


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "127.0.0.1:50051",
        "[::1]:50051",
        "dns:localhost:50051",
        "dns:///localhost:50051",
        "dns://10.0.0.1/localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
        "ipv6:[::1]:50051",
        "unix:/run/gradloom.sock",
        "unix:relative.sock",
        "unix:///run/gradloom.sock",
        "unix-abstract:name",
        "localhost:1,127.0.0.1:2",
        "localhost",
    ],
)
def test_plain_text_may_stay_on_this_machine(target: str) -> None:
    check_target("cluster", target, None, insecure=False)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("coordinator:50051", "coordinator"),
        ("10.0.0.7:50051", "10.0.0.7"),
        ("[2001:db8::1]:50051", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("0.0.0.0:50051", "0.0.0.0"),
        ("dns:///coordinator:50051", "coordinator"),
        ("dns://127.0.0.1/coordinator:50051", "coordinator"),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", "10.0.0.1"),
        ("localhost:1,standby:2", "standby"),
        ("xds:///localhost", "xds"),
        (":50051", ":50051"),
    ],
)
def test_plain_text_does_not_leave_this_machine_unless_somebody_says_so(target: str, named: str) -> None:
    with pytest.raises(InvalidInput, match="GRADLOOM_TLS_CA") as refused:
        check_target("cluster", target, None, insecure=False)
    assert refused.value.field == "cluster"
    assert refused.value.problem.startswith(f"{named} is another machine")
    check_target("cluster", target, FILES, insecure=False)
    check_target("cluster", target, None, insecure=True)


def test_hosts_and_ports_are_taken_apart_and_put_together() -> None:
    assert hosts_of("ipv6:[::1]:1,[2001:db8::1]:2") == ("::1", "2001:db8::1")
    assert host_and_port("[::1]:50051") == ("::1", "50051")
    assert host_and_port("::1") == ("::1", "")
    assert host_and_port("name") == ("name", "")
    assert join_host_port("::1", 5) == "[::1]:5"
    assert join_host_port("[::1]", 5) == "[::1]:5"
    assert join_host_port("name", 5) == "name:5"
    assert reachable_from_here("0.0.0.0:5") == "127.0.0.1:5"
    assert reachable_from_here("[::]:5") == "[::1]:5"
    assert reachable_from_here("name:5") == "name:5"


def test_all_three_files_or_none() -> None:
    assert tls_files(None, "", None) is None
    assert tls_files("/ca.pem", Path("/me.pem"), "/me.key") == FILES
    with pytest.raises(InvalidInput, match="all three") as refused:
        tls_files("/ca.pem", None, "/me.key")
    assert refused.value.field == "tls_cert"
    assert refused.value.problem.startswith(
        "--tls-cert (GRADLOOM_TLS_CERT) is missing beside --tls-ca (GRADLOOM_TLS_CA) and --tls-key"
    )


def test_a_folder_has_the_files_of_a_name() -> None:
    assert TlsFiles.of("/certs", "ann") == TlsFiles(
        Path("/certs/ca.pem"), Path("/certs/ann.pem"), Path("/certs/ann.key")
    )


def test_the_environment_says_how_a_client_gets_in(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("gl_abcdefghijklmnop\n")
    told = {
        "GRADLOOM_TLS_CA": "/ca.pem",
        "GRADLOOM_TLS_CERT": "/me.pem",
        "GRADLOOM_TLS_KEY": "/me.key",
        "GRADLOOM_TOKEN_FILE": str(secret),
    }
    assert access_from_environment(told) == Access(FILES, "gl_abcdefghijklmnop")
    assert access_from_environment(
        {"GRADLOOM_TOKEN": " gl_0123456789abcdef ", "GRADLOOM_INSECURE": "1"}
    ) == Access(None, "gl_0123456789abcdef", True)
    assert access_from_environment({}) == Access()
    assert "gl_abcdefghijklmnop" not in repr(access_from_environment(told))
    for wrong, field in (
        ({"GRADLOOM_INSECURE": "maybe"}, "GRADLOOM_INSECURE"),
        ({"GRADLOOM_TLS_CA": "/ca.pem"}, "tls_cert"),
        ({"GRADLOOM_TOKEN_FILE": str(tmp_path / "none")}, "token_file"),
    ):
        with pytest.raises(InvalidInput) as refused:
            access_from_environment(wrong)
        assert refused.value.field == field
