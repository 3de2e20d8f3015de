"""How partials are packed: the codec of their round, and what was left out before."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gradloom.algorithms.algorithm import Needs
from gradloom.canonical import Range
from gradloom.codecs import NotFinite, Packed, unpack
from gradloom.codecs.left_over import RESIDUAL, parted
from gradloom.errors import InvalidInput
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom_worker.events import Task
from gradloom_worker.uplinks import Order, Packing, Uplinks
from gradloom_worker.work import Computed

N = 5000
GRADIENT = np.random.default_rng(0).normal(size=N)


@dataclass
class Learner:
    needs: Needs = field(
        default_factory=lambda: Needs("regression", "float32", standardize=False, gradients=("gradient",))
    )


@dataclass
class Work:
    """As much of a job's work as packing looks at."""

    step: Step = Step.TRAIN
    n_shards: int = 8
    algorithm: Learner = field(default_factory=Learner)


def task(round_: int = 1, lo: int = 0) -> Task:
    return Task("job", round_, Range(lo, lo + 2), 1)


def computed(gradient: Any = GRADIENT) -> Computed:
    return Computed({"gradient": gradient, "loss": np.asarray(2.0)}, 10, 0.1, 0.2)


def ordered(uplinks: Uplinks, round_: int, codec: str, lineage: int = 0, *counted: Task) -> None:
    order = Order(round_, codec, round_, seed=3, lineage=lineage)
    keys = [(one.round, one.range) for one in counted]
    uplinks.heard("job", round_, order, keys, decided=True)


def packing(
    uplinks: Uplinks, one: Task, work: Work | None = None, message: Tensors | None = None
) -> Packing | None:
    return uplinks.packing(one, work or Work(), message or {})  # type: ignore[arg-type]


def answered(uplinks: Uplinks, one: Task) -> Computed:
    """The task is computed, packed and sent."""
    how = packing(uplinks, one)
    assert how is not None
    done = uplinks.encoded(one, how.apply(computed()))
    uplinks.sent(one)
    assert not done.left_over  # the runtime keeps answers for long
    return done


def test_without_a_codec_nothing_is_packed() -> None:
    uplinks = Uplinks()
    assert packing(uplinks, task()) is None  # no round was announced
    ordered(uplinks, 1, "")
    assert packing(uplinks, task()) is None
    ordered(uplinks, 2, "none")
    assert packing(uplinks, task(2)) is None
    assert uplinks.residuals.nbytes == 0


def test_only_training_is_packed_and_only_with_the_codec_of_its_round() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "int8")
    assert packing(uplinks, task(1), Work(Step.ASSESS)) is None
    assert packing(uplinks, task(2)) is None
    assert packing(uplinks, task(1)) is not None


def test_a_codec_that_leaves_nothing_out_claims_nothing() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "bfloat16")
    done = answered(uplinks, task())
    assert isinstance(done.partial["gradient"], Packed)
    assert done.account is not None
    assert done.encode_s > 0
    assert not uplinks.residuals.of("job").claims


def test_what_is_left_out_comes_with_the_next_round_once_it_was_counted() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "topk:0.1")
    first = unpack(answered(uplinks, task(1)).partial)["gradient"]
    ordered(uplinks, 2, "none", 0, task(1))
    second = unpack(answered(uplinks, task(2)).partial)["gradient"]
    np.testing.assert_allclose(first + second, 2 * GRADIENT, atol=1e-6)
    ordered(uplinks, 3, "none", 0, task(2))
    assert packing(uplinks, task(3)) is None  # all is sent


@pytest.mark.parametrize("codec", ["topk:0.1", "dgc:0.1,momentum=0.5,warmup=0"])
def test_what_a_checkpoint_has_gathered_takes_the_place_of_what_workers_held(codec: str) -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, codec)
    answered(uplinks, task(1))
    uplinks.heard(
        "job", 2, Order(2, codec, 2, seed=3, send_left_over=True), [(1, task().range)], decided=True
    )
    own, gathered = parted(unpack(answered(uplinks, task(2)).partial))
    assert set(own) == {"gradient", "loss"}
    ordered(uplinks, 3, codec, 0, task(2))
    expected = unpack(answered(uplinks, task(3)).partial)["gradient"]

    fresh = Uplinks()
    ordered(fresh, 3, codec, 1)
    whole = Work(n_shards=2)  # the task's shards are all there are
    how = packing(fresh, task(3), whole, gathered)
    assert how is not None
    found = unpack(how.apply(computed()).partial)["gradient"]
    np.testing.assert_array_equal(found, expected)


def test_an_answer_says_whether_more_is_held_than_it_has_taken_up() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "topk:0.1")
    first, second = task(1, 0), task(1, 2)
    assert [answered(uplinks, one).holds_back for one in (first, second)] == [False, False]
    order = Order(2, "none", 2, seed=3, send_left_over=True)
    uplinks.heard("job", 2, order, [(1, first.range), (1, second.range)], decided=True)
    takes_all, takes_nothing = task(2, 0), task(2, 2)
    assert [answered(uplinks, one).holds_back for one in (takes_all, takes_nothing)] == [False, True]
    ordered(uplinks, 3, "none", 0, takes_nothing)  # the other one lost against a copy: all is as before
    assert [answered(uplinks, one).holds_back for one in (task(3, 0), task(3, 2))] == [False, True]
    ordered(uplinks, 4, "none", 0, task(3, 0), task(3, 2))
    assert packing(uplinks, task(4)) is None


def test_a_task_takes_up_the_part_of_what_was_gathered_that_its_shards_are_of_all() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "none")
    how = packing(uplinks, task(), message={RESIDUAL + "gradient": np.ones(N, np.float32)})
    assert how is not None
    np.testing.assert_allclose(how.apply(computed()).partial["gradient"], GRADIENT + 0.25)
    assert packing(uplinks, task(), message={"gradient": np.ones(N)}) is None


def test_a_job_that_was_set_back_has_nothing_left_out() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "topk:0.1")
    answered(uplinks, task(1))
    ordered(uplinks, 2, "topk:0.1", 1, task(1))
    how = packing(uplinks, task(2))
    assert how is not None
    assert how.taken_up == ()


def test_the_same_task_is_packed_to_the_same_bytes_by_any_worker() -> None:
    payloads = []
    for _ in range(2):
        uplinks = Uplinks()
        ordered(uplinks, 5, "int8")
        part = answered(uplinks, task(5)).partial["gradient"]
        assert isinstance(part, Packed)
        payloads.append(part.payload.tobytes())
    assert payloads[0] == payloads[1]


def test_a_codec_that_is_not_known_here_fails_the_task_with_its_name() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "quantum:7")
    how = packing(uplinks, task(1))
    assert how is not None
    with pytest.raises(InvalidInput, match="quantum:7"):
        how.apply(computed())


def test_a_gradient_that_is_too_large_is_refused_and_nothing_is_lost() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "topk:0.1")
    answered(uplinks, task(1))
    ordered(uplinks, 2, "topk:0.1", 0, task(1))
    held = uplinks.residuals.nbytes
    how = packing(uplinks, task(2))
    assert how is not None
    with pytest.raises(NotFinite, match="'gradient' can't be encoded"):
        how.apply(computed(np.full(N, 1e200)))
    uplinks.dropped(task(2))
    assert uplinks.residuals.nbytes == held > 0


def test_a_job_that_is_over_leaves_nothing() -> None:
    uplinks = Uplinks()
    ordered(uplinks, 1, "topk:0.1")
    answered(uplinks, task(1))
    running = packing(uplinks, task(1, lo=2))
    assert running is not None
    uplinks.forget("job")
    uplinks.encoded(task(1, lo=2), running.apply(computed()))
    uplinks.sent(task(1, lo=2))
    uplinks.dropped(task(1, lo=2))
    assert uplinks.residuals.nbytes == 0
    ordered(uplinks, 1, "topk:0.1")
    answered(uplinks, task(1))
    uplinks.clear()
    assert uplinks.residuals.nbytes == 0
