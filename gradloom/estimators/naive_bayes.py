"""Naive Bayes, Gaussian and multinomial."""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_non_negative

from gradloom.algorithms.multinomial_nb import LEAST_ALPHA
from gradloom.estimators.asking import over_blocks, predicted_classes
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.estimators.linear import classes_of
from gradloom.estimators.parameters import Rule, number, truth
from gradloom.models import NaiveBayes
from gradloom.models.naive_bayes import log_likelihoods

PRIORS = Rule(
    lambda given: (
        given is None or (np.ndim(given) == 1 and np.isfinite(np.asarray(given, dtype=float)).all())
    ),
    "it must be None, or one probability a class",
)


class _NaiveBayesBase(ClassifierMixin, ClusterEstimator):
    """What both have in common: probabilities of classes from the likelihood of each."""

    _target = "class"

    def _train_bayes(self, algorithm: str, settings: Settings, priors: Any, given: Given) -> NaiveBayes:
        text = "" if priors is None else ",".join(repr(float(p)) for p in priors)
        model = self._train(NaiveBayes, algorithm, {**settings, "priors": text}, given)
        self.classes_ = classes_of(model, given)
        self.class_count_ = model.class_weights.copy()
        return model

    def predict_joint_log_proba(self, X: object) -> NDArray[Any]:
        """ln P(class) + ln P(row | class), up to what no class changes; (n, K)."""
        rows = self._checked(X)
        arrays = self.model_.arrays
        return over_blocks(lambda block: log_likelihoods(block, arrays), rows)

    def predict_log_proba(self, X: object) -> NDArray[Any]:
        """Logarithm of predict_proba, (n, K)."""
        rows = self._checked(X)
        return over_blocks(self.model_.predict_log_proba, rows)  # type: ignore[attr-defined]

    def predict_proba(self, X: object) -> NDArray[Any]:
        """Probability of each class in the order of classes_, (n, K)."""
        rows = self._checked(X)
        return over_blocks(self.model_.predict_proba, rows)

    def predict(self, X: object) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        rows = self._checked(X)
        return predicted_classes(self.model_, rows, self.classes_)


class GaussianNB(_NaiveBayesBase):
    """Naive Bayes with columns that are normally distributed within a class.

    Attributes: classes_ (K,), class_prior_, class_count_ (K,), theta_ and var_ (K, d), epsilon_, n_features_in_,
    feature_names_in_, model_, job_id_.
    """

    _twin = "naive_bayes.GaussianNB"
    _rules: ClassVar[Mapping[str, Rule]] = {"priors": PRIORS, "var_smoothing": number(least=0)}

    def __init__(self, *, priors: object = None, var_smoothing: float = 1e-9, cluster: object = None) -> None:
        self.priors = priors
        self.var_smoothing = var_smoothing
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings: Settings = {"var_smoothing": float(self.var_smoothing)}
        model = self._train_bayes("gaussian_nb", settings, self.priors, given)
        assert model.means is not None
        assert model.variances is not None
        self.theta_, self.var_ = model.means.copy(), model.variances.copy()
        self.class_prior_ = np.exp(model.log_priors)
        self.epsilon_ = float(str(model.metadata["epsilon"]))


class MultinomialNB(_NaiveBayesBase):
    """Naive Bayes with columns that are counts; alpha is added to each of them.

    Less than 1e-10 counts as that, whatever force_alpha says: the logarithm of 0 is of no use.

    Attributes: classes_ (K,), class_count_, class_log_prior_ (K,), feature_count_ and feature_log_prob_ (K, d),
    n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "naive_bayes.MultinomialNB"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "alpha": number(least=0),
        "force_alpha": truth(),
        "fit_prior": truth(),
        "class_prior": PRIORS,
    }

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: object = None,
        cluster: object = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        if isinstance(given, InMemory):
            check_non_negative(given.X, "MultinomialNB (input X)")
        if self.alpha < LEAST_ALPHA:
            warnings.warn(
                f"alpha too small will result in numeric errors, setting alpha = {LEAST_ALPHA:.1e}",
                stacklevel=3,
            )
        learn = bool(self.fit_prior) or self.class_prior is not None
        settings: Settings = {"alpha": float(self.alpha), "fit_prior": learn}
        model = self._train_bayes("multinomial_nb", settings, self.class_prior, given)
        assert model.log_probabilities is not None
        assert model.counts is not None
        self.feature_count_ = model.counts.copy()
        self.feature_log_prob_ = model.log_probabilities.copy()
        self.class_log_prior_ = model.log_priors.copy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.classifier_tags.poor_score = True  # on the numbers of scikit-learn's checks, which are no counts
        return tags
