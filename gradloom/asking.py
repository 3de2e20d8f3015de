"""Asks a job about rows, a tile at a time: what ``Job.query`` does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.connection import Connection
from gradloom.errors import InvalidInput
from gradloom.nearest.answers import MAX_LISTED, Answer, Ask, Question, joined_answers
from gradloom.wire.queries import answer_from_proto, question_to_proto

ROWS_AT_ONCE = 1024
"""Of one call: what one round of answers takes on."""
ROWS_AT_ONCE_WITHIN = 64


def ask(connection: Connection, job_id: str, question: Question, X: object) -> Answer:
    """The job's answer for the rows X (n, d); each call of at most a tile of rows has the client's ``timeout_s``."""
    rows = _table(X)
    step = ROWS_AT_ONCE_WITHIN if question.ask is Ask.WITHIN else ROWS_AT_ONCE
    step = max(1, min(step, MAX_LISTED // max(1, question.neighbors)))
    parts = []
    for start in range(0, max(1, len(rows)), step):
        request = question_to_proto(job_id, question, rows[start : start + step])
        parts.append(answer_from_proto(connection.call(connection.jobs.Query, request)))
    return joined_answers(parts)


def _table(X: object) -> NDArray[Any]:
    try:
        rows = np.asarray(X)
        rows = rows if rows.dtype == np.float32 else rows.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput("X", f"is not a table of numbers: {error}") from error
    if rows.ndim != 2:
        raise InvalidInput("X", f"has the shape {rows.shape}; a table of rows and columns is needed")
    return rows
