"""What a model answers to a question about some rows: the same words as a job that serves uses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.models import Model, Neighbors
from gradloom.nearest.answers import Answer, Ask, Predictions, Probabilities, Question


def answer_of(model: Model, question: Question, X: NDArray[Any]) -> Answer:
    """The model's answer for rows X (n, d) on raw columns. Raises InvalidInput for what it can't answer."""
    if isinstance(model, Neighbors):
        return model.answer(question, X)
    match question.ask:
        case Ask.PREDICTIONS:
            return Predictions(np.asarray(model.predict(X)))
        case Ask.PROBABILITIES:
            return Probabilities(model.predict_proba(X))
        case Ask.NEIGHBORS | Ask.WITHIN:
            raise InvalidInput(
                "ask", f"a model of kind {model.kind!r} knows no neighbours: ask for predictions"
            )
