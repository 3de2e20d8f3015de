"""Questions and answers on the wire: what comes back is what was sent, whoever has written it."""

import numpy as np
import pytest

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
from gradloom.wire.queries import (
    answer_from_proto,
    answer_to_proto,
    matrix_from_proto,
    question_from_proto,
    question_to_proto,
)

X = np.array([[1.5, -2.0, 0.1], [4.0, 5.0, 1e300]])
ANSWERS: list[Answer] = [
    Predictions(np.array([1.5, -2.0])),
    Predictions(np.array([3, 1, 2])),
    Predictions(np.array(["malignant", "ärztlich"])),
    Probabilities(np.array([[0.25, 0.75], [1.0, 0.0]])),
    Neighbours(np.array([[0.0, 1.5], [0.5, np.inf]]), np.array([[2**40, 7], [3, -1]])),
    NeighboursWithin(np.array([0, 2, 1]), np.array([0.1, 0.2, 0.3]), np.array([5, 6, 7])),
    NeighboursWithin(np.array([0, 0]), np.zeros(0), np.zeros(0, dtype=np.int64)),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_answers(answer: Answer) -> None:
    sent = job_service_pb2.QueryResponse.FromString(answer_to_proto(answer).SerializeToString())
    back = answer_from_proto(sent)
    assert type(back) is type(answer)
    for field in answer.__slots__:
        ours, theirs = getattr(answer, field), getattr(back, field)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "question",
    [Question(), Question(Ask.NEIGHBORS, 7), Question(Ask.WITHIN, radius=0.0), Question(Ask.PROBABILITIES)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_questions(question: Question, dtype: type) -> None:
    with np.errstate(over="ignore"):
        rows = X.astype(dtype)
    request = question_to_proto("job", question, rows)
    sent = job_service_pb2.QueryRequest.FromString(request.SerializeToString())
    back, found = question_from_proto(sent)
    assert (sent.job_id, back) == ("job", question)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, rows.astype(np.float64))


def test_a_client_of_another_language_may_send_plain_numbers() -> None:
    rows = query_pb2.Matrix(rows=2, columns=3, numbers=X.ravel().tolist())
    question, found = question_from_proto(job_service_pb2.QueryRequest(job_id="job", rows=rows))
    assert question == Question()
    np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (
            "rows: 3 numbers are not 2 rows of 3 columns",
            {"rows": {"rows": 2, "columns": 3, "numbers": [1, 2, 3]}},
        ),
        (
            "rows: 7 bytes are no whole number of float64",
            {"rows": {"rows": 1, "columns": 1, "values": b"1234567"}},
        ),
        ("ask: 99 is not known", {"ask": 99}),
    ],
)
def test_what_is_no_table_or_no_question_is_refused(words: str, request_: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=words):
        question_from_proto(job_service_pb2.QueryRequest(**request_))  # type: ignore[arg-type]


def test_bytes_without_a_type_are_float64() -> None:
    rows = query_pb2.Matrix(rows=1, columns=3, dtype=tensor_pb2.DTYPE_UNSPECIFIED, values=X[0].tobytes())
    np.testing.assert_array_equal(question_from_proto(job_service_pb2.QueryRequest(rows=rows))[1], X[:1])


@pytest.mark.parametrize(("rows", "columns"), [(0, 2**63 - 1), (2**63 - 1, 0), (3, 1)])
def test_a_table_of_impossible_size_is_refused(rows: int, columns: int) -> None:
    with pytest.raises(InvalidInput, match=f"{rows} rows of {columns} columns"):
        matrix_from_proto("rows", query_pb2.Matrix(rows=rows, columns=columns))


def test_neighbours_without_as_many_distances_are_refused() -> None:
    response = job_service_pb2.QueryResponse()
    response.neighbors.ids.extend([1, 2, 3])
    response.neighbors.distances.rows, response.neighbors.distances.columns = 1, 2
    response.neighbors.distances.numbers.extend([0.5, 1.0])
    with pytest.raises(WireError, match="3 ids are not those of 2 distances"):
        answer_from_proto(response)
