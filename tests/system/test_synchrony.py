"""Every synchrony trains a good model on real workers; those that promise the same bits keep it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom import LocalCluster
from gradloom.client import Client
from gradloom.errors import InvalidInput
from gradloom.jobs import JobState, JobView

pytestmark = pytest.mark.system

LIMIT_S = 60.0
ADAM: dict[str, object] = {"solver": "adam", "batch_size": 4096, "tolerance": 0.0}
ROUNDS = 200
AS_GOOD = 0.05
"""Of held-out accuracy: the noise of batches, and more than any synchrony costs."""


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with cluster.client() as one:
        yield one


def trained(client: Client, data: Path, synchrony: str, rounds: int = ROUNDS) -> JobView:
    job = client.submit(
        "logistic",
        data=str(data),
        target="60",
        shards=8,
        test_fraction=0.1,
        synchrony=synchrony,
        settings={**ADAM, "max_rounds": rounds},
    )
    view = job.wait(LIMIT_S)
    assert (view.state, view.rounds) == (JobState.COMPLETED, rounds), view.reason
    return view


@pytest.fixture(scope="module")
def reference(cluster: LocalCluster, slow_data: Path) -> JobView:
    with cluster.client() as client:
        return trained(client, slow_data, "synchronous")


@pytest.mark.parametrize("synchrony", ["backup:4", "bounded:3", "asynchronous"])
def test_rounds_that_do_not_wait_for_all_come_close_to_those_that_do(
    client: Client, slow_data: Path, reference: JobView, synchrony: str
) -> None:
    view = trained(client, slow_data, synchrony)
    assert view.spec.synchrony == synchrony
    assert view.scores["test_accuracy"] > reference.scores["test_accuracy"] - AS_GOOD
    assert view.scores["test_log_loss"] < reference.scores["test_log_loss"] + AS_GOOD


def test_local_steps_come_close_in_an_eighth_of_the_rounds_and_to_the_same_bits(
    client: Client, slow_data: Path, reference: JobView
) -> None:
    view = trained(client, slow_data, "local:8", ROUNDS // 8)
    assert view.scores["test_log_loss"] < reference.scores["test_log_loss"] + AS_GOOD
    for workers in (1, 3):
        with LocalCluster(workers=workers) as other, other.client() as one:
            assert trained(one, slow_data, "local:8", ROUNDS // 8).parameters_sha256 == view.parameters_sha256


def test_a_solver_that_needs_every_row_is_refused_what_leaves_rows_out(
    client: Client, slow_data: Path
) -> None:
    with pytest.raises(InvalidInput, match="asynchronous does not suit logistic"):
        client.submit("logistic", data=str(slow_data), target="60", synchrony="asynchronous")
