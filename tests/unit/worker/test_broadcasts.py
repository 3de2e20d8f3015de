"""Broadcasts, in whatever order the two streams bring their parts."""

import numpy as np
import pytest

from gradloom.errors import ChecksumMismatch, FrameRefused
from gradloom.tensors import Tensors
from gradloom.v1 import tensor_pb2
from gradloom.wire.bundles import INLINE_BYTES, bundle_of, encode
from gradloom.wire.frames import FRAME_BYTES, Frame, data_frames, parse_frame
from gradloom_worker.broadcasts import Broadcasts
from gradloom_worker.events import MessageArrived

BIG = FRAME_BYTES // 8 + 1
"""Numbers of a broadcast of two frames."""


def inline(value: float) -> tensor_pb2.Bundle:
    return bundle_of(encode({"w": np.array([value])}), 0)


def big(value: float, transfer_id: int) -> tuple[tensor_pb2.Bundle, list[Frame]]:
    encoded = encode({"w": np.full(BIG, value)})
    frames = [parse_frame(message) for message in data_frames(transfer_id, encoded.buffers)]
    return bundle_of(encoded, transfer_id), frames


def value_of(message: Tensors | None) -> float:
    assert message is not None
    assert (message["w"] == message["w"][0]).all()
    return float(message["w"][0])


def test_a_small_broadcast_is_there_with_its_announcement() -> None:
    broadcasts = Broadcasts()
    broadcasts.announce("job", 1, inline(1.0))
    assert value_of(broadcasts.message("job", 1)) == 1.0
    assert broadcasts.message("job", 2) is None
    assert broadcasts.message("other", 1) is None


def test_the_last_of_the_frames_that_come_after_the_announcement_completes_it() -> None:
    broadcasts = Broadcasts()
    bundle, frames = big(1.0, 7)
    assert len(frames) == 2
    broadcasts.announce("job", 1, bundle)
    assert broadcasts.add(frames[0]) is None
    assert broadcasts.message("job", 1) is None
    assert broadcasts.add(frames[1]) == MessageArrived("job", 1)
    assert value_of(broadcasts.message("job", 1)) == 1.0


def test_frames_may_come_before_the_announcement() -> None:
    broadcasts = Broadcasts()
    bundle, frames = big(1.0, 7)
    for frame in frames:
        assert broadcasts.add(frame) is None
    broadcasts.announce("job", 1, bundle)
    assert value_of(broadcasts.message("job", 1)) == 1.0


def test_a_newer_round_takes_the_place_of_an_older_one() -> None:
    broadcasts = Broadcasts()
    broadcasts.announce("job", 1, inline(1.0))
    broadcasts.announce("job", 2, inline(2.0))
    assert broadcasts.message("job", 1) is None
    assert value_of(broadcasts.message("job", 2)) == 2.0


def test_late_frames_of_an_older_round_are_ignored() -> None:
    broadcasts = Broadcasts()
    (old, old_frames), (new, new_frames) = big(1.0, 7), big(2.0, 8)
    broadcasts.announce("job", 1, old)
    broadcasts.add(old_frames[0])
    broadcasts.announce("job", 2, new)
    assert broadcasts.add(old_frames[1]) is None
    assert broadcasts.message("job", 1) is None
    assert [broadcasts.add(frame) for frame in new_frames] == [None, MessageArrived("job", 2)]
    assert value_of(broadcasts.message("job", 2)) == 2.0


def test_broadcasts_of_several_jobs_do_not_mix() -> None:
    broadcasts = Broadcasts()
    (one, one_frames), (two, two_frames) = big(1.0, 7), big(2.0, 8)
    broadcasts.announce("one", 1, one)
    broadcasts.announce("two", 1, two)
    assert broadcasts.add(two_frames[0]) is None
    assert broadcasts.add(one_frames[0]) is None
    assert broadcasts.add(two_frames[1]) == MessageArrived("two", 1)
    assert broadcasts.add(one_frames[1]) == MessageArrived("one", 1)
    broadcasts.forget("one")
    assert broadcasts.message("one", 1) is None
    assert value_of(broadcasts.message("two", 1)) == 2.0


def test_buffers_are_used_again_but_never_under_somebodys_eyes() -> None:
    broadcasts = Broadcasts()
    seen = []
    for number in range(1, 6):
        bundle, frames = big(float(number), number)
        broadcasts.announce("job", number, bundle)
        for frame in frames:
            broadcasts.add(frame)
        seen.append(broadcasts.message("job", number))
    assert [value_of(message) for message in seen] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_buffers_stay_from_round_to_round_and_go_with_the_last_job() -> None:
    broadcasts = Broadcasts()
    for number, job in enumerate(["one", "two", "one"], start=1):
        bundle, frames = big(float(number), number)
        broadcasts.announce(job, number, bundle)
        assert len(broadcasts._pool) == min(number - 1, 2), "a newer round keeps the older one's buffer"
        for frame in frames:
            broadcasts.add(frame)
    broadcasts.forget("two")
    assert len(broadcasts._pool) > 0
    broadcasts.forget("one")
    assert len(broadcasts._pool) == 0


def test_buffers_go_with_the_session() -> None:
    broadcasts = Broadcasts()
    broadcasts.add(big(1.0, 7)[1][0])
    broadcasts.clear()
    assert len(broadcasts._pool) == 0


def test_a_released_job_leaves_nothing_and_its_late_frames_are_ignored() -> None:
    broadcasts = Broadcasts()
    bundle, frames = big(1.0, 7)
    broadcasts.announce("job", 1, bundle)
    broadcasts.add(frames[0])
    broadcasts.forget("job")
    assert broadcasts.add(frames[1]) is None
    assert broadcasts.message("job", 1) is None


def test_a_new_session_numbers_its_transfers_anew() -> None:
    broadcasts = Broadcasts()
    bundle, frames = big(1.0, 7)
    broadcasts.announce("job", 1, bundle)
    broadcasts.forget("job")
    broadcasts.add(big(9.0, 8)[1][0])
    broadcasts.clear()
    broadcasts.announce("job", 1, bundle)
    assert [broadcasts.add(frame) for frame in frames] == [None, MessageArrived("job", 1)]
    again, again_frames = big(2.0, 8)
    broadcasts.announce("other", 1, again)
    for frame in again_frames:
        broadcasts.add(frame)
    assert value_of(broadcasts.message("other", 1)) == 2.0


def test_damage_is_refused() -> None:
    broadcasts = Broadcasts()
    damaged = inline(1.0)
    damaged.inline.checksum += 1
    with pytest.raises(ChecksumMismatch):
        broadcasts.announce("job", 1, damaged)
    _, frames = big(1.0, 7)
    with pytest.raises(FrameRefused):
        broadcasts.add(frames[1])


def test_the_big_broadcast_of_these_tests_does_not_ride_inline() -> None:
    assert BIG * 8 > INLINE_BYTES


# ---- differences


def difference(value: float, transfer_id: int = 0) -> tuple[tensor_pb2.Bundle, list[Frame]]:
    """A message in which w comes as a difference, and another tensor as it is."""
    encoded = encode({"w": np.full(BIG if transfer_id else 1, value), "round": np.array([7])})
    frames = [parse_frame(message) for message in data_frames(transfer_id, encoded.buffers)]
    return bundle_of(encoded, transfer_id), frames


def test_differences_are_added_to_the_round_that_they_name() -> None:
    broadcasts = Broadcasts()
    broadcasts.announce("job", 1, inline(1.0), 0, ["w"])
    broadcasts.announce("job", 2, difference(0.5)[0], 1, ["w"])
    broadcasts.announce("job", 3, difference(0.25)[0], 2, ["w"])
    message = broadcasts.message("job", 3)
    assert value_of(message) == 1.75
    assert message is not None
    assert message["round"].tolist() == [7]


def test_differences_that_come_in_frames_are_added_once_all_are_here() -> None:
    broadcasts = Broadcasts()
    bundle, frames = big(1.0, 7)
    broadcasts.announce("job", 1, bundle, 0, ["w"])
    for frame in frames:
        broadcasts.add(frame)
    bundle, frames = difference(0.5, 8)
    broadcasts.announce("job", 2, bundle, 1, ["w"])
    assert broadcasts.message("job", 2) is None
    arrived = [broadcasts.add(frame) for frame in frames]
    assert arrived[-1] == MessageArrived("job", 2)
    assert value_of(broadcasts.message("job", 2)) == 1.5


def test_the_sum_is_one_of_single_precision() -> None:
    broadcasts = Broadcasts()
    start, step = np.float32(0.1), np.float32(0.3)
    broadcasts.announce("job", 1, inline(float(start)), 0, ["w"])
    broadcasts.announce("job", 2, difference(float(step))[0], 1, ["w"])
    message = broadcasts.message("job", 2)
    assert message is not None
    assert message["w"].dtype == np.float64
    assert message["w"][0] == np.float64(start + step)


@pytest.mark.parametrize(
    ("base_round", "replicated"), [(9, ["w"]), (1, ["v"]), (1, ["round"])], ids=["gone", "absent", "new"]
)
def test_differences_from_what_is_not_here_are_refused(base_round: int, replicated: list[str]) -> None:
    broadcasts = Broadcasts()
    broadcasts.announce("job", 1, inline(1.0), 0, ["w"])
    with pytest.raises(FrameRefused, match=r"which is not here|does not fit the one of the round before"):
        broadcasts.announce("job", 2, difference(0.5)[0], base_round, replicated)
