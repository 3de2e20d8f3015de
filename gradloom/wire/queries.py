"""Questions about rows, and their answers <-> protobuf. Plain messages, for clients in any language."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput, WireError
from gradloom.nearest.answers import (
    Answer,
    Ask,
    Neighbours,
    NeighboursWithin,
    Predictions,
    Probabilities,
    Question,
)
from gradloom.v1 import job_service_pb2, query_pb2, tensor_pb2

Floats = NDArray[np.float64]

_ASKS = {ask: query_pb2.Ask.Value(f"ASK_{ask.name}") for ask in Ask}
_ASKS_BACK = {query_pb2.ASK_UNSPECIFIED: Ask.PREDICTIONS, **{number: ask for ask, number in _ASKS.items()}}
_DTYPES = {tensor_pb2.DTYPE_FLOAT32: "<f4", tensor_pb2.DTYPE_FLOAT64: "<f8"}


def question_to_proto(job_id: str, question: Question, X: NDArray[Any]) -> job_service_pb2.QueryRequest:
    """What is asked about rows X (n, d), float32 or float64."""
    return job_service_pb2.QueryRequest(
        job_id=job_id,
        rows=matrix_to_proto(X),
        ask=_ASKS[question.ask],
        neighbors=question.neighbors,
        radius=question.radius,
    )


def question_from_proto(request: job_service_pb2.QueryRequest) -> tuple[Question, Floats]:
    """The question and its rows (n, d). Raises InvalidInput for what is no table, or an unknown question."""
    if request.ask not in _ASKS_BACK:
        raise InvalidInput("ask", f"{request.ask} is not known; this coordinator answers: {', '.join(Ask)}")
    radius = request.radius if request.HasField("radius") else None
    return Question(_ASKS_BACK[request.ask], request.neighbors, radius), matrix_from_proto(
        "rows", request.rows
    )


def matrix_to_proto(X: NDArray[Any]) -> query_pb2.Matrix:
    """A table (n, d) as raw bytes."""
    single = X.dtype == np.float32
    dtype = tensor_pb2.DTYPE_FLOAT32 if single else tensor_pb2.DTYPE_FLOAT64
    values = np.ascontiguousarray(X, dtype="<f4" if single else "<f8").tobytes()
    return query_pb2.Matrix(rows=X.shape[0], columns=X.shape[1], dtype=dtype, values=values)


def matrix_from_proto(field: str, message: query_pb2.Matrix) -> Floats:
    """A table (n, d) as float64. Raises InvalidInput if its numbers are not as many as it says."""
    if message.numbers:
        numbers = np.asarray(message.numbers, dtype=np.float64)
    else:
        dtype = np.dtype(_DTYPES.get(message.dtype, "<f8"))
        if len(message.values) % dtype.itemsize:
            raise InvalidInput(field, f"{len(message.values)} bytes are no whole number of {dtype.name}")
        numbers = np.frombuffer(message.values, dtype=dtype).astype(np.float64)
    if message.rows * message.columns != len(numbers):
        raise InvalidInput(
            field, f"{len(numbers)} numbers are not {message.rows} rows of {message.columns} columns"
        )
    try:
        return numbers.reshape(message.rows, message.columns)
    except ValueError as error:  # no numbers, and more of them in a row than an array can count
        raise InvalidInput(field, f"{message.rows} rows of {message.columns} columns: {error}") from None


def answer_to_proto(answer: Answer) -> job_service_pb2.QueryResponse:
    """An answer."""
    match answer:
        case Predictions(values):
            return job_service_pb2.QueryResponse(predictions=_predictions_to_proto(values))
        case Probabilities(values):
            return job_service_pb2.QueryResponse(probabilities=matrix_to_proto(values))
        case Neighbours(distances, ids):
            found = query_pb2.NearestRows(distances=matrix_to_proto(distances), ids=ids.ravel())
            return job_service_pb2.QueryResponse(neighbors=found)
        case NeighboursWithin(counts, distances, ids):
            within = query_pb2.RowsWithin(counts=counts, distances=distances, ids=ids)
            return job_service_pb2.QueryResponse(within=within)


def answer_from_proto(response: job_service_pb2.QueryResponse) -> Answer:
    """An answer. Raises InvalidInput or WireError for one that can't be one."""
    match response.WhichOneof("answer"):
        case "probabilities":
            return Probabilities(matrix_from_proto("probabilities", response.probabilities))
        case "neighbors":
            distances = matrix_from_proto("distances", response.neighbors.distances)
            ids = np.asarray(response.neighbors.ids, dtype=np.int64)
            if ids.size != distances.size:
                raise WireError(f"{ids.size} ids are not those of {distances.size} distances")
            return Neighbours(distances, ids.reshape(distances.shape))
        case "within":
            found = response.within
            return NeighboursWithin(
                np.asarray(found.counts, dtype=np.int64),
                np.asarray(found.distances, dtype=np.float64),
                np.asarray(found.ids, dtype=np.int64),
            )
        case _:
            return Predictions(_predictions_from_proto(response.predictions))


def _predictions_to_proto(values: NDArray[Any]) -> query_pb2.Predictions:
    if values.dtype.kind in "UO":
        return query_pb2.Predictions(labels=[str(value) for value in values.tolist()])
    return query_pb2.Predictions(numbers=values.astype(np.float64), whole=values.dtype.kind in "iub")


def _predictions_from_proto(message: query_pb2.Predictions) -> NDArray[Any]:
    if message.labels:
        return np.asarray(message.labels, dtype=np.str_)
    numbers = np.asarray(message.numbers, dtype=np.float64)
    return numbers.astype(np.int64) if message.whole else numbers
