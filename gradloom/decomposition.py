"""Principal components of scikit-learn's name and parameters, found by a cluster; see ``gradloom.linear_model``."""

from gradloom.estimators.components import PCA

__all__ = ["PCA"]
