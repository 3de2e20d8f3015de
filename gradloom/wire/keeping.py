"""What a coordinator keeps of a job beyond its own life, as bytes and back: specification, manifest, schema, events,
and how it ended.

The bytes are protobuf messages: a later version reads what an earlier one wrote. All of these raise ValueError
for bytes that are cut short or mean nothing.
"""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from gradloom.data.manifest import Manifest
from gradloom.errors import WireError
from gradloom.jobs import JobEvent, JobView
from gradloom.schema import Schema
from gradloom.specs import JobSpec
from gradloom.v1 import data_pb2, job_pb2
from gradloom.wire.data import (
    manifest_from_proto,
    preparation_from_proto,
    preparation_to_proto,
    shard_from_proto,
    shard_to_proto,
    source_to_proto,
)
from gradloom.wire.jobs import (
    event_from_proto,
    event_to_proto,
    job_from_proto,
    job_spec_from_proto,
    job_spec_to_proto,
    job_to_proto,
)

M = TypeVar("M", bound=Message)


def spec_to_bytes(spec: JobSpec) -> bytes:
    """What a person asked for."""
    return job_spec_to_proto(spec).SerializeToString(deterministic=True)


def spec_from_bytes(data: bytes) -> JobSpec:
    """What a person asked for."""
    return job_spec_from_proto(_parsed(job_pb2.JobSpec(), data))


def manifest_to_bytes(manifest: Manifest) -> bytes:
    """All shards, and where their rows are."""
    message = data_pb2.Manifest(
        source=source_to_proto(manifest), shards=[shard_to_proto(plan) for plan in manifest.shards]
    )
    return message.SerializeToString()


def manifest_from_bytes(data: bytes) -> Manifest:
    """All shards, and where their rows are."""
    message = _parsed(data_pb2.Manifest(), data)
    return manifest_from_proto(message.source, map(shard_from_proto, message.shards))


def schema_to_bytes(schema: Schema) -> bytes:
    """What is known of the data."""
    message = data_pb2.Schema(
        features=schema.features,
        target=schema.target,
        train_rows=schema.train_rows,
        validation_rows=schema.validation_rows,
        test_rows=schema.test_rows,
        train_weight=schema.train_weight,
        preparation=preparation_to_proto(schema.preparation),
    )
    return message.SerializeToString()


def schema_from_bytes(data: bytes) -> Schema:
    """What is known of the data."""
    message = _parsed(data_pb2.Schema(), data)
    preparation = preparation_from_proto(message.preparation)
    return Schema(
        features=tuple(message.features),
        target=message.target,
        classes=preparation.classes,
        train_rows=message.train_rows,
        validation_rows=message.validation_rows,
        test_rows=message.test_rows,
        train_weight=message.train_weight,
        preparation=preparation,
    )


def event_to_bytes(event: JobEvent) -> bytes:
    """One thing that happened."""
    return event_to_proto(event).SerializeToString()


def event_from_bytes(data: bytes) -> JobEvent:
    """One thing that happened."""
    try:
        return event_from_proto(_parsed(job_pb2.JobEvent(), data))
    except WireError as error:
        raise ValueError(error.message) from error


def view_to_bytes(view: JobView) -> bytes:
    """A job as people see it."""
    return job_to_proto(view).SerializeToString(deterministic=True)


def view_from_bytes(data: bytes) -> JobView:
    """A job as people see it."""
    try:
        return job_from_proto(_parsed(job_pb2.Job(), data))
    except WireError as error:
        raise ValueError(error.message) from error


def _parsed(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{len(data)} bytes are no {type(message).__name__}: {error}") from error
    return message
