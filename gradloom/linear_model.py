"""Linear models of scikit-learn's names and parameters, trained on a cluster.

``cluster`` is a ``host:port``, a Client, a LocalCluster, or None for one on this machine that all estimators of the
process share. ``fit`` takes arrays, data frames and sparse matrices; or files that the workers read:
``fit("s3://bucket/*.parquet", target="income")``, with ``weight=`` and ``features=`` if need be. An estimator that is
fitted predicts in this process, and ``to_sklearn`` makes scikit-learn's own of it. What is not supported is refused.
"""

from gradloom.estimators.least_squares import ElasticNet, Lasso, LinearRegression, Ridge
from gradloom.estimators.other_losses import HuberRegressor, LogisticRegression, PoissonRegressor
from gradloom.estimators.stochastic import SGDClassifier, SGDRegressor

__all__ = [
    "ElasticNet", "HuberRegressor", "Lasso", "LinearRegression", "LogisticRegression", "PoissonRegressor", "Ridge",
    "SGDClassifier", "SGDRegressor",
]  # fmt: skip
