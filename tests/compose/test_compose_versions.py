"""Both versions of Compose read docker-compose.yml with each set of overrides, and the first one runs it, too."""

import shutil
import subprocess

import pytest

from builders.containers import COMPOSE, FIRST_COMPOSE, LIMIT_S, ROOT, Stack, running, until
from gradloom import Client
from gradloom.jobs import JobState

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

SETS = ("", "postgres", "tls", "tls postgres")


def said(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def version(words: tuple[str, ...]) -> str:
    """Empty = it is not installed."""
    if not shutil.which(words[0]):
        return ""
    done = said(*words, "version", "--short")
    return done.stdout.strip().removeprefix("v") if done.returncode == 0 else ""


@pytest.mark.parametrize("overrides", SETS)
@pytest.mark.parametrize(("words", "wanted"), [(FIRST_COMPOSE, "1."), (COMPOSE, "2.")], ids=["1", "2"])
def test_compose_reads_it(words: tuple[str, ...], wanted: str, overrides: str) -> None:
    if not (found := version(words)).startswith(wanted):
        pytest.skip(f"{' '.join(words)} is {found or 'not installed'}, and not {wanted}x")
    files = ["docker-compose.yml", *(f"docker-compose.{name}.yml" for name in overrides.split())]
    options = [word for file in files for word in ("--file", file)]
    done = said(*words, *options, "config", "--services")
    assert done.returncode == 0, done.stderr
    extra = {"postgres": {"postgres"}, "tls": {"certs"}}
    expected = {"coordinator", "worker", "dashboard", "prometheus", "grafana"}.union(
        *(extra[name] for name in overrides.split())
    )
    assert set(done.stdout.split()) == expected


def test_the_first_compose_runs_it(images: dict[str, str]) -> None:
    """Up, a job, scale, down; the other tests of this folder are the second one's."""
    if not (found := version(FIRST_COMPOSE)).startswith("1."):
        pytest.skip(f"docker-compose is {found or 'not installed'}, and not 1.x")
    with (
        running(services=("coordinator", "worker"), program=FIRST_COMPOSE, WORKERS="1") as stack,
        Client(stack.address) as client,
    ):
        job = client.submit("logistic", data="/data/breast_cancer.csv", target="diagnosis")
        assert job.wait(LIMIT_S).state is JobState.COMPLETED
        for workers in (2, 1):
            scaled(stack, client, workers)


def scaled(stack: Stack, client: Client, workers: int) -> None:
    stack.scale(workers)
    until(lambda: len(client.workers()) == workers, f"{workers} workers")
