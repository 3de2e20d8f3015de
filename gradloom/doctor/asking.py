"""Asks a running cluster about itself, as any client would. Every step has a limit; nothing is judged."""

import time

from gradloom.client import Client
from gradloom.doctor.facts import ClusterFact
from gradloom.errors import GradloomError, NotTrusted, Unavailable
from gradloom.settings import Access
from gradloom.tls import leaves_the_machine
from gradloom.watching import ClusterStatus

LIMIT_S = 10.0
QUESTIONS = 5
"""The fastest of so many answers tells most of the clock."""


def ask(address: str, access: Access) -> ClusterFact:
    """What the cluster says, or why it does not answer."""
    loopback = not leaves_the_machine(address)
    try:
        with Client(
            address, timeout_s=LIMIT_S, tls=access.tls, token=access.token, insecure=access.insecure
        ) as client:
            caller = client.whoami()
            took_s, asked_at, status = min((_timed(client) for _ in range(QUESTIONS)), key=lambda one: one[0])
    except GradloomError as error:
        away = isinstance(error, Unavailable) and not isinstance(error, NotTrusted)
        return ClusterFact(address, error.message, away, loopback=loopback)
    return ClusterFact(
        address,
        version=status.version,
        clock_offset_s=None if status.at is None else status.at - (asked_at + took_s / 2),
        offset_error_s=took_s / 2,
        round_trip_s=took_s,
        who=caller.name,
        role=caller.role,
        loopback=loopback,
        workers=status.workers,
    )


def _timed(client: Client) -> tuple[float, float, ClusterStatus]:
    asked_at, start = time.time(), time.perf_counter()
    status = client.status()
    return time.perf_counter() - start, asked_at, status
