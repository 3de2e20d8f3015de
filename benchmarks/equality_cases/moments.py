"""Naive Bayes and statistics of columns against scikit-learn."""

from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.preprocessing import StandardScaler

from benchmarks.equality_case import EqualityCase, Floats
from tests.unit.algorithms.training import Data

LOADS = {"digits": load_digits, "iris": load_iris, "breast_cancer": load_breast_cancer, "wine": load_wine}


@cache
def labelled(name: str, weighted: bool) -> Data:
    X, y = LOADS[name](return_X_y=True)
    rng = np.random.default_rng(3)
    order = rng.permutation(len(X))
    return Data(X[order], y[order], rng.uniform(0.2, 3.0, len(X)) if weighted else None)


def naive_bayes(algorithm: str, name: str, weighted: bool, twin: Any, **settings: Any) -> EqualityCase:
    return EqualityCase(
        algorithm,
        settings,
        name,
        lambda: labelled(name, weighted),
        type(twin).__name__,
        lambda data: twin.fit(data.X, data.y, data.weight).predict_proba(data.X).ravel(),
        1e-10,
        lambda model, data: model.predict_proba(data.X).ravel(),
        note=f"probabilities{', weighted' if weighted else ''}",
    )


def statistics(name: str, weighted: bool) -> EqualityCase:
    def twin(data: Data) -> Floats:
        return np.ravel(StandardScaler().fit(data.X, sample_weight=data.weight).transform(data.X))

    return EqualityCase(
        "statistics",
        {},
        name,
        lambda: labelled(name, weighted),
        "StandardScaler",
        twin,
        1e-10,
        lambda model, data: model.transform(data.X).ravel(),  # type: ignore[attr-defined]
        note=f"scaled rows{', weighted' if weighted else ''}",
    )


CASES = (
    *(
        naive_bayes("gaussian_nb", name, weighted, GaussianNB(var_smoothing=1e-6), var_smoothing=1e-6)
        for name in LOADS
        for weighted in (False, True)
    ),
    *(
        naive_bayes("multinomial_nb", name, weighted, MultinomialNB(alpha=0.5), alpha=0.5)
        for name in LOADS
        for weighted in (False, True)
    ),
    *(statistics("breast_cancer", weighted) for weighted in (False, True)),
)
