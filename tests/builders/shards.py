"""Shards as workers read them."""

from gradloom.data.manifest import Manifest
from gradloom.data.reading import read_rows
from gradloom.data.shard import RawShard


def read_shard(manifest: Manifest, index: int) -> RawShard:
    return read_rows(manifest.files, manifest.columns, manifest.shards[index])
