"""A client in another language: the stock gRPC package of Node and nothing of ours but the ``.proto`` files."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradloom import LocalCluster
from gradloom.models import load_model

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
PROTOS = HERE.parents[1] / "protos"
LIMIT_S = 150.0
INVALID_ARGUMENT = 3
COLUMNS = 30
MEMBERS = ("package.json", "package-lock.json", "train.js")


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the Node program with its packages installed."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    assert not missing, f"{' and '.join(missing)} not found: install the Debian packages nodejs and npm"
    folder = tmp_path_factory.mktemp("node_client")
    for name in MEMBERS:
        shutil.copy(HERE / "node_client" / name, folder)
    run(folder, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


@pytest.fixture(scope="module")
def told(cluster: LocalCluster, node_client: Path, breast_cancer_csv: Path) -> dict[str, Any]:
    """What the Node program saw while it trained a model."""
    words = (cluster.address, str(PROTOS), str(breast_cancer_csv), "diagnosis", "model.safetensors")
    told: dict[str, Any] = json.loads(run(node_client, "node", "train.js", *words))
    return told


def test_a_job_is_submitted_once_and_followed_to_its_end(told: dict[str, Any]) -> None:
    job = told["job"]
    assert (job["state"], job["spec"]["algorithm"]) == ("JOB_STATE_COMPLETED", "logistic")
    assert job["scores"]["test_accuracy"] > 0.9
    assert told["same_job"]
    assert told["sequences_have_no_gap"]
    assert told["rounds_seen"] == job["rounds"] > 1
    assert told["workers"] == ["worker-0", "worker-1"]


def test_the_model_that_was_fetched_is_the_one_that_was_trained(
    told: dict[str, Any], node_client: Path
) -> None:
    model = load_model(node_client / "model.safetensors")
    assert model.parameters_sha256 == told["job"]["parameters_sha256"]
    assert model.classes == ("benign", "malignant")
    assert len(model.features) == COLUMNS


def test_rows_that_were_sent_as_numbers_are_predicted_as_the_model_does(
    told: dict[str, Any], node_client: Path
) -> None:
    model = load_model(node_client / "model.safetensors")
    rows = np.repeat([[1.0], [1000.0]], COLUMNS, axis=1)
    assert told["predicted"] == model.predict(rows).tolist()
    np.testing.assert_allclose(told["probabilities"], model.predict_proba(rows).ravel(), rtol=1e-12)


def test_a_refusal_names_the_algorithm_that_was_meant(told: dict[str, Any]) -> None:
    assert told["refusal"]["code"] == INVALID_ARGUMENT
    assert "Did you mean 'logistic'?" in told["refusal"]["message"]
