"""The estimators: people import them from ``gradloom.linear_model`` and its neighbours.

An estimator turns its parameters into the name and the settings of an algorithm, has a cluster train it, and takes its
learnt attributes from the model: ``parameters`` refuses what is not supported, ``data`` checks what ``fit`` is given,
``clusters`` finds the cluster, ``estimator`` puts them together, and each family adds how it predicts.
"""

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401 - the newest part of it that is needed
except ImportError as error:
    raise ImportError(
        "gradloom's estimators need scikit-learn 1.6 or newer: pip install 'gradloom[sklearn]'"
    ) from error
