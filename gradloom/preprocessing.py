"""The standard scaler of scikit-learn's name and parameters, fitted by a cluster; see ``gradloom.linear_model``."""

from gradloom.estimators.scaling import StandardScaler

__all__ = ["StandardScaler"]
