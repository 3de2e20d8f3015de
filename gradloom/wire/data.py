"""Manifest and Preparation <-> protobuf."""

from collections.abc import Iterable

from gradloom.data.manifest import Columns, DataFile, Manifest, Piece, ShardPlan
from gradloom.data.preparation import Preparation, Split
from gradloom.data.shard import Labels
from gradloom.v1 import data_pb2


def source_to_proto(manifest: Manifest) -> data_pb2.DataSource:
    """Files and columns; shards are sent apart, to the workers that need them."""
    return data_pb2.DataSource(
        files=[
            data_pb2.DataFile(
                uri=file.uri,
                format=file.format,
                rows=file.rows,
                size_bytes=file.size_bytes,
                fingerprint=file.fingerprint,
            )
            for file in manifest.files
        ],
        features=manifest.columns.features,
        target=manifest.columns.target or "",
        weight=manifest.columns.weight or "",
    )


def manifest_from_proto(source: data_pb2.DataSource, shards: Iterable[ShardPlan]) -> Manifest:
    """A manifest of the shards that this side knows of."""
    files = tuple(DataFile(f.uri, f.format, f.rows, f.size_bytes, f.fingerprint) for f in source.files)
    columns = Columns(tuple(source.features), source.target or None, source.weight or None)
    return Manifest(files, columns, tuple(shards))


def shard_to_proto(plan: ShardPlan) -> data_pb2.ShardPlan:
    """One shard's place."""
    return data_pb2.ShardPlan(
        index=plan.index,
        first_row=plan.first_row,
        rows=plan.rows,
        pieces=[
            data_pb2.Piece(
                file=piece.file,
                row_start=piece.row_start,
                rows=piece.rows,
                byte_start=piece.byte_start,
                byte_stop=piece.byte_stop,
                skip_rows=piece.skip_rows,
            )
            for piece in plan.pieces
        ],
    )


def shard_from_proto(message: data_pb2.ShardPlan) -> ShardPlan:
    """One shard's place."""
    pieces = tuple(
        Piece(p.file, p.row_start, p.rows, p.byte_start, p.byte_stop, p.skip_rows) for p in message.pieces
    )
    return ShardPlan(message.index, message.first_row, message.rows, pieces)


def split_to_proto(split: Split) -> data_pb2.Preparation:
    """What the profile needs: how rows are dealt, nothing else."""
    return data_pb2.Preparation(
        seed=split.seed, validation_fraction=split.validation_fraction, test_fraction=split.test_fraction
    )


def split_from_proto(message: data_pb2.Preparation) -> Split:
    """How rows are dealt."""
    return Split(message.seed, message.validation_fraction, message.test_fraction)


def preparation_to_proto(preparation: Preparation) -> data_pb2.Preparation:
    """All that happens to a row before it is computed on."""
    message = split_to_proto(preparation.split)
    message.dtype = preparation.dtype
    message.center.extend(preparation.center)
    message.scale.extend(preparation.scale)
    message.class_weights.extend(preparation.class_weights)
    for label in preparation.classes or ():
        if isinstance(label, str):
            message.text_classes.labels.append(label)
        else:
            message.number_classes.labels.append(label)
    return message


def preparation_from_proto(message: data_pb2.Preparation) -> Preparation:
    """All that happens to a row before it is computed on."""
    return Preparation(
        split=split_from_proto(message),
        dtype=message.dtype,
        classes=_labels(message),
        center=tuple(message.center),
        scale=tuple(message.scale),
        class_weights=tuple(message.class_weights),
    )


def _labels(message: data_pb2.Preparation) -> Labels | None:
    match message.WhichOneof("classes"):
        case "text_classes":
            return tuple(message.text_classes.labels)
        case "number_classes":
            return tuple(message.number_classes.labels)
        case _:
            return None
