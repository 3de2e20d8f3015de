"""Nearest neighbours of scikit-learn's names and parameters, found by a cluster; see ``gradloom.linear_model``.

Neighbours are exact, and of rows equally far the one that comes first is the nearer one. The model holds the rows and
answers in this process. Rows of files that take more than 64 MiB stay with the workers: then the job goes on to serve,
the estimator asks it, and ``job_.cancel()`` ends it.
"""

from gradloom.estimators.nearest import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

__all__ = ["KNeighborsClassifier", "KNeighborsRegressor", "NearestNeighbors"]
