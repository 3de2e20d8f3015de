"""K-means of scikit-learn's names and parameters, trained on a cluster; see ``gradloom.linear_model`` for the rest."""

from gradloom.estimators.kmeans import KMeans, MiniBatchKMeans

__all__ = ["KMeans", "MiniBatchKMeans"]
