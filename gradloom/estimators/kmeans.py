"""K-means, by all rows or by batches of them."""

import json
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array

from gradloom.algorithms.kmeans_settings import MAX_TEXT
from gradloom.errors import InvalidInput, InvalidParameter
from gradloom.estimators.asking import over_blocks
from gradloom.estimators.data import Given, InMemory, weights
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.estimators.linear import dtype_of
from gradloom.estimators.parameters import (
    QUIET,
    Rule,
    either,
    number,
    one_of,
    only,
    random_state,
    truth,
    whole,
)
from gradloom.models import Clusters

ANY_NUMBER = 2**31 - 1
"""Of batches: only the passes are counted."""
FIRST_JUDGED = 2
"""The first batch whose cost counts: of no patience at all nothing is left after it, as in scikit-learn."""
NAMES = ("k-means++", "k-means||", "random")
INIT = Rule(
    lambda given: given in NAMES if isinstance(given, str) else not callable(given),
    f"it must be one of: {', '.join(map(repr, NAMES))}, or an array of centers (n_clusters, d)",
)


class _KMeansBase(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, ClusterEstimator):
    """What both have in common."""

    _of_rows = ("labels_",)

    n_clusters: int
    init: object
    n_init: object
    max_iter: int
    tol: float

    def _train_clusters(self, given: Given, runs: int) -> Clusters:
        self._check_rows(given)
        settings: Settings = {
            "n_clusters": int(self.n_clusters),
            "tolerance": float(self.tol),
            "dtype": dtype_of(given),
            **self._beginning(given, runs),
            **self._iterations(given),
        }
        try:
            model = self._train(Clusters, "kmeans", settings, given)
        except InvalidInput as error:
            if error.field != "init_centers":
                raise
            raise InvalidParameter("init", error.problem) from error
        self.cluster_centers_ = model.centers.astype(dtype_of(given))
        self.inertia_ = float(str(model.metadata["inertia"]))
        self.n_iter_ = int(str(model.metadata["iterations"]))
        self._n_features_out = len(model.centers)
        if isinstance(given, InMemory):
            self.labels_ = self._nearest(given.X)
        return model

    def _iterations(self, given: Given) -> Settings:
        """How many there may be, and on which rows."""
        raise NotImplementedError

    def _check_rows(self, given: Given) -> None:
        if isinstance(given, InMemory) and given.X.shape[0] < self.n_clusters:
            raise InvalidParameter(
                "n_clusters", f"n_samples={given.X.shape[0]} should be >= n_clusters={self.n_clusters}."
            )

    def _beginning(self, given: Given, runs: int) -> Settings:
        """How the first centers are chosen."""
        if isinstance(self.init, str):
            auto = runs if self.init == "random" else 1
            return {"init": self.init, "n_init": auto if self.n_init == "auto" else int(str(self.n_init))}
        centers = check_array(self.init, dtype=np.float64, input_name="init")
        if centers.shape[0] != self.n_clusters:
            raise InvalidParameter(
                "init", f"its shape {centers.shape} does not match n_clusters={self.n_clusters}"
            )
        if isinstance(given, InMemory) and centers.shape[1] != given.X.shape[1]:
            raise InvalidParameter(
                "init", f"its shape {centers.shape} does not match the {given.X.shape[1]} features"
            )
        text = json.dumps(centers.tolist(), separators=(",", ":"))
        if len(text) > MAX_TEXT:
            raise InvalidParameter(
                "init",
                f"{centers.size:,} numbers are more than can be sent: {len(text):,} characters of text, where "
                f"{MAX_TEXT:,} are allowed",
            )
        return {"init": "given", "init_centers": text, "n_init": 1}

    def predict(self, X: object) -> NDArray[Any]:
        """Number of the nearest center of each row, (n,)."""
        return self._nearest(self._checked(X))

    def _nearest(self, rows: Any) -> NDArray[Any]:
        return over_blocks(self.model_.predict, rows).astype(np.int32)

    def transform(self, X: object) -> NDArray[Any]:
        """Distance of each row from each center, (n, k)."""
        rows = self._checked(X)
        assert isinstance(self.model_, Clusters)
        distances: NDArray[Any] = over_blocks(self.model_.transform, rows).astype(rows.dtype)
        return distances

    def score(self, X: object, y: object = None, sample_weight: object = None) -> float:
        """Minus the inertia of the rows: weighted sum of squared distances from the nearest center."""
        del y
        rows = self._checked(X)
        weight = weights(sample_weight, rows)
        nearest = np.square(over_blocks(self.model_.transform, rows).min(axis=1))  # type: ignore[attr-defined]
        return -float(nearest.sum() if weight is None else nearest @ weight)

    def _twin_attributes(self) -> dict[str, Any]:
        return {**super()._twin_attributes(), "_n_threads": 1, "_n_features_out": self._n_features_out}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class KMeans(_KMeansBase):
    """K-means by Lloyd's iteration: exact, and the same for any number of workers.

    Attributes: cluster_centers_ (k, d), labels_ (n,) of arrays (not of files), inertia_, n_iter_, n_features_in_,
    feature_names_in_, model_, job_id_.
    """

    _twin = "cluster.KMeans"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "n_clusters": whole(least=1),
        "init": INIT,
        "n_init": either(whole(least=1), one_of("auto")),
        "max_iter": whole(least=1),
        "tol": number(least=0),
        "verbose": QUIET,
        "random_state": random_state(),
        "copy_x": truth(),
        "algorithm": only("lloyd", "it is exact, and so are all others, by other ways"),
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: object = "k-means++",
        n_init: object = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: object = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        cluster: object = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        model = self._train_clusters(given, runs=10)
        self._warn_unless_converged(model, "max_iter")
        labels = getattr(self, "labels_", None)
        distinct = np.count_nonzero(model.weights) if labels is None else len(np.unique(labels))
        if distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). "
                "Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _iterations(self, given: Given) -> Settings:
        del given
        return {"max_rounds": int(self.max_iter)}


class MiniBatchKMeans(_KMeansBase):
    """K-means by mini-batches: each step moves the centers towards the means of ``batch_size`` rows of all shards.

    Attributes: those of KMeans; n_iter_ is the number of passes over the data, n_steps_ that of batches.
    """

    _twin = "cluster.MiniBatchKMeans"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "n_clusters": whole(least=1),
        "init": INIT,
        "max_iter": whole(least=1),
        "batch_size": whole(least=1),
        "verbose": QUIET,
        "compute_labels": truth(),
        "random_state": random_state(),
        "tol": number(least=0),
        "max_no_improvement": either(whole(least=0), one_of(None)),
        "init_size": only(None, "the first centers are chosen from all rows"),
        "n_init": either(whole(least=1), one_of("auto")),
        "reassignment_ratio": number(least=0, most=1),
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: object = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: object = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: object = "auto",
        reassignment_ratio: float = 0.01,
        cluster: object = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        model = self._train_clusters(given, runs=3)
        if not self.compute_labels and hasattr(self, "labels_"):
            del self.labels_
        rows = int(str(model.metadata["train_rows"]))
        self.n_steps_ = self.n_iter_
        self.n_iter_ = max(1, -(-self.n_steps_ * min(self.batch_size, rows) // rows))

    def _iterations(self, given: Given) -> Settings:
        del given
        return {
            "batch_size": int(self.batch_size),
            "max_epochs": int(self.max_iter),
            "max_rounds": FIRST_JUDGED if self.max_no_improvement == 0 else ANY_NUMBER,
            "patience": int(self.max_no_improvement or 0),
            "reassignment_ratio": float(self.reassignment_ratio),
        }
