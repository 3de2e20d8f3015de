"""Databases that the tests of the coordinator share: a file, and a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from builders.postgres import Postgres, programs, running_postgres
from gradloom_coordinator.durability.store import store_url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; tests/install_packages.sh does it")
    with running_postgres(binaries) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """An empty database, of each kind in turn."""
    given = "" if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    return store_url(given, tmp_path)
