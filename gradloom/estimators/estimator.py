"""The one shape of every estimator: check, translate the parameters, have a cluster train, keep the model.

An estimator keeps its parameters unchanged; what it learns ends in ``_``. It holds no connection: a fitted one is
pickled, cloned and used without its cluster.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from gradloom.client import Job
from gradloom.errors import Conflict, GradloomError
from gradloom.estimators.asking import refusals_as_value_errors
from gradloom.estimators.clusters import address_of, client_of
from gradloom.estimators.data import (
    Accepts,
    Columns,
    Given,
    InMemory,
    is_stored,
    refuse_columns,
    rows,
    stored,
    with_classes,
)
from gradloom.estimators.parameters import MAX_SEED, Rule, check_parameters
from gradloom.models import Model

M = TypeVar("M", bound=Model)
Settings = dict[str, object]


class ClusterEstimator(BaseEstimator):
    """What trains on a cluster. A family says what its parameters may be, and how it learns and predicts.

    Attributes: ``model_``, the trained model as gradloom keeps it; ``job_id_``, and ``job_`` to look at the job.
    """

    _rules: ClassVar[Mapping[str, Rule]] = {}
    """What each parameter may be; one that is not listed may be anything."""
    _twin: ClassVar[str]
    """The class of scikit-learn that it stands for, ``module.Class``."""
    _sparse: ClassVar[bool] = True
    """Whether sparse matrices are taken."""
    _missing: ClassVar[bool] = False
    """Whether cells may be NaN."""
    _of_rows: ClassVar[tuple[str, ...]] = ()
    """Attributes with a value for each row that was fitted."""
    _target: ClassVar[Literal["number", "class", "none"]] = "none"
    """What ``y`` is; "none" = it is not looked at."""

    cluster: object

    # --- training ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: object,
        y: object = None,
        sample_weight: object = None,
        *,
        target: str | None = None,
        weight: str | None = None,
        features: Sequence[str] = (),
    ) -> Self:
        """Train on arrays X (n, d), y (n,), or on files, whose columns are named by target, weight and features.

        X may be an array, a data frame, a sparse matrix, a path, glob or URI, several of these, or what
        ``Client.upload`` returned. y is not looked at where nothing is predicted; a ``target`` is no feature then.
        Raises ValueError for what is wrong or not supported, JobFailed, Unavailable.
        """
        return self._fit(X, y, sample_weight, (target, weight, features))

    def _fit(self, X: object, y: object, sample_weight: object, columns: Columns) -> Self:
        check_parameters(self.get_params(deep=False), self._rules)
        if is_stored(X):
            self._learn(stored(X, y if self._target != "none" else None, sample_weight, columns))
            return self
        refuse_columns(columns)
        given = rows(self, X, y, sample_weight, self._accepts)
        if self._target == "class":
            given = with_classes(given, getattr(self, "class_weight", None))
        self._learn(given)
        return self

    def _learn(self, given: Given) -> None:
        """Have a model trained with these parameters, and set what was learnt."""
        raise NotImplementedError

    def _train(self, kind: type[M], algorithm: str, settings: Settings, given: Given) -> M:
        """Have the cluster train a model of a kind, and take over what every estimator keeps of it.

        Raises InvalidParameter for what the algorithm refuses, JobFailed, Unavailable.
        """
        client = client_of(self.cluster)
        with given.placed(client) as where:
            with refusals_as_value_errors():
                job = client.submit(algorithm, settings=settings, seed=self._seed(), **where)
            model = _result(job)
        assert isinstance(model, kind), f"{algorithm} trains models of kind {model.kind!r}"
        self.model_: Model = model
        self.job_id_ = job.id
        self._forget_rows()
        if not isinstance(given, InMemory):
            self._take_columns(model)
        return model

    def _forget_rows(self) -> None:
        """Remove what was learnt of single rows: those of files are never here."""
        for name in self._of_rows:
            self.__dict__.pop(name, None)

    def _take_columns(self, model: Model) -> None:
        """What files call their columns; where they only count them, there are no names."""
        self.n_features_in_ = len(model.features)
        self.__dict__.pop("feature_names_in_", None)
        if not all(name.isdecimal() for name in model.features):
            self.feature_names_in_ = np.asarray(model.features, dtype=object)

    def _seed(self) -> int:
        """The seed of the job: drawn from ``random_state`` as scikit-learn would, 0 where there is none."""
        if "random_state" not in self.get_params(deep=False):
            return 0
        return int(check_random_state(self.random_state).randint(MAX_SEED))

    def _warn_unless_converged(self, model: Model, limit: str = "") -> None:
        """Warn as scikit-learn does if the rounds were over before the training was."""
        stopped = str(model.metadata.get("stopped", ""))
        if stopped.startswith(("max_", "unsolved", "diverged")):
            cure = f"Raise {limit}, or scale the data" if limit else "Scale the data"
            warnings.warn(
                f"{type(self).__name__} did not converge: {stopped}. {cure}.",
                ConvergenceWarning,
                stacklevel=3,
            )

    # --- using what was learnt -------------------------------------------------------------------------------------

    def _checked(self, X: object) -> Any:
        """X (n, d), checked against what was fitted; dense, or csr. Raises NotFittedError, ValueError."""
        check_is_fitted(self)
        return validate_data(self, X, reset=False, **self._accepts.checks())

    @property
    def _accepts(self) -> Accepts:
        return Accepts(self._sparse, self._missing, self._target)

    @property
    def job_(self) -> Job:
        """The job that trained it. Raises NotFittedError, NotFound once the cluster has forgotten it, Unavailable."""
        check_is_fitted(self)
        return client_of(self.cluster).job(self.job_id_)

    def to_sklearn(self) -> Any:
        """The fitted estimator of scikit-learn with these parameters, which predicts the same."""
        check_is_fitted(self)
        twin = self._unfitted_twin()
        for attribute, value in self._twin_attributes().items():
            setattr(twin, attribute, value)
        return twin

    def _unfitted_twin(self) -> Any:
        """With those of our parameters that the installed scikit-learn knows."""
        module, _, name = self._twin.rpartition(".")
        kind = getattr(import_module(f"sklearn.{module}"), name)
        given, known = self.get_params(deep=False), kind().get_params()
        plain = {
            name for name, value in given.items() if not (isinstance(value, str) and value == "deprecated")
        }
        return kind(**{name: given[name] for name in plain & set(known)})

    def _twin_attributes(self) -> dict[str, Any]:
        """What its twin in scikit-learn has learnt."""
        ours = ("model_", "job_id_")
        return {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and not name.startswith("_") and name not in ours
        }

    # --- scikit-learn's contract -----------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._sparse
        tags.input_tags.allow_nan = self._missing
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Without the cluster: of a Client or a LocalCluster its address stays."""
        state = dict(super().__getstate__())
        with suppress(Conflict):  # a cluster that is not started has no address
            state["cluster"] = address_of(state.get("cluster"))
        return state


def _result(job: Job) -> Model:
    try:
        return job.result()
    except (KeyboardInterrupt, SystemExit):
        with suppress(GradloomError):
            job.cancel("the call that waited for it was interrupted")
        raise


class WithoutWeights(ClusterEstimator):
    """An estimator whose rows all weigh the same."""

    def fit(  # type: ignore[override]
        self,
        X: object,
        y: object = None,
        *,
        target: str | None = None,
        features: Sequence[str] = (),
    ) -> Self:
        """Train on arrays X (n, d), y (n,), or on files, whose columns are named by target and features.

        X may be an array, a data frame, a sparse matrix, a path, glob or URI, several of these, or what
        ``Client.upload`` returned. y is not looked at where nothing is predicted; a ``target`` is no feature then.
        Raises ValueError for what is wrong or not supported, JobFailed, Unavailable.
        """
        return self._fit(X, y, None, (target, None, features))
