"""Worlds drawn at random: whatever goes wrong, every job ends with the bits of an undisturbed run, or says why not."""

from collections import Counter
from functools import partial

import numpy as np
import pytest

from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.rounds import Refusal
from simulation.mathematics import NOTHING, Descent, undisturbed
from simulation.mathematics import partial as of_shard
from simulation.world import run_seed

SEEDS = 2000
SEEDS_A_TEST = 100
SEEDS_LOOKED_INTO = 300
"""The last of them: what happened there is counted."""


@pytest.mark.parametrize("first", range(0, SEEDS - SEEDS_LOOKED_INTO, SEEDS_A_TEST))
def test_every_property_holds_in_every_world(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        run_seed(seed)


def test_the_trouble_is_real() -> None:
    """Every property holds in these worlds too, and everything that can happen happens in some of them."""
    seen: Counter[object] = Counter()
    deaths = 0
    for seed in range(SEEDS - SEEDS_LOOKED_INTO, SEEDS):
        world = run_seed(seed)
        deaths += world.deaths_of_coordinator
        for entry in world.log:
            seen[type(entry)] += 1
            seen.update(words_of(entry))
    assert deaths > 50
    kinds = (e.WorkerResumed, e.WorkerDraining, e.TasksGivenUp, c.TakeBack, c.CancelTasks, c.ForgetWorker)
    reasons = set(RetryReason) - {RetryReason.SHARD_CHANGED, RetryReason.BAD_DATA}
    refusals = {Refusal.LATE, Refusal.DUPLICATE, Refusal.UNKNOWN_JOB}
    states = {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED, JobState.SERVING}
    for what in (*kinds, *reasons, *refusals, *states, "copies", "helps", "excluded", "probe succeeded"):
        assert seen[what] >= 3, f"{what} has happened {seen[what]} times in {SEEDS_LOOKED_INTO} worlds"


def words_of(entry: e.Event | c.Command) -> list[object]:
    match entry:
        case c.AnnounceRetry() | c.DropPartial():
            return [entry.reason]
        case c.AnnounceState():
            return [entry.state]
        case c.SendTasks():
            return [entry.reason.split()[0]]
        case c.AnnounceNote():
            return [words for words in ("excluded", "probe succeeded") if words in entry.text]
        case _:
            return []


def test_the_same_seed_gives_the_same_world() -> None:
    first, again = run_seed(11), run_seed(11)
    assert str(first.transcript) == str(again.transcript)
    assert len(first.log) > 100


def test_another_order_of_additions_would_give_other_bits() -> None:
    """So that the sameness above proves something."""
    descent = Descent(13, 3)
    while not descent.finished:
        map_shard = partial(of_shard, descent.step, parameters=descent.parameters)
        descent.advance(sum((map_shard(i) for i in range(13)), start=NOTHING))
    same = np.frombuffer(undisturbed(13, 3), np.float32)
    np.testing.assert_allclose(descent.parameters, same, atol=1e-3)
    assert descent.parameters.tobytes() != undisturbed(13, 3)
