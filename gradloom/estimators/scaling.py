"""The standard scaler."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.sparsefuncs import inplace_column_scale
from sklearn.utils.validation import check_array, check_is_fitted

from gradloom.errors import InvalidParameter
from gradloom.estimators.data import FLOATS, Given
from gradloom.estimators.estimator import ClusterEstimator
from gradloom.estimators.parameters import Rule, truth
from gradloom.models import Statistics


class StandardScaler(OneToOneFeatureMixin, TransformerMixin, ClusterEstimator):
    """(x - mean) / deviation of every column; a missing cell (NaN) is left out, and stays missing.

    Attributes: mean_, var_, scale_ (d,), n_samples_seen_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "preprocessing.StandardScaler"
    _missing = True
    _rules: ClassVar[Mapping[str, Rule]] = {"copy": truth(), "with_mean": truth(), "with_std": truth()}

    def __init__(
        self, *, copy: bool = True, with_mean: bool = True, with_std: bool = True, cluster: object = None
    ) -> None:
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        self._refuse_centering(getattr(given, "X", None))
        model = self._train(Statistics, "statistics", {}, given)
        alike = bool((model.weight == model.weight[0]).all())
        seen = model.weight[0] if alike else model.weight.copy()
        self.n_samples_seen_ = int(seen) if alike and float(seen).is_integer() else seen
        self.mean_ = model.mean.copy() if self.with_mean or self.with_std else None
        self.var_ = model.variance.copy() if self.with_std else None
        self.scale_ = model.scale if self.with_std else None

    def transform(self, X: object, copy: bool | None = None) -> Any:
        """The rows on the common scale, (n, d). ``copy`` may be anything: X is never changed."""
        del copy
        rows = self._checked(X)
        self._refuse_centering(rows)
        if issparse(rows):
            scaled = rows.copy()
            if self.scale_ is not None:
                inplace_column_scale(scaled, 1.0 / self.scale_)
            return scaled
        values = rows - self.mean_ if self.with_mean else rows.copy()
        if self.scale_ is not None:
            values /= self.scale_
        return values.astype(rows.dtype)

    def inverse_transform(self, X: object, copy: bool | None = None) -> Any:
        """The rows in their own units again, (n, d)."""
        del copy
        check_is_fitted(self)
        rows = check_array(X, accept_sparse="csr", dtype=FLOATS, ensure_all_finite="allow-nan", copy=True)
        self._refuse_centering(rows)
        if rows.shape[1] != self.n_features_in_:
            raise InvalidParameter(
                "X", f"has {rows.shape[1]} columns, where {self.n_features_in_} were fitted"
            )
        if issparse(rows):
            if self.scale_ is not None:
                inplace_column_scale(rows, self.scale_)
            return rows
        values: NDArray[Any] = rows if self.scale_ is None else rows * self.scale_
        return (values + self.mean_ if self.with_mean else values).astype(rows.dtype)

    def _refuse_centering(self, rows: Any) -> None:
        if issparse(rows) and self.with_mean:
            raise InvalidParameter(
                "with_mean", "Cannot center sparse matrices: pass `with_mean=False` instead"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.with_mean
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _twin_attributes(self) -> dict[str, Any]:
        seen = self.n_samples_seen_
        return {**super()._twin_attributes(), "n_samples_seen_": np.asarray(seen)[()]}
