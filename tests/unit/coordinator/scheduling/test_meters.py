"""Counters and histograms as plain values."""

from gradloom_coordinator.scheduling.meters import Distribution, Spread, Tally


def test_a_tally_counts_by_labels() -> None:
    tasks = Tally("tasks", "Tasks.", "job_id", "outcome")
    tasks.begin("a", "failed")
    tasks.add("a", "failed")
    tasks.add("a", "succeeded", by=2.5)
    tasks.begin("a", "failed")
    assert tasks.reading().values == {("a", "failed"): 1.0, ("a", "succeeded"): 2.5}
    assert (tasks.value("a", "failed"), tasks.value("b", "failed")) == (1.0, 0.0)


def test_a_tally_is_summed_over_the_other_labels() -> None:
    rework = Tally("rework", "Rework.", "job_id", "reason")
    for job, reason, seconds in (("a", "x", 1.0), ("a", "y", 2.0), ("b", "x", 4.0)):
        rework.add(job, reason, by=seconds)
    assert rework.summed("job_id") == {"a": 3.0, "b": 4.0}
    assert rework.summed("reason") == {"x": 5.0, "y": 2.0}


def test_a_reading_is_a_copy() -> None:
    rounds = Tally("rounds", "Rounds.")
    rounds.add()
    reading = rounds.reading()
    rounds.add()
    assert reading.values == {(): 1.0}


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    seconds = Spread("s", "Seconds.", (0.1, 1.0), "worker")
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe(value, "w")
    seconds.begin("quiet")
    assert seconds.reading().distributions == {
        ("w",): Distribution((0.1, 1.0), (2, 1, 1), 7.65),
        ("quiet",): Distribution((0.1, 1.0), (0, 0, 0), 0.0),
    }


def test_what_is_gone_is_forgotten_wherever_its_label_stands() -> None:
    rows, waits, plain = (
        Tally("rows", "Rows.", "worker", "job_id"),
        Spread("waits", "Waits.", (1.0,), "worker"),
        Tally("plain", "No such label.", "reason"),
    )
    for worker in ("v", "w"):
        rows.add(worker, "v")
        waits.observe(0.5, worker)
    plain.add("v")
    for meter in (rows, waits, plain):
        meter.forget("worker", {"v"})
    assert rows.reading().values == {("w", "v"): 1.0}
    assert set(waits.reading().distributions) == {("w",)}
    assert plain.reading().values == {("v",): 1.0}
