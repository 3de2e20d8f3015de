"""Several coordinators of one cluster: whoever finds one away or standing by goes on to the next."""

import pytest

from gradloom import connection
from gradloom.addresses import Rotation, addresses_of
from gradloom.client import Client
from gradloom.errors import InvalidInput, NotLeading, Unavailable
from gradloom.jobs import JobState, Note, StateChanged


@pytest.fixture
def nobody(unused_tcp_port: int) -> str:
    """Where nothing listens."""
    return f"localhost:{unused_tcp_port}"


def test_a_list_is_taken_apart_and_a_target_of_grpc_stays_whole() -> None:
    assert addresses_of("cluster", "a:1") == ("a:1",)
    assert addresses_of("cluster", "a:1, b:2,a:1") == ("a:1", "b:2")
    assert addresses_of("cluster", "[::1]:1,a:65535") == ("[::1]:1", "a:65535")
    assert addresses_of("cluster", "ipv4:10.0.0.1:1,10.0.0.2:1") == ("ipv4:10.0.0.1:1,10.0.0.2:1",)


@pytest.mark.parametrize(
    "given",
    [
        *("", "a:1,", ",a:1", "a:1,,b:2"),
        *("a", "a:1,b", ":1", "a:", "a:0", "a:65536", "a:999999", "a:x", "a:-1", "a:\u0663", "::1:5"),
        "https://a:1",
    ],
)
def test_what_is_no_host_with_a_port_is_refused_by_name(given: str) -> None:
    with pytest.raises(InvalidInput, match=r"cluster: .* is not allowed; it must be HOST:PORT, or several"):
        addresses_of("cluster", given)


def test_many_that_find_the_same_one_away_go_on_by_one() -> None:
    rotation = Rotation(("a", "b", "c"))
    for _ in range(3):
        rotation.move_on("a")
    assert rotation.current == "b"
    rotation.move_on("b")
    rotation.move_on("c")
    assert rotation.current == "a"


def test_a_client_goes_on_to_the_one_that_is_there(fake_cluster, nobody) -> None:
    with Client(f"{nobody},{fake_cluster.address}") as client:
        assert client.jobs() == []
        assert client.jobs() == []


def test_a_client_goes_round_until_one_leads(fake_cluster, nobody, monkeypatch) -> None:
    monkeypatch.setattr(connection, "MAX_PAUSE_S", 0.1)
    fake_cluster.refusals = [NotLeading("standby; the leader is gone")] * 4
    with Client(f"{fake_cluster.address},{nobody}") as client:
        assert client.jobs() == []
    assert fake_cluster.refusals == []


def test_a_standby_is_waited_for_longer_than_nobody(fake_cluster, monkeypatch) -> None:
    monkeypatch.setattr(connection, "FIRST_CONTACT_LIMIT_S", 0.0)
    monkeypatch.setattr(connection, "MAX_PAUSE_S", 0.05)
    fake_cluster.refusals = [NotLeading("standby")] * 3
    with Client(fake_cluster.address) as client:
        assert client.jobs() == []
    fake_cluster.refusals = [Unavailable("starting up")]
    with Client(fake_cluster.address) as client, pytest.raises(Unavailable, match="starting up"):
        client.jobs()


def test_events_are_followed_to_another_coordinator(fake_cluster, make_job, nobody) -> None:
    fake_cluster.add_job(make_job(), Note("one"), Note("two"), StateChanged(JobState.COMPLETED, "done"))
    fake_cluster.break_after = [1, 1]
    with Client(f"{fake_cluster.address},{nobody}") as client:
        assert [event.sequence for event in client.job("job-1").watch()] == [1, 2, 3]


def test_if_none_is_there_the_client_says_so(nobody) -> None:
    with Client(f"{nobody},localhost:1") as client, pytest.raises(Unavailable, match="can't be reached"):
        client.jobs()
