"""Every algorithm that gradloom trains, by name. Adding one is a file and one ``register`` line here."""

from gradloom.algorithms.gaussian_nb import GaussianNaiveBayes
from gradloom.algorithms.kernel_svm import KernelSvm
from gradloom.algorithms.kernel_svm_settings import KernelSvmSettings
from gradloom.algorithms.kmeans import KMeans
from gradloom.algorithms.kmeans_settings import KMeansSettings
from gradloom.algorithms.knn import KNearest
from gradloom.algorithms.knn_settings import KnnSettings, NeighborsSettings
from gradloom.algorithms.linear import LinearModel
from gradloom.algorithms.linear_settings import (
    ClassifierSettings,
    HuberSettings,
    LinearSettings,
    LinearSvmSettings,
    PoissonSettings,
)
from gradloom.algorithms.mlp import Mlp
from gradloom.algorithms.mlp_settings import MlpClassifierSettings, MlpRegressorSettings
from gradloom.algorithms.multinomial_nb import MultinomialNaiveBayes
from gradloom.algorithms.naive_bayes_settings import GaussianSettings, MultinomialSettings
from gradloom.algorithms.pca import Pca
from gradloom.algorithms.pca_settings import PcaSettings
from gradloom.algorithms.registry import build, describe, names, register, versions
from gradloom.algorithms.statistics import ColumnStatistics, StatisticsSettings
from gradloom.objectives import HINGE, LOGISTIC, MULTINOMIAL, POISSON, SQUARED, SQUARED_HINGE, huber

__all__ = ["build", "describe", "names", "register", "versions"]

register(
    "linear",
    version=2,
    summary="linear least squares with L1 and L2 penalties (ridge, lasso, elastic net)",
    settings=LinearSettings,
    make=lambda settings: LinearModel("linear", 2, "regression", SQUARED, settings),
)
register(
    "huber",
    version=1,
    summary="linear regression that outliers hardly move (Huber's loss)",
    settings=HuberSettings,
    make=lambda settings: LinearModel(
        "huber", 1, "regression", huber(settings.epsilon, learn_scale=settings.learn_scale), settings
    ),
)
register(
    "poisson",
    version=1,
    summary="regression on counts, with the logarithm as its link",
    settings=PoissonSettings,
    make=lambda settings: LinearModel("poisson", 1, "regression", POISSON, settings),
)
register(
    "logistic",
    version=2,
    summary="logistic regression for two classes",
    settings=ClassifierSettings,
    make=lambda settings: LinearModel("logistic", 2, "binary", LOGISTIC, settings),
)
register(
    "multinomial",
    version=2,
    summary="softmax regression for any number of classes",
    settings=ClassifierSettings,
    make=lambda settings: LinearModel("multinomial", 2, "multiclass", MULTINOMIAL, settings),
)
register(
    "linear_svm",
    version=1,
    summary="linear support vector machine for two or more classes (LinearSVC)",
    settings=LinearSvmSettings,
    make=lambda settings: LinearModel(
        "linear_svm",
        1,
        "multiclass",
        SQUARED_HINGE if settings.loss == "squared_hinge" else HINGE,
        settings,
        one_versus_rest=True,
    ),
)
register(
    "kernel_svm",
    version=1,
    summary="support vector machine with a kernel, for two or more classes (SVC)",
    settings=KernelSvmSettings,
    make=KernelSvm,
)
register(
    "mlp_classifier",
    version=1,
    summary="multi-layer perceptron for two or more classes",
    settings=MlpClassifierSettings,
    make=lambda settings: Mlp("mlp_classifier", 1, "multiclass", settings),
)
register(
    "mlp_regressor",
    version=1,
    summary="multi-layer perceptron for a number",
    settings=MlpRegressorSettings,
    make=lambda settings: Mlp("mlp_regressor", 1, "regression", settings),
)
register(
    "kmeans",
    version=1,
    summary="K-means clusters: Lloyd's iteration or mini-batches, from k-means||, k-means++ or given centers",
    settings=KMeansSettings,
    make=KMeans,
)
register(
    "knn_classifier",
    version=1,
    summary="k nearest neighbours that vote for a class",
    settings=KnnSettings,
    make=lambda settings: KNearest("knn_classifier", 1, "multiclass", settings),
)
register(
    "knn_regressor",
    version=1,
    summary="the mean of the k nearest neighbours",
    settings=KnnSettings,
    make=lambda settings: KNearest("knn_regressor", 1, "regression", settings),
)
register(
    "neighbors",
    version=1,
    summary="the nearest rows of any row, exact or approximate",
    settings=NeighborsSettings,
    make=lambda settings: KNearest("neighbors", 1, "unsupervised", settings),
)
register(
    "pca",
    version=1,
    summary="principal component analysis, exact or by random directions",
    settings=PcaSettings,
    make=Pca,
)
register(
    "gaussian_nb",
    version=1,
    summary="naive Bayes with normally distributed columns, for two or more classes",
    settings=GaussianSettings,
    make=GaussianNaiveBayes,
)
register(
    "multinomial_nb",
    version=1,
    summary="naive Bayes on counts, for two or more classes",
    settings=MultinomialSettings,
    make=MultinomialNaiveBayes,
)
register(
    "statistics",
    version=1,
    summary="count, missing cells, mean, variance, smallest and largest value of every column",
    settings=StatisticsSettings,
    make=ColumnStatistics,
)
