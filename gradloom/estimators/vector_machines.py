"""Support vector machines, linear and with a kernel."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

from gradloom.estimators.asking import over_blocks, predicted_classes
from gradloom.estimators.data import Given
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.estimators.linear import LinearClassifierBase, class_weight_setting, classes_of, dtype_of
from gradloom.estimators.parameters import (
    QUIET,
    Rule,
    class_weights,
    either,
    number,
    one_of,
    only,
    random_state,
    truth,
    whole,
)
from gradloom.models import KernelMachine

STRICTER = 1e-4
"""Newton's steps cost little more; ``tol`` in the terms of the solver that scikit-learn has is as strict."""


class LinearSVC(LinearClassifierBase):
    """A linear support vector machine: minimises |v|^2 / 2 + C sum_i s_i max(0, 1 - t_i z_i)^2, t_i = +1 or -1.

    As in scikit-learn the intercept is penalised too: v holds w and b / intercept_scaling. With an L1 penalty it is
    |v|_1. With more than two classes each one is told from the rest. ``max_iter`` counts rounds over the data.
    Attributes: classes_ (K,), coef_ (1, d) or (K, d), intercept_, n_iter_, n_features_in_, feature_names_in_, model_,
    job_id_.
    """

    _twin = "svm.LinearSVC"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "penalty": one_of("l2", "l1"),
        "loss": only("squared_hinge", "SVC(kernel='linear') minimises the hinge, SGDClassifier comes near"),
        "dual": one_of("auto", True, False, why="the minimum is the same"),
        "tol": number(least=0),
        "C": number(above=0),
        "multi_class": only("ovr", "each class is told from the rest"),
        "fit_intercept": truth(),
        "intercept_scaling": number(above=0),
        "class_weight": class_weights(),
        "verbose": QUIET,
        "random_state": random_state(),
        "max_iter": whole(least=1),
    }

    def __init__(
        self,
        penalty: str = "l2",
        loss: str = "squared_hinge",
        *,
        dual: object = "auto",
        tol: float = 1e-4,
        C: float = 1.0,
        multi_class: str = "ovr",
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: object = None,
        verbose: int = 0,
        random_state: object = None,
        max_iter: int = 1000,
        cluster: object = None,
    ) -> None:
        self.penalty = penalty
        self.loss = loss
        self.dual = dual
        self.tol = tol
        self.C = C
        self.multi_class = multi_class
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.verbose = verbose
        self.random_state = random_state
        self.max_iter = max_iter
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        penalised = {"penalize_intercept": True, "intercept_scaling": float(self.intercept_scaling)}
        settings: Settings = {
            self.penalty: 1.0 / float(self.C),
            "l2" if self.penalty == "l1" else "l1": 0.0,
            "penalty_per": "sum",
            "loss": self.loss,
            "fit_intercept": bool(self.fit_intercept),
            **(penalised if self.fit_intercept else {}),
            "standardize": False,
            "class_weight": class_weight_setting(self.class_weight, given),
            "max_rounds": int(self.max_iter),
            "tolerance": float(self.tol) * STRICTER,
        }
        model = self._train_linear(("linear_svm", "linear_svm"), settings, given)
        self.n_iter_ = int(str(model.metadata["rounds"]))
        self._warn_unless_converged(model, "max_iter")


class SVC(ClassifierMixin, ClusterEstimator):
    """Support vector machine with a kernel, one class against one: the exact solution, found by a cascade.

    Beyond 10,000 support vectors it is approximated by landmarks. ``max_iter`` counts rounds over the data.

    Attributes: classes_, support_ (positions of the
    support vectors among the rows), support_vectors_, n_support_ (K,), dual_coef_, intercept_, n_iter_,
    n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "svm.SVC"
    _target = "class"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "C": number(above=0),
        "kernel": one_of("rbf", "poly", "linear", "sigmoid"),
        "degree": whole(least=1),
        "gamma": either(one_of("scale", "auto"), number(above=0)),
        "coef0": number(),
        "shrinking": truth(),
        "probability": one_of(
            "deprecated", False, why="wrap it in sklearn.calibration.CalibratedClassifierCV"
        ),
        "tol": number(above=0, most=0.1),
        "cache_size": number(above=0),
        "class_weight": class_weights(),
        "verbose": QUIET,
        "max_iter": either(whole(least=1), only(-1, "it stands for 300 rounds")),
        "decision_function_shape": one_of("ovr", "ovo"),
        "break_ties": truth(),
        "random_state": random_state(),
    }

    def __init__(
        self,
        *,
        C: float = 1.0,
        kernel: str = "rbf",
        degree: int = 3,
        gamma: object = "scale",
        coef0: float = 0.0,
        shrinking: bool = True,
        probability: object = "deprecated",
        tol: float = 1e-3,
        cache_size: float = 200,
        class_weight: object = None,
        verbose: bool = False,
        max_iter: int = -1,
        decision_function_shape: str = "ovr",
        break_ties: bool = False,
        random_state: object = None,
        cluster: object = None,
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.degree = degree
        self.gamma = gamma
        self.coef0 = coef0
        self.shrinking = shrinking
        self.probability = probability
        self.tol = tol
        self.cache_size = cache_size
        self.class_weight = class_weight
        self.verbose = verbose
        self.max_iter = max_iter
        self.decision_function_shape = decision_function_shape
        self.break_ties = break_ties
        self.random_state = random_state
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings: Settings = {
            "C": float(self.C),
            "kernel": self.kernel,
            "gamma": self.gamma,
            "tolerance": float(self.tol),
            "class_weight": class_weight_setting(self.class_weight, given),
            "decision_function_shape": self.decision_function_shape,
            "break_ties": bool(self.break_ties),
            "standardize": False,
            **({} if self.max_iter == -1 else {"max_rounds": int(self.max_iter)}),
            "dtype": dtype_of(given),
            **({"degree": int(self.degree)} if self.kernel == "poly" else {}),
            **({"coef0": float(self.coef0)} if self.kernel in ("poly", "sigmoid") else {}),
        }
        model = self._train(KernelMachine, "kernel_svm", settings, given)
        self.classes_ = classes_of(model, given)
        self._take_machine(model)
        self._warn_unless_converged(model, "max_iter")

    def _take_machine(self, model: KernelMachine) -> None:
        two = len(self.classes_) == 2
        self.n_iter_ = np.array([model.metadata["rounds"]], dtype=np.int32)
        self.support_ = model.support_positions.astype(np.int32)
        self.support_vectors_ = model.support_vectors.copy()
        self.n_support_ = model.support_counts.astype(np.int32)
        self.dual_coef_ = np.ascontiguousarray(-model.coefficients.T if two else model.coefficients.T)
        self.intercept_ = -model.intercept if two else model.intercept.copy()

    @property
    def coef_(self) -> NDArray[Any]:
        """Weights of the columns, with the linear kernel of two classes: (1, d)."""
        if self.kernel != "linear" or len(self.classes_) != 2:
            raise AttributeError("coef_ is there for the linear kernel and two classes only")
        weights: NDArray[Any] = self.dual_coef_ @ self.support_vectors_
        return weights

    def decision_function(self, X: object) -> NDArray[Any]:
        """(n,) for two classes, above 0 for the second; for more (n, K), or (n, K (K - 1) / 2) one against one."""
        rows = self._checked(X)
        assert isinstance(self.model_, KernelMachine)
        return over_blocks(self.model_.decision_function, rows)

    def predict(self, X: object) -> NDArray[Any]:
        """The class that wins the votes of each row, (n,)."""
        rows = self._checked(X)
        return predicted_classes(self.model_, rows, self.classes_)

    def _twin_attributes(self) -> dict[str, Any]:
        """As the model fills them in: what SVC reads has names of its own."""
        learnt = vars(self.model_.to_sklearn())
        parameters = self.get_params(deep=False)
        own = {name: value for name, value in learnt.items() if name not in parameters}
        own.pop("feature_names_in_", None)
        names = {name: value for name, value in vars(self).items() if name == "feature_names_in_"}
        return {**own, **names, "classes_": self.classes_}
