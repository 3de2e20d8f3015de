"""The policy laboratory: the real scheduler on machines that follow a speed trace."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from gradloom.errors import InvalidInput
from gradloom_coordinator.laboratory.__main__ import main
from gradloom_coordinator.laboratory.cluster import BOUNDS, Cluster, Setting
from gradloom_coordinator.laboratory.contestants import CONTESTANTS, chosen
from gradloom_coordinator.laboratory.outcomes import Outcome
from gradloom_coordinator.laboratory.recorded import read_trace, recorded_workers
from gradloom_coordinator.laboratory.traces import TRACES, Trace, ideal_round, trace_named
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.events import Event
from gradloom_coordinator.scheduling.scheduler import Scheduler

FOUR = Setting(workers=4, shards=64, rounds=10, load_s_per_shard=0.01)
CONSTANT = ("one-slow", "linear")
"""Traces whose ideal no luck can beat: there is none in them."""


class Checked(Scheduler):
    """Asserts its invariants after every event."""

    def handle(self, event: Event, now: float) -> list[Command]:
        commands = super().handle(event, now)
        self.state.check()
        return commands


def speeds(trace: str, seed: int = 1, setting: Setting = FOUR, slow: float = 5.0) -> Trace:
    return trace_named(trace, seed, setting.workers, slow)


def outcome_of(
    policy: str, trace: str, *, seed: int = 1, setting: Setting = FOUR, check: bool = False
) -> Outcome:
    cluster = Cluster(setting, speeds(trace, seed, setting), CONTESTANTS[policy])
    if check:
        cluster.scheduler = Checked(cluster.scheduler.limits)
    return cluster.run()


# ---- traces


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_depends_on_its_seed_and_on_nothing_else(name: str) -> None:
    one, same, other = (speeds(name, seed) for seed in (7, 7, 8))
    at = [0.0, 0.5, 3.7, 12.01]
    assert [same.pace(2, t) for t in reversed(at)] == [one.pace(2, t) for t in reversed(at)]
    assert [one.pace(2, t) for t in at] == [same.pace(2, t) for t in at]
    ends = [
        [trace.end(m, t, 0.7 * trace.task_stretch(f"{m}/{t}")) for m in range(4) for t in at]
        for trace in (one, same)
    ]
    assert ends[0] == ends[1]
    chance = name not in CONSTANT
    work = [[trace.work(m, 38.3) for m in range(4)] for trace in (one, other)]
    stretched = [[trace.task_stretch(str(i)) for i in range(100)] for trace in (one, other)]
    assert (work[0] != work[1] or stretched[0] != stretched[1]) == chance


@pytest.mark.parametrize("name", TRACES)
def test_what_a_machine_computes_between_two_moments_is_what_it_needs_that_time_for(name: str) -> None:
    trace = speeds(name)
    for machine in range(4):
        end = trace.end(machine, 0.0, 3.0)
        if next(trace.outages(machine), None) is None:
            assert trace.work(machine, end) * trace.mean_task_stretch == pytest.approx(3.0)


def test_a_pause_stops_the_machine_and_nothing_else() -> None:
    trace = speeds("pauses")
    assert trace.end(0, 0.0, 45.0) == pytest.approx(50.0, abs=0.5)


@pytest.mark.parametrize(
    ("name", "ideal"), [("uniform", 1.0), ("one-slow", 4 / 3.2), ("linear", 4 / (1 + 0.6 + 3 / 7 + 1 / 3))]
)
def test_the_ideal_is_all_work_over_all_speed(name: str, ideal: float) -> None:
    assert ideal_round(speeds(name), 4, 10) == pytest.approx(ideal, rel=1e-4)


# ---- policies


def test_synchronous_takes_as_long_as_its_slowest_worker() -> None:
    outcome = outcome_of("synchronous", "one-slow")
    way_s = 2 * FOUR.latency_ms / 1e3 + 4 * FOUR.answer_s
    assert outcome.round_s == pytest.approx(5.0, abs=way_s)
    assert outcome.partials == 4
    assert outcome.waste == 0.0


def test_the_default_does_not_wait_for_a_slow_worker() -> None:
    assert outcome_of("default", "one-slow").round_s < 1.3, "four workers, one of them 5 x slow: 1.25 at best"


@pytest.mark.parametrize("trace", CONSTANT)
@pytest.mark.parametrize("policy", ["default", "synchronous", "balanced", "replicas-all", "no-copies"])
def test_nothing_exact_is_faster_than_the_ideal(policy: str, trace: str) -> None:
    assert outcome_of(policy, trace).round_s >= ideal_round(speeds(trace), FOUR.workers, 15)


def test_without_a_straggler_chunks_cost_next_to_nothing() -> None:
    assert outcome_of("default", "uniform").round_s < 1.05 * outcome_of("synchronous", "uniform").round_s


@pytest.mark.parametrize("trace", ["mixed", "spikes", "one-slow", "linear", "heavy-tail", "spot"])
def test_the_default_beats_plain_synchronous_training(trace: str) -> None:
    setting = replace(FOUR, workers=8, shards=128, rounds=20)
    default, plain = (outcome_of(policy, trace, setting=setting) for policy in ("default", "synchronous"))
    assert default.round_s < plain.round_s
    assert default.quantile_s(0.99) < plain.quantile_s(0.99)


def test_copies_cut_the_long_tail() -> None:
    setting = replace(FOUR, workers=16, shards=256, rounds=30)
    with_copies, without = (outcome_of(p, "spikes", setting=setting) for p in ("default", "no-copies"))
    assert with_copies.copies.won > with_copies.copies.lost > 0
    assert with_copies.round_s < without.round_s
    assert without.copies.launched == 0


def test_a_worker_that_is_not_waited_for_computes_in_vain() -> None:
    outcome = outcome_of("backup-1", "linear")
    assert outcome.waste > 0.1
    assert all(0.7 < each.counted <= 1.0 for each in outcome.rounds)


def test_asynchronous_training_comes_to_the_ceiling() -> None:
    ideal = ideal_round(speeds("linear"), FOUR.workers, 15)
    assert outcome_of("asynchronous", "linear").round_s == pytest.approx(ideal, rel=0.05)


def test_killed_machines_come_back_and_every_round_is_finished() -> None:
    setting = replace(FOUR, rounds=60)
    outcome = outcome_of("default", "spot", setting=setting, check=True)
    assert not outcome.ended_because
    assert len(outcome.rounds) == 60
    assert all(each.counted == 1.0 for each in outcome.rounds)


@pytest.mark.parametrize("policy", CONTESTANTS)
def test_the_scheduler_keeps_its_invariants_under_every_policy(policy: str) -> None:
    setting = replace(FOUR, rounds=5, warmup=2)
    assert len(outcome_of(policy, "mixed", setting=setting, check=True).rounds) == 5


def test_the_same_seed_gives_the_same_run() -> None:
    one, same, other = (outcome_of("default", "mixed", seed=seed) for seed in (5, 5, 6))
    assert one == same
    assert one != other


# ---- recorded traces

RECORDS = [("a", 0.0, 1e-6), ("a", 10.0, 3e-6), ("b", 0.0, 1e-6), ("c", 5.0, 1e-6)]


def test_a_recorded_trace_is_played_again_and_again(tmp_path) -> None:
    csv, lines = tmp_path / "trace.csv", tmp_path / "trace.jsonl"
    names = ("worker", "at_s", "seconds_per_row")
    csv.write_text("\n".join([",".join(names), *(",".join(map(str, r)) for r in RECORDS)]))
    lines.write_text("\n".join(json.dumps(dict(zip(names, r, strict=True))) for r in RECORDS))
    for trace in (read_trace(csv, 1.0), read_trace(lines, 1.0)):
        assert [trace.pace(0, at).slowness for at in (0.0, 9.9, 10.0, 19.9, 20.0)] == [
            1.0,
            1.0,
            3.0,
            3.0,
            1.0,
        ]
        assert trace.pace(1, 500.0).slowness == 1.0
        assert trace.pace(3, 15.0).slowness == 3.0, "the fourth machine does as the first"
        assert trace.end(0, 0.0, 11.0) == pytest.approx(13.0)
        outcome = Cluster(replace(FOUR, rounds=3), trace, CONTESTANTS["default"]).run()
        assert outcome.round_s >= 1.0


def test_a_file_of_gradloom_trace_is_played_with_as_many_machines_as_it_has_workers(tmp_path, capsys) -> None:
    speeds = [
        {"worker": worker, "at_s": at_s, "seconds_per_row": pace}
        for worker, pace in (("a", 1e-6), ("b", 1e-6), ("c", 4e-6))
        for at_s in (0.0, 1.0)
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": [{"ph": "M"}], "speeds": speeds}))
    assert [read_trace(path, 1.0).pace(machine, 0.0).slowness for machine in range(3)] == [1.0, 1.0, 4.0]
    words = [
        "--trace",
        "recorded",
        "--trace-file",
        str(path),
        "--rounds",
        "5",
        "--policy",
        "synchronous",
        "--json",
    ]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["policies"]["synchronous"]["round_s"] == pytest.approx(4.0, rel=0.01)
    assert said["ideal_round_s"] == pytest.approx(3 / (1 + 1 + 1 / 4), rel=0.01)


def test_json_lines_may_be_called_json(tmp_path) -> None:
    path = tmp_path / "lines.json"
    path.write_text(
        '{"worker": "a", "at_s": 0, "seconds_per_row": 1}\n{"worker": "b", "at_s": 0, "seconds_per_row": 2}\n'
    )
    assert recorded_workers(path) == 2


def test_a_trace_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="can't be read"):
        read_trace(tmp_path / "none.csv", 1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no record"),
        ("worker,at_s\na,1\n", "'seconds_per_row'; it must be .csv or JSON lines"),
        ("worker,at_s,seconds_per_row\na,1,fast\n", "could not convert string to float: 'fast'"),
        ("worker,at_s,seconds_per_row\na,1,0\n", "record 1: at_s 1, seconds_per_row 0"),
        ("worker,at_s,seconds_per_row\na,nan,1\n", "record 1: at_s nan"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused(text: str, says: str, tmp_path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="trace_file") as refused:
        read_trace(path, 1.0)
    assert says in str(refused.value)


# ---- the command


def test_unknown_policies_are_refused() -> None:
    assert list(chosen(["all"])) == list(CONTESTANTS)
    with pytest.raises(InvalidInput, match=r"'defualt' is not known; .* Did you mean 'default'"):
        chosen(["defualt"])


@pytest.mark.parametrize("field", BOUNDS)
def test_numbers_out_of_bounds_are_refused(field: str) -> None:
    least, most = BOUNDS[field]
    for value in (least - 1, most + 1, float("nan")):
        with pytest.raises(InvalidInput, match=f"{field}: .* is not allowed; it must lie in"):
            replace(FOUR, **{field: value})


SMALL = ("--workers", "4", "--rounds", "5", "--load-s-per-shard", "0.01", "--seed", "3")


def test_the_command_prints_a_table_and_bars(capsys, tmp_path) -> None:
    picture = tmp_path / "rounds.svg"
    words = [*SMALL, "--trace", "one-slow", "--slow", "3", "--policy", "default,synchronous"]
    assert main([*words, "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "a round takes at least 1.2 s" in out
    assert {"policy", "p99", "in vain", "partials", "copies"} <= {
        word.strip() for word in out.replace("┃", "│").split("│")
    }
    assert any(line.startswith("ideal ") and line.endswith(" 1.00") for line in out.splitlines())
    assert any(line.startswith("synchronous █") and line.endswith(" 2.50") for line in out.splitlines())
    assert picture.read_text().startswith("<svg")
    assert main(words) == 0
    assert capsys.readouterr().out == out, "the same seed, the same words"


def test_the_command_writes_json(capsys) -> None:
    assert main([*SMALL, "--trace", "spikes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ideal_round_s"] == pytest.approx(1.11, abs=0.01)
    assert set(said["policies"]) == {
        "default",
        "synchronous",
        "speculation",
        "backup-1",
        "backup-2",
        "balanced",
    }
    assert (
        said["policies"]["synchronous"]["round_s_p99"]
        >= said["policies"]["synchronous"]["round_s_p50"]
        >= 1.0
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--trace", "mixd"], "trace: 'mixd' is not known; allowed: "),
        (["--workers", "0"], "workers: 0 is not allowed; it must lie in [1, 10000]"),
        (["--slow", "0.5"], "slow: 0.5 is not allowed; it must lie in [1, 1000]"),
        (["--trace", "recorded"], "trace_file: --trace recorded needs one: what gradloom trace wrote"),
        (
            ["--trace-file", "x.csv", "--workers", "2"],
            "trace_file: it goes with --trace recorded, and with no",
        ),
        (["--rounds", "many"], "Invalid value for '--rounds'"),
    ],
)
def test_the_command_refuses_bad_input(words: list[str], says: str, capsys) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err


def test_gradloom_simulate_is_that_command(tmp_path) -> None:
    words = [sys.executable, "-P", "-m", "gradloom.cli", "simulate", *SMALL, "--policy", "default", "--json"]
    (tmp_path / "random.py").write_text("raise SystemExit('not the standard one')")
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert list(json.loads(ran.stdout)["policies"]) == ["default"]
