"""Support vector machines of scikit-learn's names and parameters; see ``gradloom.linear_model`` for the rest."""

from gradloom.estimators.vector_machines import SVC, LinearSVC

__all__ = ["SVC", "LinearSVC"]
