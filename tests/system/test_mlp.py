"""Perceptrons on real processes: the same bits for any workers, and they learn."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gradloom import LocalCluster
from gradloom.client import Client
from gradloom.jobs import JobState, JobView
from gradloom.models import Network

pytestmark = pytest.mark.system

LIMIT_S = 120.0
LAYERS: Mapping[str, object] = {"hidden_layer_sizes": "48,24", "batch_size": 64, "learning_rate": 0.005}
CASES: Mapping[str, Mapping[str, object]] = {
    "plain": {**LAYERS, "max_epochs": 8},
    "all": {
        **LAYERS, "activation": "gelu", "solver": "adamw", "schedule": "cosine", "warmup_epochs": 1,
        "dropout": 0.1, "validation_fraction": 0.1, "patience": 3, "max_epochs": 8,
    },
    "sgd": {**LAYERS, "solver": "sgd", "learning_rate": 0.05, "max_epochs": 8},
    "local": {**LAYERS, "local_steps": 4, "max_epochs": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def digits(data_dir: Path) -> Path:
    """1,797 images of 8 x 8 and their digits, shuffled; carries its own target."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    path = data_dir / "digits.npz"
    np.savez(path, X=X[order] / 16.0, y=y[order])
    return path


def trained(client: Client, data: Path, settings: Mapping[str, object]) -> JobView:
    job = client.submit(
        "mlp_classifier", data=str(data), shards=5, test_fraction=0.3, seed=4, settings=dict(settings)
    )
    view = job.wait(LIMIT_S)
    assert view.state == JobState.COMPLETED, view.reason
    return view


@pytest.fixture(scope="module")
def of_one_worker(digits: Path) -> Mapping[str, JobView]:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        return {name: trained(client, digits, settings) for name, settings in CASES.items()}


@pytest.mark.parametrize("name", list(CASES))
def test_it_learns_the_digits(of_one_worker: Mapping[str, JobView], name: str) -> None:
    assert of_one_worker[name].scores["test_accuracy"] > 0.93


def test_three_workers_give_the_same_bits(digits: Path, of_one_worker: Mapping[str, JobView]) -> None:
    with LocalCluster(workers=3) as cluster, cluster.client() as client:
        views = {name: trained(client, digits, settings) for name, settings in CASES.items()}
        model = client.job(views["plain"].job_id).model()
    for name, view in views.items():
        assert view.parameters_sha256 == of_one_worker[name].parameters_sha256, name
        assert view.scores == of_one_worker[name].scores
    assert isinstance(model, Network)
    assert model.sizes.tolist() == [64, 48, 24, 10]
    X, y = load_digits(return_X_y=True)
    assert model.scores(X / 16.0, y)["accuracy"] > 0.96


@pytest.mark.parametrize("synchrony", ["asynchronous", "bounded:3", "backup:2"])
def test_rounds_that_do_not_wait_for_all_learn_too(
    cluster: LocalCluster, digits: Path, synchrony: str
) -> None:
    with cluster.client() as client:
        job = client.submit(
            "mlp_classifier",
            data=str(digits),
            shards=5,
            test_fraction=0.3,
            synchrony=synchrony,
            settings={**CASES["plain"], "validation_fraction": 0.1},
        )
        view = job.wait(LIMIT_S)
    assert view.state == JobState.COMPLETED, view.reason
    assert view.scores["test_accuracy"] > 0.9


def test_a_rate_that_is_too_large_ends_the_job_with_a_reason(cluster: LocalCluster, digits: Path) -> None:
    with cluster.client() as client:
        job = client.submit(
            "mlp_classifier",
            data=str(digits),
            settings={"solver": "sgd", "learning_rate": 1e12, "activation": "identity"},
        )
        view = job.wait(LIMIT_S)
    assert view.state == JobState.FAILED
    assert "not a finite number" in view.reason or "NaN or Inf" in view.reason
