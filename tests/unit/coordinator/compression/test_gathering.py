"""What workers leave out of their answers, added up for a checkpoint."""

import numpy as np

from builders.scheduling import of_round
from gradloom_coordinator.compression.gathering import NEVER, Gathering


def test_what_the_answers_of_a_round_leave_out_is_added_up() -> None:
    gathering = Gathering()
    gathering.counted("a", of_round(1), {"x": np.ones(2)}, holds_back=False)  # nobody asked
    gathering.want()
    for _ in range(2):  # prepared anew
        gathering.open_round(2, 4, frozenset({"a", "b", "c"}))
    gathering.counted("a", of_round(2, 0), {"x": np.ones(2)}, holds_back=False)
    gathering.counted("b", of_round(2, 1), {"x": np.ones(2), "y": np.ones(1)}, holds_back=False)
    gathering.counted("a", of_round(2, 2), {}, holds_back=True)  # the first one is undecided there
    gathering.counted(
        "c", of_round(1, 3), {"x": np.ones(2)}, holds_back=False
    )  # carried over: it was not asked
    assert not gathering.end_round(7)
    assert gathering.tensors.keys() == {"x", "y"}
    np.testing.assert_array_equal(gathering.tensors["x"], [2.0, 2.0])
    assert (gathering.iteration, gathering.missing, gathering.asked) == (7, 1, False)
    gathering.open_round(3, 4, frozenset({"a"}))
    gathering.end_round(8)
    assert (gathering.tensors, gathering.iteration, gathering.missing) == ({}, NEVER, 0)


def test_a_worker_whose_memories_another_answer_has_taken_up_is_missing() -> None:
    gathering = Gathering()
    gathering.want()
    gathering.open_round(1, 2, frozenset({"a"}))
    gathering.counted(
        "a", of_round(1, 1), {"x": np.ones(2)}, holds_back=True
    )  # the first lost against a copy
    gathering.end_round(1)
    assert gathering.missing == 1


def test_what_was_handed_out_to_shards_that_did_not_count_is_lost_and_counted() -> None:
    for shards, lost in ((range(4), False), (range(3), True)):
        gathering = Gathering()
        gathering.restore({"x": np.ones(2)}, 5)
        gathering.open_round(9, 4, frozenset())
        gathering.counted("a", of_round(8, 0), {}, holds_back=False)
        for shard in shards:
            gathering.counted("a", of_round(9, shard), {}, holds_back=False)
        assert gathering.end_round(6) is lost
        assert not gathering.hands_out
