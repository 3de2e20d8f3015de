"""What the doctor measures of ports and databases."""

import socket

import pytest

from gradloom.doctor.facts import PortState
from gradloom.doctor.measuring import database, port_state, ports_here
from gradloom.errors import InvalidInput


def test_a_port_that_gradloom_is_known_to_answer_at_is_not_foreign() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = int(server.getsockname()[1])
        server.close()
        with socket.create_server(("127.0.0.1", number)):
            assert port_state("127.0.0.1", number, ours={number}) is PortState.OURS


@pytest.mark.parametrize(
    ("address", "ports"),
    [
        ("localhost:50051", {50051}),
        ("127.0.0.1:1,[::1]:2", {1, 2}),
        ("unix:/run/gradloom", set()),
        ("no.such.host.invalid:50051", set()),
    ],
)
def test_only_ports_of_this_machine_are_ours(address: str, ports: set[int]) -> None:
    assert ports_here(address) == ports


@pytest.mark.parametrize("url", ["mysql://me:hush@db/x", "x", "sqlite://"])
def test_a_database_of_another_kind_is_refused_as_the_coordinator_refuses_it(url: str) -> None:
    with pytest.raises(InvalidInput, match="store_url: ") as refused:
        database(url)
    assert "hush" not in refused.value.message
