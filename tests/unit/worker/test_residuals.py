"""What a worker leaves out of its partials is kept until it is sent, and only if the partial was counted."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.canonical import Range
from gradloom.codecs import Context, Memory, PackedPartial, pack, unpack
from gradloom.codecs.topk import TopK
from gradloom.tensors import Array
from gradloom_worker.events import Task
from gradloom_worker.residuals import JobResiduals, Memories, Residuals, joined


def task(lo: int, hi: int, round_: int = 1, attempt: int = 1) -> Task:
    return Task("job", round_, Range(lo, hi), attempt)


def left(value: float) -> Memories:
    return {"gradient": Memory(np.full(3, value, np.float32))}


def values(taken_up: tuple[Memories, ...]) -> list[float]:
    return sorted(float(memories["gradient"].residual[0]) for memories in taken_up)


def held(residuals: JobResiduals) -> list[float]:
    return sorted(float(one.memories["gradient"].residual[0]) for one in residuals.held)


def sent(residuals: JobResiduals, one: Task, value: float) -> list[float]:
    """Encode a task and send it; what it took up."""
    taken_up = values(residuals.take_up(one))
    residuals.encoded(one, left(value))
    residuals.sent(one)
    return taken_up


@pytest.fixture
def residuals() -> JobResiduals:
    """One with a residual of 1 for shards 0-3, from round 1."""
    job = JobResiduals()
    assert sent(job, task(0, 4), 1.0) == []
    job.decide([(1, Range(0, 4))], below=2)
    assert held(job) == [1.0]
    return job


def test_a_counted_partial_leaves_its_residual_in_place_of_the_one_before(residuals: JobResiduals) -> None:
    assert sent(residuals, task(0, 4, 2), 5.0) == [1.0]
    assert held(residuals) == [1.0]  # as long as nobody knows
    residuals.decide([(2, Range(0, 4))], below=3)
    assert held(residuals) == [5.0]


def test_a_partial_that_was_not_counted_changes_nothing(residuals: JobResiduals) -> None:
    sent(residuals, task(0, 4, 2), 5.0)
    residuals.decide([], below=3)
    assert held(residuals) == [1.0]
    assert sent(residuals, task(0, 4, 3), 7.0) == [1.0]


def test_where_rounds_overlap_a_task_of_the_same_shards_decides(residuals: JobResiduals) -> None:
    sent(residuals, task(0, 4, 2), 5.0)
    residuals.decide([], below=0)  # answers to round 2 may still be counted
    assert sent(residuals, task(4, 8, 3), 7.0) == []
    assert values(residuals.take_up(task(0, 2, 4))) == [1.0]  # no longer: the shards come anew


def test_it_may_be_said_late_and_twice_that_a_partial_was_counted(residuals: JobResiduals) -> None:
    sent(residuals, task(0, 4, 2), 5.0)
    sent(residuals, task(4, 8, 3), 7.0)
    residuals.decide([(2, Range(0, 4))], below=0)
    residuals.decide([(2, Range(0, 4)), (3, Range(4, 8))], below=0)
    assert held(residuals) == [5.0, 7.0]


def test_a_residual_goes_with_whatever_task_overlaps_its_shards(residuals: JobResiduals) -> None:
    sent(residuals, task(4, 8, 2), 2.0)
    residuals.decide([(2, Range(4, 8))], below=3)
    assert sent(residuals, task(0, 8, 3), 9.0) == [1.0, 2.0]
    residuals.decide([(3, Range(0, 8))], below=4)
    assert sent(residuals, task(2, 4, 4), 3.0) == [9.0]  # all of it goes with the first part
    assert sent(residuals, task(0, 2, 4), 4.0) == []
    residuals.decide([(4, Range(0, 2)), (4, Range(2, 4))], below=5)
    assert held(residuals) == [3.0, 4.0]


def test_a_residual_of_shards_that_have_moved_away_goes_with_others(residuals: JobResiduals) -> None:
    assert sent(residuals, task(8, 12, 2), 2.0) == []  # shards 0-3 may still come in round 2
    residuals.decide([(2, Range(8, 12))], below=3)
    assert sent(residuals, task(8, 12, 3), 3.0) == [1.0, 2.0]
    residuals.decide([(3, Range(8, 12))], below=4)
    assert held(residuals) == [3.0]


def test_all_tries_at_a_task_take_up_the_same(residuals: JobResiduals) -> None:
    sent(residuals, task(0, 4, 2), 5.0)
    assert sent(residuals, task(0, 4, 2, attempt=2), 5.0) == [1.0]
    residuals.decide([(2, Range(0, 4))], below=3)
    assert held(residuals) == [5.0]


def test_a_task_that_fails_or_is_thrown_away_before_it_is_sent_changes_nothing(
    residuals: JobResiduals,
) -> None:
    residuals.take_up(task(0, 4, 2))
    residuals.dropped(task(0, 4, 2))
    assert values(residuals.take_up(task(0, 4, 2, attempt=2))) == [1.0]
    residuals.encoded(task(0, 4, 2, attempt=2), left(5.0))
    residuals.dropped(task(0, 4, 2, attempt=2))
    assert held(residuals) == [1.0]
    assert not residuals.claims


def test_what_was_sent_is_not_dropped_with_a_later_try(residuals: JobResiduals) -> None:
    sent(residuals, task(0, 4, 2), 5.0)
    residuals.take_up(task(0, 4, 2, attempt=2))
    residuals.dropped(task(0, 4, 2, attempt=2))
    residuals.decide([(2, Range(0, 4))], below=3)
    assert held(residuals) == [5.0]


def test_a_task_that_ends_after_its_round_is_of_no_account(residuals: JobResiduals) -> None:
    residuals.take_up(task(0, 4, 2))
    residuals.decide([], below=3)
    residuals.encoded(task(0, 4, 2), left(5.0))
    assert values(residuals.take_up(task(0, 4, 3))) == [1.0]


def test_a_codec_that_leaves_nothing_out_ends_the_residual(residuals: JobResiduals) -> None:
    residuals.take_up(task(0, 4, 2))
    residuals.encoded(task(0, 4, 2), {})
    residuals.sent(task(0, 4, 2))
    residuals.decide([(2, Range(0, 4))], below=3)
    assert not residuals.held


def test_jobs_are_forgotten_one_by_one_or_all() -> None:
    residuals = Residuals()
    for job in ("a", "b"):
        residuals.of(job).take_up(task(0, 1))
        residuals.of(job).encoded(task(0, 1), left(1.0))
    assert residuals.nbytes == 24
    residuals.forget("a")
    assert residuals.nbytes == 12
    residuals.clear()
    assert residuals.nbytes == 0


# ---- nothing is lost, whatever happens

N = 4096
CODEC = TopK(0.02, exact=True)


@dataclass
class World:
    """Workers that stay, and a coordinator that counts some of what they send."""

    data: st.DataObject
    workers: list[JobResiduals] = field(default_factory=lambda: [JobResiduals() for _ in range(3)])
    wanted: Array = field(default_factory=lambda: np.zeros(N))
    counted: Array = field(default_factory=lambda: np.zeros(N))
    to_tell: list[list[tuple[int, Range]]] = field(default_factory=lambda: [[], [], []])

    def gradient(self, round_: int, chunk: Range) -> Array:
        """Whole numbers, so that float32 sums are exact."""
        return np.random.default_rng([round_, *chunk]).integers(-50, 50, N).astype(np.float64)

    def compute(self, who: int, one: Task) -> PackedPartial:
        residuals = self.workers[who]
        taken_up = residuals.take_up(one)
        tensors = {"gradient": self.gradient(one.round, one.range)}
        packed = pack(tensors, ("gradient",), CODEC, joined(taken_up), Context(0, one.round, *one.range))
        residuals.encoded(one, packed.memory)
        return packed

    def round(self, number: int, exact: bool) -> None:
        chunks = self.data.draw(st.sampled_from([[(0, 4), (4, 8)], [(0, 2), (2, 4), (4, 8)], [(0, 8)]]))
        for who, residuals in enumerate(self.workers):
            if self.data.draw(st.integers(0, 3)) or not exact:  # else its stream is broken: it is told later
                residuals.decide(self.to_tell[who], number if exact else 0)
                self.to_tell[who] = []
        for chunk in (Range(*chunk) for chunk in chunks):
            tries = self.data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))
            ready = [who for who in tries if not self.to_tell[who]]  # nobody computes who has not heard
            outcomes = self.data.draw(
                st.lists(
                    st.sampled_from(["sent", "lost", "failed"]), min_size=len(ready), max_size=len(ready)
                )
            )
            winner: int | None = None
            for attempt, (who, outcome) in enumerate(zip(ready, outcomes, strict=True), 1):
                one = Task("job", number, chunk, attempt)
                packed = self.compute(who, one)
                if outcome == "failed":
                    self.workers[who].dropped(one)
                    continue
                self.workers[who].sent(one)
                if outcome == "sent" and winner is None:
                    winner = who
                    self.wanted += self.gradient(number, chunk)
                    self.counted += unpack(packed.parcel)["gradient"]
                    self.to_tell[who].append((number, chunk))

    def check(self) -> None:
        """What was counted and what is held are all gradients that were counted."""
        total = self.counted.copy()
        for who, residuals in enumerate(self.workers):
            residuals.decide(self.to_tell[who], 10**6)
            self.to_tell[who] = []
            for one in residuals.held:
                total += one.memories["gradient"].residual
        np.testing.assert_array_equal(total, self.wanted)


@given(st.data(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_was_counted_and_what_is_held_are_all_the_gradients(data: st.DataObject, exact: bool) -> None:
    world = World(data)
    for number in range(1, data.draw(st.integers(1, 6)) + 1):
        world.round(number, exact)
    world.check()
