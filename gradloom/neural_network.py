"""Neural networks of scikit-learn's names and parameters, trained on a cluster; see ``gradloom.linear_model``."""

from gradloom.estimators.networks import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
