"""Our images, built once, and the figures that the tests come across."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from builders.containers import ROOT, SERVICES, docker, inspected, why_not

BUILD_LIMIT_S = 1500.0
FIGURES: list[str] = []


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Lines that stand at the end of the run."""
    return FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("containers")
        terminalreporter.write_line("\n".join(FIGURES))


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine with Compose."""
    if why := why_not():
        pytest.skip(
            f"there are no containers here ({why}); tests/compose/install_docker.sh installs an engine"
        )


@pytest.fixture(scope="session")
def images(engine: None, figures: list[str]) -> dict[str, str]:
    """The image of each service, made of the tree as it is."""
    names = {service: f"gradloom-{service}:0.1.0" for service in SERVICES}
    start = time.monotonic()
    words = ["compose", "--project-directory", str(ROOT), "build", "--quiet"]
    with ThreadPoolExecutor() as pool:  # without buildx, compose would build one after the other
        list(pool.map(lambda service: docker(*words, service, limit_s=BUILD_LIMIT_S), SERVICES))
    figures.append(f"built in {time.monotonic() - start:.0f} s")
    for name in ("python:3.12-slim", *names.values()):
        if docker("image", "ls", "--quiet", name):
            figures.append(f"{name}: {inspected(name)[0]['Size'] / 1e6:.0f} MB")
    return names
