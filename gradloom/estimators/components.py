"""Principal components."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from gradloom.errors import InvalidInput, InvalidParameter
from gradloom.estimators.asking import over_blocks, refusals_as_value_errors
from gradloom.estimators.data import FLOATS, Given, InMemory
from gradloom.estimators.estimator import Settings, WithoutWeights
from gradloom.estimators.linear import as_given, dtype_of
from gradloom.estimators.parameters import Rule, either, number, one_of, only, random_state, truth, whole
from gradloom.models import Components

SOLVERS = {"auto": "auto", "full": "gram", "covariance_eigh": "gram", "randomized": "randomized"}


class PCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, WithoutWeights):
    """Directions of largest variance: exact from one round over the data, or by random directions.

    Attributes: components_ (m, d), mean_ (d,), explained_variance_, explained_variance_ratio_, singular_values_ (m,),
    noise_variance_, n_components_, n_samples_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "decomposition.PCA"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "n_components": either(whole(least=1), number(above=0, below=1), one_of(None)),
        "copy": truth(),
        "whiten": truth(),
        "svd_solver": one_of(*SOLVERS),
        "tol": only(0.0, "it belongs to the solver arpack"),
        "iterated_power": either(whole(least=0), one_of("auto")),
        "n_oversamples": whole(least=0),
        "power_iteration_normalizer": only("auto", "directions are made orthonormal in every round"),
        "random_state": random_state(),
    }

    def __init__(
        self,
        n_components: object = None,
        *,
        copy: bool = True,
        whiten: bool = False,
        svd_solver: str = "auto",
        tol: float = 0.0,
        iterated_power: object = "auto",
        n_oversamples: int = 10,
        power_iteration_normalizer: str = "auto",
        random_state: object = None,
        cluster: object = None,
    ) -> None:
        self.n_components = n_components
        self.copy = copy
        self.whiten = whiten
        self.svd_solver = svd_solver
        self.tol = tol
        self.iterated_power = iterated_power
        self.n_oversamples = n_oversamples
        self.power_iteration_normalizer = power_iteration_normalizer
        self.random_state = random_state
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        if isinstance(given, InMemory):
            self._check_shape(*given.X.shape)
        wanted = self.n_components
        settings: Settings = {
            "n_components": "all" if wanted is None else str(wanted),
            "whiten": bool(self.whiten),
            "solver": SOLVERS[self.svd_solver],
            "dtype": dtype_of(given),
        }
        if self.svd_solver in ("auto", "randomized"):
            settings["oversamples"] = int(self.n_oversamples)
            if self.iterated_power != "auto":
                settings["power_iterations"] = int(str(self.iterated_power))
        try:
            model = self._train(Components, "pca", settings, given)
        except InvalidInput as error:
            raise self._in_my_words(error, settings) from error
        self.components_ = as_given(model.components, given)
        self.mean_ = as_given(model.mean, given)
        self.explained_variance_ = as_given(model.explained_variance, given)
        self.explained_variance_ratio_ = as_given(model.explained_variance_ratio, given)
        self.singular_values_ = as_given(model.singular_values, given)
        self.noise_variance_ = float(model.noise_variance)
        self.n_components_ = len(model.components)
        self.n_samples_ = int(str(model.metadata["train_rows"]))

    def _in_my_words(self, error: InvalidInput, settings: Settings) -> InvalidInput:
        """What the algorithm calls by another name."""
        if error.field == "solver":
            return InvalidParameter("svd_solver", error.problem.replace("gram", repr(self.svd_solver), 1))
        if error.field == "n_components":
            problem = error.problem.replace("solver=gram or auto", "svd_solver='auto' or 'full'")
            return InvalidParameter(
                "n_components", problem.replace(repr(settings["n_components"]), repr(self.n_components))
            )
        return error

    def _check_shape(self, n: int, d: int) -> None:
        if n < 2:
            raise InvalidParameter("X", f"a variance needs two rows; n_samples = {n}")
        if isinstance(self.n_components, int | np.integer) and int(self.n_components) > min(n, d):
            raise InvalidParameter(
                "n_components",
                f"n_components={self.n_components} must be between 1 and min(n_samples, n_features)={min(n, d)}",
            )

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    @property
    def _components(self) -> Components:
        assert isinstance(self.model_, Components)
        return self.model_

    def transform(self, X: object) -> NDArray[Any]:
        """Coordinates of each row along the components, (n, m)."""
        rows = self._checked(X)
        coordinates: NDArray[Any] = over_blocks(self._components.transform, rows).astype(rows.dtype)
        return coordinates

    def inverse_transform(self, X: object) -> NDArray[Any]:
        """Rows (n, d) from their coordinates (n, m)."""
        check_is_fitted(self)
        given = check_array(X, dtype=FLOATS)
        with refusals_as_value_errors():
            rows: NDArray[Any] = self._components.inverse_transform(given).astype(given.dtype)
        return rows

    def get_covariance(self) -> NDArray[Any]:
        """Of the columns, as the components and the noise beside them explain it, (d, d)."""
        check_is_fitted(self)
        along = np.maximum(self.explained_variance_ - self.noise_variance_, 0.0)
        covariance: NDArray[Any] = (self.components_.T * along) @ self.components_
        covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        return covariance

    def get_precision(self) -> NDArray[Any]:
        """The inverse of get_covariance, (d, d)."""
        return np.linalg.inv(self.get_covariance())

    def score_samples(self, X: object) -> NDArray[Any]:
        """Log-likelihood of each row under the normal distribution of get_covariance, (n,)."""
        rows = self._checked(X)
        precision = self.get_precision()
        _, log_determinant = np.linalg.slogdet(precision)
        constant = log_determinant - len(precision) * np.log(2.0 * np.pi)

        def score(block: NDArray[Any]) -> NDArray[Any]:
            centered = block - self.mean_
            likelihood: NDArray[Any] = 0.5 * (constant - np.sum(centered @ precision * centered, axis=1))
            return likelihood

        return over_blocks(score, rows)

    def score(self, X: object, y: object = None) -> float:
        """Mean of score_samples."""
        del y
        return float(np.mean(self.score_samples(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
