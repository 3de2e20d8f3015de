"""Manifest, split and preparation cross the wire without losing a bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.data.manifest import Columns, DataFile, Manifest, Piece, ShardPlan
from gradloom.data.preparation import Preparation, Split
from gradloom.errors import WireError
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom.v1 import data_pb2, worker_pb2
from gradloom.wire.data import (
    manifest_from_proto,
    preparation_from_proto,
    preparation_to_proto,
    shard_from_proto,
    shard_to_proto,
    source_to_proto,
    split_from_proto,
    split_to_proto,
)
from gradloom.wire.steps import failure_from_proto, failure_to_proto, step_from_proto, step_to_proto

counts = st.integers(0, 2**63)
words = st.text(max_size=8)
numbers = st.floats(allow_nan=False)
pieces = st.builds(Piece, st.integers(0, 2**32 - 1), counts, counts, counts, counts, counts)
plans = st.builds(
    ShardPlan, st.integers(0, 2**32 - 1), counts, counts, st.lists(pieces, max_size=3).map(tuple)
)
files = st.builds(DataFile, words, words, counts, counts, words)
columns = st.builds(
    Columns,
    st.lists(words, max_size=3).map(tuple),
    st.none() | words.filter(bool),
    st.none() | words.filter(bool),
)
manifests = st.builds(
    Manifest, st.lists(files, max_size=3).map(tuple), columns, st.lists(plans, max_size=3).map(tuple)
)
splits = st.builds(Split, st.integers(0, 2**63 - 1), numbers, numbers)
vectors = st.lists(numbers, max_size=3).map(tuple)
labels = (
    st.none()
    | st.lists(words, min_size=1, max_size=4, unique=True).map(tuple)
    | st.lists(numbers, min_size=1, max_size=4, unique=True).map(tuple)
)
preparations = st.builds(
    Preparation, splits, st.sampled_from(["float32", "float64"]), labels, vectors, vectors, vectors
)


@given(manifests)
def test_a_manifest_comes_back(manifest: Manifest) -> None:
    source = data_pb2.DataSource.FromString(source_to_proto(manifest).SerializeToString())
    shards = [
        data_pb2.ShardPlan.FromString(shard_to_proto(plan).SerializeToString()) for plan in manifest.shards
    ]
    assert manifest_from_proto(source, map(shard_from_proto, shards)) == manifest


@given(preparations)
def test_a_preparation_comes_back(preparation: Preparation) -> None:
    sent = preparation_to_proto(preparation).SerializeToString()
    assert preparation_from_proto(data_pb2.Preparation.FromString(sent)) == preparation


@given(splits)
def test_a_split_comes_back(split: Split) -> None:
    assert (
        split_from_proto(data_pb2.Preparation.FromString(split_to_proto(split).SerializeToString())) == split
    )


def test_classes_keep_their_kind() -> None:
    def classes_of(labels: tuple[str, ...] | tuple[float, ...]) -> object:
        preparation = Preparation(Split(), "float32", labels, (), (), ())
        return preparation_from_proto(preparation_to_proto(preparation)).classes

    assert classes_of(("1", "2")) == ("1", "2")
    assert classes_of((1.0, 2.5)) == (1.0, 2.5)


def test_every_step_and_every_reason_of_a_worker_comes_back() -> None:
    assert [step_from_proto(step_to_proto(step)) for step in Step] == list(Step)
    codes = set(worker_pb2.FailureReason.values()) - {0}
    assert {failure_to_proto(failure_from_proto(code)) for code in codes} == codes


def test_a_step_of_a_newer_coordinator_is_refused_by_its_number() -> None:
    with pytest.raises(WireError, match="step 99 is not known"):
        step_from_proto(99)  # type: ignore[arg-type]


def test_a_reason_of_a_newer_worker_counts_as_an_exception() -> None:
    assert failure_from_proto(99) is RetryReason.EXCEPTION  # type: ignore[arg-type]
