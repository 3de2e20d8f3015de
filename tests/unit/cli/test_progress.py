"""What is shown while a job goes on: lines, the bar of a terminal, the curve of the loss."""

from gradloom.cli.live import Curve, LiveScreen
from gradloom.cli.progress import LineScreen, follow
from gradloom.jobs import (
    JobEvent,
    JobState,
    Note,
    RetryReason,
    RoundCompleted,
    StateChanged,
    TaskRetried,
)


def a_round(number, eta=2.0, validation=None):
    return RoundCompleted(number, 100, 1 / number, None, validation, None, 0.1, 12_345.6, 4, eta)


def test_lines_come_at_most_once_a_second_and_the_last_round_always():
    now, lines = [0.0], []
    screen = LineScreen(lines.append, lambda: now[0])
    for number, at in [(1, 0.0), (2, 0.4), (3, 0.9), (4, 1.1), (5, 1.2), (6, 1.3)]:
        now[0] = at
        screen.round_done(a_round(number))
    screen.close()
    assert [line.split()[1] for line in lines] == ["1/100", "4/100", "6/100"]
    assert lines[0] == "round 1/100  loss 1  12,346 rows/s  4 workers  at most 2 s left"


def test_sentences_keep_their_place_between_rounds():
    lines = []
    events = [
        StateChanged(JobState.RUNNING, ""),
        a_round(1),
        a_round(2, validation=0.25),
        TaskRetried(RetryReason.WORKER_LOST, "worker-2", "4-7", 2, "its stream broke"),
        Note("the rest is silence"),
        StateChanged(JobState.COMPLETED, "converged"),
    ]
    numbered = [JobEvent(i, 0.0, what) for i, what in enumerate(events, 1)]
    follow(numbered, LineScreen(lines.append, lambda: 0.0))
    assert [line.split(" ")[0] for line in lines] == [
        "running",
        "round",
        "round",
        "retry:",
        "the",
        "completed:",
    ]
    assert "validation 0.25" in lines[2]
    assert (
        lines[3] == "retry: shards 4-7 of worker-2 are computed again, try 2 (worker_lost): its stream broke"
    )


def test_the_bar_of_a_terminal_shows_the_same_words(monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    screen = LiveScreen()
    follow([JobEvent(1, 0.0, a_round(3)), JobEvent(2, 0.0, Note("a note [sic]"))], screen)
    said = capfd.readouterr().err
    assert "a note [sic]" in said
    assert "round 3/100" in said


def test_the_loss_is_a_curve_that_takes_no_more_room_however_long_it_gets():
    curve = Curve()
    for i in range(100_000):
        curve.add(1.0 + 1.0 / (i + 1))
    curve.add(None)
    curve.add(float("nan"))
    assert len(curve.points) <= 240
    drawn = curve.text(40)
    assert len(drawn) <= 40
    assert (drawn[0], drawn[-1]) == ("█", "▁")
    assert Curve().text() == ""
    flat = Curve()
    flat.add(2.0)
    assert flat.text() == "▁"
