"""The ``gradloom`` command, run in this process, and what it works on."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer

from builders.models import linear_model
from gradloom import local
from gradloom.cli import main


@pytest.fixture
def run(capfd, monkeypatch):
    """Run one command line in this process; returns its exit status, stdout and stderr."""
    monkeypatch.delenv("GRADLOOM_CLUSTER", raising=False)
    monkeypatch.delenv("GRADLOOM_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words):
        status = main([str(word) for word in words])
        said = capfd.readouterr()
        return status, said.out, said.err

    return command


@pytest.fixture
def no_processes(monkeypatch):
    """Nothing may be started."""

    def start(cluster):
        raise AssertionError("a process was about to be started")

    monkeypatch.setattr(local.LocalCluster, "start", start)


@pytest.fixture
def own_cluster(fake_cluster, monkeypatch):
    """A cluster of one's own is the fake one; returns what became of it."""
    story = []

    def start(cluster):
        story.append("started")
        return cluster

    monkeypatch.setattr(local.LocalCluster, "start", start)
    monkeypatch.setattr(local.LocalCluster, "close", lambda cluster: story.append("closed"))
    monkeypatch.setattr(local.LocalCluster, "client", lambda cluster: fake_cluster.client())
    return story


@pytest.fixture
def table(tmp_path):
    """Breast cancer with named classes, as Parquet."""
    data = load_breast_cancer()
    columns = {name.replace(" ", "_"): data.data[:, j] for j, name in enumerate(data.feature_names)}
    path = tmp_path / "cancer.parquet"
    pq.write_table(pa.table({**columns, "kind": data.target_names[data.target]}), path)
    return path


@pytest.fixture
def classifier():
    """A rule on one column of the table: a large radius is malignant."""
    coefficients, intercept = np.array([-1.0]), np.array(15.0)
    return linear_model(
        "logistic", ("mean_radius",), "kind", ("benign", "malignant"), -coefficients, -intercept
    )
