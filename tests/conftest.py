"""What holds for every test."""

import gc

import pytest
from hypothesis import settings

# The same examples on every machine and in every run, and no failure because a machine was busy.
settings.register_profile("gradloom", derandomize=True, deadline=None)
settings.load_profile("gradloom")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What collecting has made stays to the end: the garbage collector need not walk through it in every test."""
    gc.collect()
    gc.freeze()
