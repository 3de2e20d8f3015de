"""Which big partials may come: as many as memory has room for, the lowest shards first, and always at least one."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gradloom_coordinator.scheduling.admission import Admission, Offer


@dataclass
class Sums:
    """What is offered, and what the sums hold; bytes are whole partials of 10."""

    admission: Admission
    held_bytes: int = 0
    wanted: set[tuple[str, int]] = field(default_factory=set)

    def offer(self, *shards: int) -> None:
        for shard in shards:
            self.wanted.add(("w", shard))
            self.admission.offer(Offer(shard, "w", shard, 10))

    def admit(self) -> list[int]:
        return [offer.first_shard for offer in self.admission.admit(lambda: self.held_bytes, self.is_wanted)]

    def is_wanted(self, worker: str, transfer_id: int) -> bool:
        return (worker, transfer_id) in self.wanted

    def arrive(self, shard: int) -> None:
        self.wanted.discard(("w", shard))
        self.admission.ended("w", shard)


def test_offers_wait_once_memory_is_full_and_come_by_their_shards() -> None:
    sums = Sums(Admission(20))
    sums.offer(7, 3, 5, 1)
    assert sums.admit() == [1, 3]
    assert sums.admit() == []
    sums.arrive(3)
    assert sums.admit() == [5]


def test_what_waits_for_its_sibling_takes_room_too() -> None:
    sums = Sums(Admission(30), held_bytes=15)
    sums.offer(1, 2, 3)
    assert sums.admit() == [1]
    sums.held_bytes = 0
    assert sums.admit() == [2, 3]


def test_one_comes_whatever_the_limit() -> None:
    sums = Sums(Admission(0), held_bytes=1000)
    sums.offer(4, 2)
    assert sums.admit() == [2]
    sums.arrive(2)
    assert sums.admit() == [4]


def test_what_is_not_wanted_any_more_makes_room() -> None:
    sums = Sums(Admission(10))
    sums.offer(1, 2, 3)
    assert sums.admit() == [1]
    sums.wanted -= {("w", 1), ("w", 2)}  # their worker is lost, or a copy was faster
    assert sums.admit() == [3]
    assert sums.admit() == []


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=80), st.integers(0, 60))
def test_everything_wanted_comes_in_the_end_and_never_more_than_fits(
    steps: list[tuple[int, int]], limit: int
) -> None:
    sums, coming, arrived = Sums(Admission(limit)), set[int](), set[int]()
    offered = set[int]()

    def admit() -> None:
        new = sums.admit()
        coming.update(new)
        assert 10 * len(coming) <= limit or len(coming) <= 1

    for shard, what in steps:
        if what == 0 and coming:
            arrived.add(first := min(coming))
            coming.discard(first)
            sums.arrive(first)
        elif what == 1 and coming:
            lost = max(coming)
            coming.discard(lost)
            offered.discard(lost)
            sums.wanted.discard(("w", lost))
        elif shard not in offered:
            offered.add(shard)
            sums.offer(shard)
        admit()
    while coming:
        arrived.add(first := min(coming))
        coming.discard(first)
        sums.arrive(first)
        admit()
    assert arrived == offered
