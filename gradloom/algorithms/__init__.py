"""Every algorithm that gradloom trains, by name. Adding one is a file and one ``register`` line here."""

from gradloom.algorithms.linear import LinearModel
from gradloom.algorithms.linear_settings import ClassifierSettings, LinearSettings
from gradloom.algorithms.registry import build, describe, names, register, versions
from gradloom.objectives import LOGISTIC, MULTINOMIAL, SQUARED

__all__ = ["build", "describe", "names", "register", "versions"]

register(
    "linear",
    version=1,
    summary="linear least squares with an L2 penalty (ridge)",
    settings=LinearSettings,
    make=lambda settings: LinearModel("linear", 1, "regression", SQUARED, settings),
)
register(
    "logistic",
    version=1,
    summary="logistic regression for two classes",
    settings=ClassifierSettings,
    make=lambda settings: LinearModel("logistic", 1, "binary", LOGISTIC, settings),
)
register(
    "multinomial",
    version=1,
    summary="softmax regression for any number of classes",
    settings=ClassifierSettings,
    make=lambda settings: LinearModel("multinomial", 1, "multiclass", MULTINOMIAL, settings),
)
