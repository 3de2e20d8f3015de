"""A network as a fitted scikit-learn estimator, for tools that know those. Imported only on demand."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.models.model import label_array, sklearn_module

if TYPE_CHECKING:
    from gradloom.models.network import Network

SHARED = ("activation", "alpha", "momentum", "beta1", "beta2", "epsilon")
NAMES = {"beta1": "beta_1", "beta2": "beta_2"}


def to_sklearn(model: "Network") -> Any:
    """A fitted MLPClassifier, or MLPRegressor for a regression, that predicts what ``model`` does.

    It carries coefs_, intercepts_, classes_, n_layers_, n_outputs_, out_activation_, n_iter_, t_, loss_,
    n_features_in_ and feature_names_in_; AdamW and schedules have no name there, so that its parameters speak of the
    nearest thing. Raises InvalidInput if scikit-learn is not installed.
    """
    network = sklearn_module("neural_network")
    kind = network.MLPRegressor if model.classes is None else network.MLPClassifier
    estimator = kind(**_parameters(model))
    layers = model.layers
    estimator.coefs_ = [layer.weights.copy() for layer in layers]
    estimator.intercepts_ = [layer.bias.copy() for layer in layers]
    estimator.n_layers_ = len(layers) + 1
    estimator.n_outputs_ = int(model.sizes[-1])
    estimator.n_iter_ = max(1, round(float(model.metadata.get("epochs") or 0.0)))
    estimator.t_ = int(estimator.n_iter_ * float(model.metadata.get("train_rows") or 0.0))
    estimator.loss_ = float(model.metadata.get("loss") or np.nan)
    estimator.n_features_in_ = len(model.features)
    estimator.feature_names_in_ = np.asarray(model.features, dtype=object)
    estimator.out_activation_ = "identity"
    if model.classes is not None:
        _add_classes(estimator, model)
    return estimator


def _add_classes(estimator: Any, model: "Network") -> None:
    assert model.classes is not None
    preprocessing = sklearn_module("preprocessing")
    estimator.classes_ = label_array(model.classes)
    estimator.out_activation_ = "logistic" if len(model.classes) == 2 else "softmax"
    estimator._label_binarizer = preprocessing.LabelBinarizer().fit(estimator.classes_)  # noqa: SLF001 - predict needs it


def _parameters(model: "Network") -> dict[str, Any]:
    settings = model.settings
    known = {NAMES.get(name, name): settings[name] for name in SHARED if name in settings}
    return {
        **known,
        "hidden_layer_sizes": tuple(model.sizes[1:-1].tolist()),
        "solver": "sgd" if settings.get("solver") == "sgd" else "adam",
        "learning_rate_init": settings.get("learning_rate", 0.001),
        "max_iter": settings.get("max_epochs", 200),
    }
