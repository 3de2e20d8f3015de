"""What a real cluster trains is what scikit-learn trains on one machine: coefficients to 1e-4 relative, in float64."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradloom import LocalCluster
from gradloom.models import Model

pytestmark = pytest.mark.system

L2 = 0.01
EXACT = {"dtype": "float64", "l2": L2, "tolerance": 1e-10, "max_rounds": 2000}


def trained(cluster: LocalCluster, folder: Path, algorithm: str, X: np.ndarray, y: np.ndarray) -> Model:
    path = folder / f"{algorithm}.npz"
    np.savez(path, X=X, y=y)
    with cluster.client() as client:
        return client.submit(algorithm, data=str(path), shards=5, settings=EXACT).result(timeout_s=60)


def test_logistic_regression_of_two_classes(cluster: LocalCluster, tmp_path: Path) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = trained(cluster, tmp_path, "logistic", X, y)
    theirs = LogisticRegression(C=1 / (L2 * len(y)), tol=1e-12, solver="newton-cholesky", max_iter=1000)
    scaler = StandardScaler()
    theirs.fit(scaler.fit_transform(X), y)
    np.testing.assert_allclose(model.coefficients * scaler.scale_, theirs.coef_[0], rtol=1e-4)


def test_multinomial_regression(cluster: LocalCluster, tmp_path: Path) -> None:
    X, y = load_wine(return_X_y=True)
    model = trained(cluster, tmp_path, "multinomial", X, y)
    theirs = make_pipeline(
        StandardScaler(), LogisticRegression(C=1 / (L2 * len(y)), tol=1e-10, solver="newton-cholesky")
    ).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_ridge_regression(cluster: LocalCluster, tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = trained(cluster, tmp_path, "linear", X, y)
    scaler = StandardScaler()
    theirs = Ridge(alpha=L2 * len(y), tol=1e-12).fit(scaler.fit_transform(X), y)
    np.testing.assert_allclose(model.coefficients * scaler.scale_, theirs.coef_, rtol=1e-4)
