"""What the pages of the control room show, as values: lanes, shares, curves, fields, changes."""

import json
from dataclasses import replace

import pytest

from builders.rooms import a_job, a_round, a_share, a_worker
from gradloom.algorithms import describe, names
from gradloom.cli.phases import activity_text
from gradloom.errors import InvalidInput
from gradloom.jobs import (
    AlgorithmDescription,
    Compression,
    JobState,
    SteerableField,
    SteeringRecord,
    WorkerActivity,
    WorkerPhases,
    WorkerState,
)
from gradloom_dashboard import charts, lanes
from gradloom_dashboard.changes import told, update_of
from gradloom_dashboard.fields import SCHEDULING, in_force, live_settings_of, settings_of
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.patches import patch_of
from gradloom_dashboard.series import Series


def moment(*workers: object, **more: object) -> Moment:
    return Moment(1, 1010.0, workers=workers, **more)


DOING = WorkerActivity("logistic-1", "train", 12, 3, 5, 1, 0.2, False)


def test_a_lane_says_what_its_worker_does_for_whom() -> None:
    spent = WorkerPhases(compute=6.2, load=0.001, encode=0.8, wait=3.0)
    worker = a_worker("worker-0", tasks_in_flight=2, activity=DOING)
    now = moment(worker, jobs=(a_job(workers=(a_share("worker-0"),)),), trails={"worker-0": (spent,)})
    (lane,) = lanes.worker_rows(now, may_steer=True)
    assert (lane["does"], lane["rate"]) == (
        "computes logistic-1 round 12, shards 3-4, then 1 more",
        "1.5 M rows/s",
    )
    assert lane["phases"] == [["compute", 62], ["encode", 8], ["wait", 30]]
    assert lane["phases_short"] == "compute 62 % · wait 30 % · encode 8 %"
    assert lane["phases_words"] == "computes 62 %, encodes 8 %, waits for others 30 %"
    assert (lane["tone"], lane["deeds"], lane["heartbeat"]) == ("good", ["drain", "exclude"], "now")
    assert lanes.worker_rows(moment(a_worker("w")), may_steer=False)[0]["deeds"] == []


@pytest.mark.parametrize(
    ("doing", "words"),
    [
        (replace(DOING, lo=4), "logistic-1 round 12, shard 4"),
        (replace(DOING, attempt=2), "logistic-1 round 12, shards 3-4 (try 2)"),
        (replace(DOING, speculative=True, attempt=2), "logistic-1 round 12, shards 3-4 (a copy)"),
        (replace(DOING, step="profile", round=0), "logistic-1 profile, shards 3-4"),
        (None, ""),
    ],
)
def test_what_a_worker_computes_is_named(doing: WorkerActivity | None, words: str) -> None:
    assert activity_text(doing) == words


def test_a_worker_without_a_task_waits_for_one() -> None:
    job = a_job(workers=(a_share("worker-0"), a_share("gone", present=False)))
    lane, other = lanes.worker_rows(
        moment(a_worker("worker-0"), a_worker("gone"), jobs=(job,)), may_steer=True
    )
    assert (lane["does"], other["does"]) == ("waits for work of logistic-1", "waits for a job")
    assert (lane["phases"], lane["phases_short"]) == ([], "time")
    assert heartbeats(0.3, 1.9, 2.2, 61.0) == ["now", "now", "2 s ago", "61 s ago"]


def heartbeats(*ages: float) -> list[str]:
    return [lanes.heartbeat_text(age) for age in ages]


def test_workers_that_need_a_look_come_first_and_the_others_keep_their_places() -> None:
    found = lanes.worker_rows(
        moment(
            a_worker("a", WorkerState.IDLE),
            a_worker("b"),
            a_worker("c", straggler="slow in computing"),
            a_worker("d", slowdown_ratio=3.0),
            a_worker("e", WorkerState.EXCLUDED, reason="its fan is loud"),
            left={"f": 1000.0},
        ),
        may_steer=True,
    )
    assert [lane["id"] for lane in found] == ["e", "f", "c", "d", "a", "b"]
    excluded, gone, straggler, slow, *_ = found
    assert (excluded["deeds"], excluded["remarks"]) == (["drain", "readmit"], ["its fan is loud"])
    assert (gone["state"], gone["does"]) == ("left", "not connected; last seen 10 s ago")
    assert straggler["remarks"] == ["slow in computing"]
    assert slow["remarks"] == ["3.0 times the median time"]


def test_only_what_is_new_of_rows_is_told() -> None:
    before = [{"id": "a", "x": 1, "y": 2}, {"id": "b", "x": 1, "y": 2}]
    assert patch_of(before, before) == ([], None)
    assert patch_of(before, [{"id": "a", "x": 1, "y": 2}, {"id": "b", "x": 3, "y": 2}]) == (
        [{"id": "b", "x": 3}],
        None,
    )
    assert patch_of(before, before[::-1]) == ([], ["b", "a"])
    new = {"id": "c", "x": 0, "y": 0}
    assert patch_of(before, [*before[1:], new]) == ([new], ["b", "c"])
    assert patch_of([], before) == (before, ["a", "b"])


def test_every_state_has_a_colour_and_rows_are_json() -> None:
    assert {*JobState, *WorkerState} <= set(lanes.TONES)
    rows = lanes.job_rows(a_job(state=state, rounds=5, max_rounds=20, loss=0.25) for state in JobState)
    assert {row["progress"] for row in rows if row["state"] == "running"} == {25}
    assert {row["progress"] for row in rows if row["state"] == "completed"} == {100}
    json.dumps(rows)


def test_shares_compare_what_workers_have_computed() -> None:
    job = a_job(workers=(a_share("worker-0", 300), a_share("worker-1", 100, retries=2), a_share("gone", 0)))
    gone, first, second = lanes.share_rows(job, [a_worker("worker-0"), a_worker("worker-1")])
    assert (first["part"], first["bar"], second["part"], second["bar"]) == ("75 %", 100, "25 %", 33)
    assert (second["retries"], gone["state"], gone["tone"]) == (2, "left", "bad")
    assert first["last"] == "no round"
    late = replace(a_share("worker-0"), rounds_last=34, waited_for_s=2.1)
    assert lanes.last_text(late) == "34 rounds, 2.1 s"


def test_traffic_is_told_with_what_codecs_made_of_it() -> None:
    assert lanes.traffic_words(None)[0] == "-"
    plain = Compression(raw_bytes_up=1000, wire_bytes_up=1000, wire_bytes_down=500)
    assert lanes.traffic_words(plain) == ("1.5 kB", "nothing compressed")
    small = Compression("int8", raw_bytes_up=4_000_000, wire_bytes_up=1_000_000, relative_error=0.004)
    assert lanes.traffic_words(small) == ("1 MB", "gradients 4 times smaller (int8, error 0.004)")


def record(field: str, old: str, new: str, at_round: int = 12, who: str = "ann@lab") -> SteeringRecord:
    return SteeringRecord(at_round, who, 1_700_000_000.0, field, old, new)


def test_changes_are_told_in_words() -> None:
    words = lanes.change_words(record("settings.learning_rate", "none", "0.05"))
    assert words.startswith("learning_rate: none → 0.05, from round 12, by ann@lab at ")
    assert lanes.change_words(record("paused", "", "paused by ann")).startswith("paused by ann, from round")
    assert lanes.change_words(record("rollback", "30", "20")).startswith(
        "set back to the checkpoint of round 20"
    )
    labels = [lanes.change_label(record(*one)) for one in (("paused", "x", ""), ("rollback", "3", "2"))]
    assert labels == ["resumed", "back to 2"]


def test_a_mark_stands_where_somebody_changed_something_and_is_escaped() -> None:
    series = Series()
    for number in range(1, 30):
        series.add(a_round(number))
    changes = [
        record("codec", "none", "int8"),
        record("settings.learning_rate", "none", "0.05", who="<script>"),
        record("paused", "", "later", at_round=99),
    ]
    options = charts.loss_chart(series.points, changes, logarithmic=True)
    first, second = options["series"][0]["markLine"]["data"]
    assert (first["xAxis"], first["name"], second["xAxis"]) == (12, "learning_rate 0.05", 29)
    words = first["tooltip"]["formatter"]
    assert "codec: none → int8" in words
    assert "<br>" in words
    assert "by &lt;script&gt; at" in words
    assert options["yAxis"]["type"] == "log"
    json.dumps(options, allow_nan=False)


def test_what_can_not_be_drawn_is_left_out() -> None:
    series = Series()
    for number, loss in enumerate((1.0, float("nan"), float("inf"), -1.0, 0.5), 1):
        series.add(a_round(number, loss=loss, validation_loss=loss))
    for logarithmic, drawn in ((False, [1, 4, 5]), (True, [1, 5])):
        lines = charts.loss_chart(series.points, (), logarithmic=logarithmic)["series"]
        assert [line["name"] for line in lines] == ["loss", "validation loss"]
        assert [[x for x, _ in line["data"]] for line in lines] == [drawn, drawn]
    assert charts.small_chart(series.points, "time")["series"][0]["data"][0] == [1, 10.0]
    assert charts.small_chart(series.points, "rate")["series"][0]["data"] == []
    for curve in charts.CURVES:
        json.dumps(charts.small_chart(series.points, curve), allow_nan=False)
    json.dumps(charts.loss_chart((), (), logarithmic=False))


@pytest.mark.parametrize("name", names())
def test_every_algorithm_has_a_form(name: str) -> None:
    fields = settings_of(describe(name))
    assert fields
    assert all(field.meaning for field in fields)


def test_fields_say_their_default_and_what_is_allowed() -> None:
    fields = {field.name: field for field in settings_of(describe("logistic"))}
    assert (fields["learning_rate"].default, fields["learning_rate"].allowed) == ("none", "> 0 or none")
    assert fields["solver"].choices[0] == "auto"
    assert (fields["nesterov"].default, fields["nesterov"].choices) == ("false", ("true", "false"))
    assert fields["max_rounds"].hint.endswith("(a whole number ≥ 1)")


def test_a_form_offers_what_the_coordinator_lets_change() -> None:
    properties = {name: {"type": "integer", "default": 3} for name in ("depth", "seed")}
    forest = AlgorithmDescription("forest", 1, "", json.dumps({"properties": properties}))
    live = a_job(steerable=(SteerableField("settings.depth", "3"), SteerableField("codec", "none")))
    assert [field.name for field in live_settings_of(live, forest)] == ["depth"]
    ended = a_job(state=JobState.COMPLETED)
    assert [field.name for field in live_settings_of(ended, forest)] == ["depth", "seed"]


def test_controls_show_what_is_in_force() -> None:
    rate = next(field for field in settings_of(describe("logistic")) if field.name == "learning_rate")
    job = a_job()
    assert in_force(job, rate) == "none"
    assert [in_force(job, field) for field in SCHEDULING] == [
        "synchronous",
        "none",
        "none",
        "balanced",
        "on",
        "1.0",
    ]


def test_words_that_are_no_change_are_refused() -> None:
    for changed, words in (
        ({"share_weight": "much"}, "share_weight: 'much' is not allowed; it must be a number"),
        ({"speculation": "maybe"}, "speculation: 'maybe' is not allowed; it must be on or off"),
    ):
        with pytest.raises(InvalidInput) as refusal:
            update_of(changed, "")
        assert str(refusal.value) == words
    assert told({"codec": "int8", "learning_rate": ""}) == "codec is int8 now, learning_rate is none now"
