"""Shards in memory: read once, bounded, and never twice in two forms."""

from pathlib import Path

import numpy as np
import pytest

from builders.averaging import manifest_of, write_rows
from gradloom.data.manifest import Manifest
from gradloom.data.preparation import Preparation, Split
from gradloom.errors import ShardChanged
from gradloom.nearest.searching import Search
from gradloom_worker.shards import RAW, ShardStore

HOW = Preparation(Split(), "float32", None, (), (), ())
PLENTY = 1 << 20


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Four shards of 100 rows."""
    return manifest_of(write_rows(tmp_path, [float(i) for i in range(400)]), 4)


def test_a_shard_is_read_once(manifest: Manifest) -> None:
    store = ShardStore(PLENTY)
    first = store.raw("data", manifest, manifest.shards[1])
    assert store.raw("data", manifest, manifest.shards[1]) is first
    assert (store.hits, store.misses) == (1, 1)
    np.testing.assert_array_equal(first.X[:, 0], np.arange(100.0, 200.0))


def test_asking_what_is_there_is_no_use_of_it(manifest: Manifest) -> None:
    store = ShardStore(PLENTY)
    assert not store.holds("data", RAW, 0)
    store.raw("data", manifest, manifest.shards[0])
    assert store.holds("data", RAW, 0)
    assert not store.holds("data", "how", 0), "it is not prepared yet"
    store.prepared("data", "how", manifest, manifest.shards[0], HOW)
    assert store.holds("data", "how", 0)
    assert not store.holds("data", RAW, 0)
    assert (store.hits, store.misses) == (0, 2)


def test_raw_rows_are_forgotten_once_they_are_prepared(manifest: Manifest) -> None:
    store = ShardStore(PLENTY)
    raw = store.raw("data", manifest, manifest.shards[0])
    raw_bytes = store.nbytes
    assert raw.y is not None
    assert raw_bytes == raw.X.nbytes + raw.y.nbytes
    shard = store.prepared("data", "how", manifest, manifest.shards[0], HOW)
    assert store.nbytes == shard.nbytes < raw_bytes + shard.nbytes
    assert store.prepared("data", "how", manifest, manifest.shards[0], HOW) is shard


def test_preparing_does_not_read_a_file_that_is_in_memory(manifest: Manifest) -> None:
    store = ShardStore(PLENTY)
    store.raw("data", manifest, manifest.shards[0])
    Path(manifest.files[0].uri.removeprefix("file://")).unlink()
    assert len(store.prepared("data", "how", manifest, manifest.shards[0], HOW).train) == 100


def test_another_source_or_preparation_is_another_shard(manifest: Manifest) -> None:
    store = ShardStore(PLENTY)
    shards = [
        store.prepared(source, how, manifest, manifest.shards[0], HOW)
        for source, how in [("data", "how"), ("data", "other"), ("other", "how")]
    ]
    assert len({id(shard) for shard in shards}) == 3
    assert store.nbytes == sum(shard.nbytes for shard in shards)


def test_the_least_recently_used_go_first(manifest: Manifest) -> None:
    store = ShardStore(PLENTY)
    one = store.prepared("data", "how", manifest, manifest.shards[0], HOW)
    store = ShardStore(3 * one.nbytes)
    for index in (0, 1, 2, 0, 3):
        store.prepared("data", "how", manifest, manifest.shards[index], HOW)
    assert store.nbytes == 3 * one.nbytes
    misses = store.misses
    for index in (0, 2, 3):
        store.prepared("data", "how", manifest, manifest.shards[index], HOW)
    assert store.misses == misses, "1 was the one to go"
    store.prepared("data", "how", manifest, manifest.shards[1], HOW)
    assert store.misses == misses + 1


def test_a_shard_beyond_the_limit_is_kept_alone(manifest: Manifest) -> None:
    store = ShardStore(1)
    for index in (0, 1, 2):
        shard = store.prepared("data", "how", manifest, manifest.shards[index], HOW)
        assert store.nbytes == shard.nbytes
    assert store.prepared("data", "how", manifest, manifest.shards[2], HOW) is shard


def test_a_file_that_changed_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    write_rows(tmp_path, [0.0] * 400)
    with pytest.raises(ShardChanged, match=r"data\.csv"):
        ShardStore(PLENTY).raw("data", manifest, manifest.shards[0])


def test_what_a_search_makes_of_the_rows_counts_and_goes_with_them(manifest: Manifest) -> None:
    store, search = ShardStore(PLENTY), Search("euclidean", "ivf", 4, 1, np.zeros(1))
    shards = [store.prepared("data", "how", manifest, plan, HOW) for plan in manifest.shards[:2]]
    bare = store.nbytes
    search.make_ready(shards[1].train, 1)
    assert store.prepared("data", "how", manifest, manifest.shards[0], HOW) is shards[0]
    copies = 2 * 100 * (1 + 1) * 4  # the rows with their squares: in their order, and list by list
    assert store.nbytes > bare + copies
    assert store.evictions == 0
    small = ShardStore(bare + copies)
    one = small.prepared("data", "how", manifest, manifest.shards[0], HOW)
    search.make_ready(one.train, 0)
    small.prepared("data", "how", manifest, manifest.shards[1], HOW)
    assert small.evictions == 1
    assert small.nbytes == shards[1].nbytes
