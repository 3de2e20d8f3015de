"""Data and clusters that the tests with real processes share. Data is made from scikit-learn's bundled sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from builders.shell import Shell, running_up
from gradloom import LocalCluster


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def breast_cancer(data_dir: Path) -> Path:
    """569 rows, 30 columns, two classes; carries its own target."""
    bunch = load_breast_cancer()
    path = data_dir / "breast_cancer.npz"
    np.savez(path, X=bunch.data, y=bunch.target)
    return path


@pytest.fixture(scope="session")
def breast_cancer_csv(data_dir: Path) -> Path:
    """The same rows as text, with the label column ``diagnosis``."""
    bunch = load_breast_cancer()
    names = [name.replace(" ", "_") for name in bunch.feature_names]
    path = data_dir / "breast_cancer.csv"
    with path.open("w") as file:
        file.write(",".join([*names, "diagnosis"]) + "\n")
        for row, label in zip(bunch.data, bunch.target, strict=True):
            file.write(",".join([*map(repr, map(float, row)), bunch.target_names[label]]) + "\n")
    return path


@pytest.fixture(scope="session")
def slow_data(data_dir: Path) -> Path:
    """40,000 rows of 60 columns and a binary target in column "60": a round over all of them takes a while."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((40_000, 60))
    y = (X @ rng.standard_normal(60) + rng.standard_normal(len(X)) > 0).astype(float)
    path = data_dir / "slow.npy"
    np.save(path, np.column_stack([X, y]))
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A coordinator and two workers that a module's tests share."""
    with LocalCluster(workers=2) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The installed command in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return Shell(folder)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A cluster that a module's commands share, as ``gradloom up`` announced it."""
    shell = Shell(tmp_path_factory.mktemp("up"))
    with running_up(shell, "--workers", "2") as (_, said):
        yield said
