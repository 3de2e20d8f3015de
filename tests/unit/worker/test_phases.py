"""Where a worker's time goes: every moment is in exactly one phase."""

import itertools
import threading

from gradloom_worker.phases import Doing, PhaseClock


class Time:
    """A clock that stands still unless told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_fresh_worker_is_idle() -> None:
    time = Time()
    phases = PhaseClock(time)
    time.now += 3.0
    assert phases.seconds() == dict.fromkeys(Doing, 0.0) | {Doing.IDLE: 3.0}


def test_each_phase_gets_what_passed_between_its_switches() -> None:
    time = Time()
    phases = PhaseClock(time)
    for phase, seconds in [(Doing.LOAD, 1.0), (Doing.COMPUTE, 4.0), (Doing.SEND, 0.5), (Doing.COMPUTE, 2.0)]:
        phases.switch(phase)
        time.now += seconds
    assert phases.seconds()[Doing.LOAD] == 1.0
    assert phases.seconds()[Doing.COMPUTE] == 6.0
    assert phases.seconds()[Doing.SEND] == 0.5


def test_to_read_the_seconds_changes_nothing() -> None:
    time = Time()
    phases = PhaseClock(time)
    phases.switch(Doing.COMPUTE)
    for passed in (1.0, 2.0, 3.0):
        time.now += 1.0
        assert phases.seconds()[Doing.COMPUTE] == passed


def test_all_phases_together_are_the_time_that_passed_whoever_switches() -> None:
    ticks = itertools.count()
    phases = PhaseClock(lambda: float(next(ticks)))

    def switch_often() -> None:
        for phase in list(Doing) * 500:
            phases.switch(phase)

    threads = [threading.Thread(target=switch_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    total = sum(phases.seconds().values())
    assert total == next(ticks) - 1
