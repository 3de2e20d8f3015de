"""Learning rates as a function of the updates done, and optimizers that follow them."""

from itertools import pairwise

import numpy as np
import pytest

from builders.files import through_a_file
from gradloom.errors import InvalidInput
from gradloom.optimizers.first_order import Adam, GradientDescent, Momentum
from gradloom.optimizers.first_order_decoupled import AdamW
from gradloom.optimizers.schedules import Schedule, Scheduled

STEPPERS = (GradientDescent(9.0), Momentum(9.0), Momentum(9.0, nesterov=True), Adam(9.0), AdamW(9.0))
every_stepper = pytest.mark.parametrize("stepper", STEPPERS, ids=str)


def rates(schedule: Schedule, updates: int) -> list[float]:
    return [schedule.rate(update) for update in range(updates)]


def test_constant_never_changes() -> None:
    assert rates(Schedule(learning_rate=0.1), 3) == [0.1, 0.1, 0.1]


def test_warm_up_grows_linearly_and_ends_where_the_schedule_begins() -> None:
    assert rates(Schedule(learning_rate=0.4, warmup=3), 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_cosine_falls_from_the_end_of_the_warm_up_to_the_end_of_the_run_and_stays_there() -> None:
    schedule = Schedule(learning_rate=1.0, name="cosine", warmup=2, length=10, final=0.1)
    got = rates(schedule, 13)
    assert got[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert got[6] == pytest.approx(0.55)  # half way
    assert got[10:] == pytest.approx([0.1, 0.1, 0.1])
    assert all(later < earlier for earlier, later in pairwise(got[2:11]))


def test_inverse_scaling_divides_by_a_power_of_the_updates() -> None:
    schedule = Schedule(learning_rate=0.5, name="inverse_scaling", power=0.5, warmup=1)
    assert rates(schedule, 5)[1:] == pytest.approx([0.5, 0.5 / 2**0.5, 0.5 / 3**0.5, 0.25])


def test_step_falls_by_a_factor_every_so_often() -> None:
    schedule = Schedule(learning_rate=1.0, name="step", factor=0.5, every=2)
    assert rates(schedule, 6) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"learning_rate": 0.0}, "learning_rate"), ({"name": "cosine"}, "cosine"), ({"name": "step"}, "step")],
)
def test_numbers_that_make_no_sense_together_are_refused(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        Schedule(**{"learning_rate": 0.1, **wrong})  # type: ignore[arg-type]


@every_stepper
def test_a_scheduled_optimizer_steps_as_its_own_kind_does_at_that_rate(stepper: AdamW) -> None:
    schedule = Schedule(learning_rate=0.3, name="inverse_scaling", warmup=2)
    scheduled = Scheduled(stepper, schedule)
    state = expected = scheduled.init(np.array([3.0, -2.0]))
    for update in range(5):
        gradient = 2.0 * state.point
        state = scheduled.restore(through_a_file(scheduled.save(state)))
        state = scheduled.update(state, 1.0, gradient)
        expected = type(stepper)(schedule.rate(update), *_rest(stepper)).update(expected, 1.0, gradient)
        np.testing.assert_array_equal(state.point, expected.point)
        assert state.learning_rate == schedule.rate(update)
        assert state.updates == update + 1


def _rest(stepper: AdamW) -> list[float]:
    return [getattr(stepper, name) for name in list(stepper.__dataclass_fields__)[1:]]


def test_adamw_decays_all_weights_alike_whatever_their_gradient() -> None:
    start = np.array([4.0, 4.0])
    gradient = np.array([1e3, 1e-3])
    adam = Adam(0.01).update(Adam(0.01).init(start), 0.0, gradient)
    decoupled = AdamW(0.01, weight_decay=0.1)
    after = decoupled.update(decoupled.init(start), 0.0, gradient)
    np.testing.assert_allclose(adam.point - after.point, 0.01 * 0.1 * start, rtol=1e-12)
    np.testing.assert_array_equal(start, [4.0, 4.0])


def test_adamw_finds_the_minimum_of_a_bowl() -> None:
    scheduled = Scheduled(
        AdamW(0.1, weight_decay=0.0), Schedule(learning_rate=0.1, name="cosine", length=400)
    )
    state = scheduled.init(np.array([3.0, -2.0]))
    for _ in range(400):
        state = scheduled.update(state, 0.0, 2.0 * (state.point - 1.0))
    np.testing.assert_allclose(state.point, [1.0, 1.0], atol=1e-3)
