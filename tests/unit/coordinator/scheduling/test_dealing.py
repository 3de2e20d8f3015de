"""Chunks are handed out bit by bit; who is through helps, takes back, and shares fairly between jobs."""

import pytest

from builders.scheduling import Desk, asked_back, sent, task
from gradloom.synchrony import Synchrony, SynchronyKind
from gradloom_coordinator.explaining import explain
from gradloom_coordinator.scheduling.commands import Command, SendTasks, TakeBack
from gradloom_coordinator.scheduling.events import (
    CancelRequested,
    JobChanged,
    JobPlanned,
    JobSubmitted,
    RoundReady,
    StreamBroken,
    TasksGivenUp,
)
from gradloom_coordinator.scheduling.limits import Limits

LIMITS = Limits(speculation=False)


def measured_desk(
    paces: dict[str, float], shards: int = 16, limits: Limits = LIMITS, load_s_per_row: float = 0.0
) -> Desk:
    """In its third round, with chunks cut for the measured speeds, of ten rows and one shard each."""
    desk = Desk.of(*paces, limits=limits)
    desk.start([10] * shards, policy="round_robin")
    for _ in range(2):
        desk.answer_all(seconds_per_row=paces)
        desk.job().load_s_per_row = load_s_per_row
        if desk.round().number == 2:
            break
        desk.next_round()
    return desk


# ---- bit by bit


def test_a_worker_has_a_little_more_in_hand_than_it_computes_while_an_answer_is_on_its_way() -> None:
    desk = measured_desk({"a": 0.0012, "b": 0.0012})
    desk.next_round()
    assert len(desk.in_hand("a")) == 2, "12 ms each: one is computed, and one more bridges the way"
    desk.answer("a", after_s=0.012)
    assert len(desk.in_hand("a")) == 2


def test_the_longer_the_way_the_more_it_has_in_hand() -> None:
    desk = measured_desk({"a": 0.0012, "b": 0.0012})
    desk.worker("a").transit_s = 0.02
    desk.next_round()
    assert (len(desk.in_hand("a")), len(desk.in_hand("b"))) == (6, 2)


def test_however_long_the_way_it_never_has_more_than_so_many_tasks() -> None:
    desk = measured_desk({"a": 0.0012, "b": 0.0012}, shards=100)
    desk.worker("a").transit_s = 1e9
    desk.next_round()
    assert len(desk.in_hand("a")) == Limits().max_in_hand == 32


def test_of_long_chunks_it_has_one_more_than_it_computes() -> None:
    desk = measured_desk({"a": 0.1, "b": 0.1})
    commands = desk.next_round()
    assert [worker for worker, _ in sent(commands)] == ["a", "a", "b", "b"]
    assert len(sent(desk.answer("a", took_s=1.0))) == 1


def test_a_whole_share_that_fits_goes_out_in_one_message() -> None:
    desk = measured_desk({"a": 0.001, "b": 0.001}, shards=4)
    commands = desk.next_round()
    first = commands[0]
    assert isinstance(first, SendTasks)
    plan = desk.job().plan
    assert plan is not None
    assert first.tasks is plan.orders["a"], "the plan's own tuple: nothing is made anew"


# ---- helping


def a_is_through(desk: Desk, others: float = 1.0) -> list[Command]:
    """a answers all of its own at once, and what it gets beyond: the first command that helps, and all after it."""
    desk.next_round()
    desk.now += others
    while desk.round().queued_rows.get("a"):
        desk.answer("a", took_s=1.0)
    return desk.answer("a", took_s=1.0)


def test_who_is_through_helps_with_the_last_chunk_of_who_has_most_left() -> None:
    desk = measured_desk({"a": 0.1, "b": 0.1}, shards=12, limits=Limits(replicas=2, speculation=False))
    commands = a_is_through(desk, 0.0)
    [helped] = [command for command in commands if isinstance(command, SendTasks)]
    assert (helped.worker, helped.tasks[0].range) == ("a", (11, 12)), "b would come to it last"
    assert helped.reason.startswith("helps b, which would need")
    assert desk.job().counts.helped >= 1


def test_of_several_the_neighbour_in_the_ring_is_helped_first() -> None:
    desk = measured_desk({"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1})
    [helped] = [command for command in a_is_through(desk, 0.0) if isinstance(command, SendTasks)]
    assert helped.reason.startswith("helps d,"), "a helps the one before it, and only that one"


def test_nobody_loads_a_shard_where_that_takes_longer_than_waiting() -> None:
    desk = measured_desk({"a": 0.1, "b": 0.1}, shards=8, load_s_per_row=60.0)
    assert sent(a_is_through(desk, 0.0)) == []
    cheap = measured_desk({"a": 0.1, "b": 0.1}, shards=8, load_s_per_row=0.01)
    assert len(sent(a_is_through(cheap, 0.0))) == 1


def test_a_shard_that_enough_workers_hold_is_loaded_by_no_other() -> None:
    alone = measured_desk({"a": 0.1, "b": 0.1}, limits=Limits(replicas=1, speculation=False))
    alone.job().held["a"] = {i for i in range(16) if i % 2 == 0}
    alone.job().holders = dict.fromkeys(range(16), ("b",))
    assert sent(a_is_through(alone, 0.0)) == []


def test_what_it_holds_already_it_may_always_help_with() -> None:
    desk = measured_desk(
        {"a": 0.1, "b": 0.1}, limits=Limits(replicas=1, speculation=False), load_s_per_row=9.0
    )
    desk.job().hold("a", desk.round().chunks[task(15, 16).range].range)
    assert [ref.range for _, ref in sent(a_is_through(desk, 0.0))] == [(15, 16)]


def test_helping_can_be_switched_off() -> None:
    desk = measured_desk({"a": 0.1, "b": 0.1}, limits=Limits(help=False, speculation=False))
    assert sent(a_is_through(desk, 0.0)) == []


def test_a_slow_worker_is_helped_until_all_are_through_at_once() -> None:
    """One of four is five times slower: the round takes little longer than the ideal."""
    desk = measured_desk({"a": 0.01, "b": 0.01, "c": 0.01, "slow": 0.05}, shards=64)
    desk.next_round()
    began, due = desk.now, dict.fromkeys("abc", 0.1) | {"slow": 0.5}
    ready = {name: desk.now + due[name] for name in due}
    for _ in range(200):
        if desk.round().over:
            break
        name = min((n for n in ready if desk.in_hand(n)), key=lambda n: ready[n])
        desk.now = max(desk.now, ready[name])
        idle = [n for n in ready if not desk.in_hand(n)]
        for victim, ref in asked_back(desk.answer(name, took_s=due[name])):
            desk.tell(TasksGivenUp(victim, (ref,)))
        for each in [name, *idle]:
            ready[each] = desk.now + due[each]
    ideal = 64 / (3 / 0.1 + 1 / 0.5)
    assert desk.round().over
    assert desk.now - began <= 1.1 * ideal
    assert desk.job().counts.helped > 5


# ---- taking back


def desk_with_an_idle_thief() -> tuple[Desk, list[Command]]:
    """b is stuck on its first task and holds a second one; a has nothing to do."""
    desk = measured_desk({"a": 0.003, "b": 0.003}, shards=4)
    desk.next_round()
    assert [len(desk.in_hand(name)) for name in "ab"] == [2, 2]
    desk.answer("a", after_s=0.03)
    commands = desk.answer("a", took_s=0.03)
    assert asked_back(commands) == [], "b is not late yet"
    return desk, desk.tick(1.0)


def test_who_has_nothing_to_do_has_another_give_up_what_it_has_not_started() -> None:
    desk, commands = desk_with_an_idle_thief()
    [ask] = [command for command in commands if isinstance(command, TakeBack)]
    assert (ask.worker, ask.tasks) == ("b", (desk.in_hand("b")[-1],))
    assert ask.reason.startswith("a has nothing to do, b needs")
    assert desk.in_hand("a") == [], "nothing starts there before the victim has answered"
    assert asked_back(desk.tick(1.0)) == [], "it has been asked"


def test_what_it_gives_up_goes_to_the_thief() -> None:
    desk, commands = desk_with_an_idle_thief()
    [(victim, ref)] = asked_back(commands)
    assert sent(desk.tell(TasksGivenUp(victim, (ref,)))) == [("a", ref._replace(attempt=2))]
    assert len(desk.in_hand("b")) == 1
    assert (desk.job().counts.stolen, desk.job().retries) == (1, 0)
    desk.answer_all()
    assert desk.round().over


def test_what_it_has_started_meanwhile_it_keeps() -> None:
    desk, commands = desk_with_an_idle_thief()
    [(victim, ref)] = asked_back(commands)
    desk.answer("b", took_s=0.03)
    assert desk.in_hand("b") == [ref]
    assert sent(desk.tell(TasksGivenUp(victim, ()))) == []
    desk.answer("b")
    assert desk.round().over


def test_a_victim_that_dies_before_it_answers_loses_both() -> None:
    desk, _ = desk_with_an_idle_thief()
    had = {ref.range for ref in desk.in_hand("b")}
    commands = desk.tell(StreamBroken("b", "killed"))
    assert {(worker, ref.range) for worker, ref in sent(commands)} == {("a", r) for r in had}


def test_a_thief_that_dies_meanwhile_leaves_it_to_the_victim() -> None:
    desk, commands = desk_with_an_idle_thief()
    [(victim, ref)] = asked_back(commands)
    desk.tell(StreamBroken("a", "killed"))
    assert sent(desk.tell(TasksGivenUp(victim, (ref,)))) == [("b", ref._replace(attempt=2))]


def test_giving_up_the_only_task_leaves_nobody_idle() -> None:
    desk = Desk.of("a")
    desk.start([10])
    [ref] = desk.in_hand("a")
    assert sent(desk.tell(TasksGivenUp("a", (ref,)))) == [("a", ref._replace(attempt=2))]


@pytest.mark.parametrize("tasks", [(task(0, 1, 9),), ()])
def test_giving_up_what_it_does_not_have_changes_nothing(tasks: tuple[()]) -> None:
    desk, _ = desk_with_an_idle_thief()
    before = desk.in_hand("b")
    assert sent(desk.tell(TasksGivenUp("b", tasks), TasksGivenUp("stranger", tasks))) == []
    assert desk.in_hand("b") == before


# ---- leaving one's own


ONE_SLOW = {"a": 0.01, "b": 0.01, "slow": 0.1}


def test_a_slow_worker_leaves_its_own_to_those_who_are_through_with_it_sooner() -> None:
    desk = measured_desk(ONE_SLOW, shards=9)
    before = desk.job().share("slow").rows
    desk.next_round()
    assert len(desk.in_hand("slow")) == 1, "1 s each, while a and b are through with everything in 0.4 s"
    desk.answer("slow", took_s=1.0)
    assert desk.in_hand("slow") == []
    why = explain(desk.scheduler.state, "slow", desk.now)
    assert "It leaves 2 tasks of its own to others, who will be through sooner." in why
    desk.answer_all(seconds_per_row=ONE_SLOW)
    assert desk.round().complete
    assert desk.job().share("slow").rows == before + 10, "one chunk shows whether it is still slow"


def test_it_takes_its_own_where_it_is_through_as_soon_as_the_others() -> None:
    desk = measured_desk(ONE_SLOW, shards=60)
    desk.next_round()
    assert len(desk.in_hand("slow")) == 2


@pytest.mark.parametrize("gone", [("a",), ("a", "b")])
def test_when_those_are_gone_whom_it_left_it_to_it_takes_its_own(gone: tuple[str, ...]) -> None:
    desk = measured_desk(ONE_SLOW, shards=9)
    desk.next_round()
    for name in gone:
        desk.tell(StreamBroken(name, "reset"))
    desk.answer_all(seconds_per_row=ONE_SLOW)
    assert desk.round().complete


def test_a_slow_worker_leaves_nothing_where_nobody_waits_for_it() -> None:
    desk = measured_desk(ONE_SLOW, shards=9)
    desk.tell(JobChanged("job", synchrony=Synchrony(SynchronyKind.ASYNCHRONOUS)))
    desk.next_round()
    assert len(desk.in_hand("slow")) == 2


# ---- several jobs


def two_jobs(weight: float) -> Desk:
    desk = Desk.of("a", "b", limits=LIMITS)
    for job, share in (("one", 1.0), ("two", weight)):
        desk.tell(
            JobSubmitted(job, "round_robin", share_weight=share),
            JobPlanned(job, (10,) * 400),
            RoundReady(job, 1),
        )
    return desk


def computed(desk: Desk, tasks: int, seconds: dict[str, float] | None = None) -> dict[str, float]:
    """Seconds that the workers compute for each job."""
    spent = {"one": 0.0, "two": 0.0}
    for _ in range(tasks):
        for worker in "ab":
            ref = desk.in_hand(worker)[0]
            took = (seconds or {}).get(ref.job, 0.1)
            desk.answer(worker, after_s=took / 2, took_s=took)
            spent[ref.job] += took
    return spent


@pytest.mark.parametrize("weight", [1.0, 3.0, 0.25])
def test_two_jobs_share_the_workers_by_weight(weight: float) -> None:
    spent = computed(two_jobs(weight), 100)
    assert spent["two"] / spent["one"] == pytest.approx(weight, rel=0.1)


def test_it_is_time_that_is_shared_not_tasks() -> None:
    spent = computed(two_jobs(1.0), 150, seconds={"one": 0.1, "two": 0.3})
    assert spent["two"] / spent["one"] == pytest.approx(1.0, rel=0.1)


def test_a_job_that_comes_later_does_not_have_the_workers_to_itself() -> None:
    desk = Desk.of("a", "b", limits=LIMITS)
    desk.tell(JobSubmitted("one", "round_robin"), JobPlanned("one", (10,) * 400), RoundReady("one", 1))
    computed(desk, 100)
    desk.tell(JobSubmitted("two", "round_robin"), JobPlanned("two", (10,) * 400), RoundReady("two", 1))
    spent = computed(desk, 50)
    assert spent["two"] / spent["one"] == pytest.approx(1.0, rel=0.2)


def test_a_worker_freed_by_a_job_that_ends_goes_on_with_the_other() -> None:
    desk = two_jobs(1.0)
    while {ref.job for ref in desk.in_hand("a")} != {"one"}:
        computed(desk, 1)
    desk.tell(CancelRequested("one", "enough"))
    assert {ref.job for ref in desk.in_hand("a")} == {"two"}
