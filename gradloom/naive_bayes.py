"""Naive Bayes of scikit-learn's names and parameters, trained on a cluster; see ``gradloom.linear_model``."""

from gradloom.estimators.naive_bayes import GaussianNB, MultinomialNB

__all__ = ["GaussianNB", "MultinomialNB"]
