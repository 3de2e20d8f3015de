"""What holds for every test."""

import gc

import pytest
from hypothesis import settings

# The same examples on every machine and in every run, and no failure because a machine was busy.
settings.register_profile("gradloom", derandomize=True, deadline=None)
settings.load_profile("gradloom")


SLOWEST_FIRST = (
    "simulation/test_seeds.py",
    "system/test_estimators_contract.py",
    "system/test_chaos.py",
    "system/test_standby.py",
    "browser/test_control_room.py",
    "system/test_storage_trouble.py",
    "system/test_object_storage.py",
    "system/test_coordinator_restart.py",
    "system/test_exactness.py",
    "system/test_compression.py",
    "system/test_cli.py",
    "system/test_wheel.py",
    "system/",
    "browser/",
    "k8s/",
    "fuzz/",
)
"""Where modules are dealt out to processes: what takes longest begins first, so that it is not what is left over."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow modules before the fast ones."""
    items.sort(key=lambda item: next((i for i, name in enumerate(SLOWEST_FIRST) if name in item.nodeid), 99))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What collecting has made stays to the end: the garbage collector need not walk through it in every test."""
    gc.collect()
    gc.freeze()
