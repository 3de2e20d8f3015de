"""Whatever others type, a terminal is not steered by it and a log has no line that we did not write."""

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from builders.rooms import a_worker
from gradloom.cli.live import LiveScreen, load_table
from gradloom.cli.output import PlainConsole, results, say, write_json, write_line
from gradloom.cli.views import job_details, jobs_table
from gradloom.jobs import JobState, JobView, WorkerShare
from gradloom.logs import TEXT, TextFormatter
from gradloom.specs import DataSpec, JobSpec
from gradloom.visible import indented, one_line, visible

HOSTILE = (
    "[red]x[/red] \x1b[31m\x1b]0;title\x07 \x9b2J \r\n2026 ERROR faked \u202etxt.exe \x00\x08 :smile: \ud800"
)
STEERING = {*map(chr, (*range(0x20), *range(0x7F, 0xA0))), "\u202e", "\u2028", "\u2066"} - {"\n", "\t"}


def steers(text: str) -> set[str]:
    return STEERING & set(text)


def job(text: str) -> JobView:
    share = WorkerShare(text, 1, 2, 0.5, 0, True)
    spec = JobSpec(text, DataSpec((text,), text), {text: text})
    return JobView(text, spec, JobState.RUNNING, text, 0.0, workers=(share,), last_worker=text)


@given(st.text())
def test_nothing_that_steers_is_left_and_what_is_plain_stays(text: str) -> None:
    assert not steers(visible(text))
    assert not steers(one_line(text))
    assert "\n" not in one_line(text)
    visible(text).encode()  # also where halves of surrogate pairs were in it
    plain = "".join(char for char in text if char.isprintable() and char.isascii())
    assert visible(plain) == one_line(plain) == indented(plain) == plain


def test_what_is_hidden_is_shown() -> None:
    assert visible("a\x1b[31mb\u202ec\ud800") == r"a\x1b[31mb\u202ec\ud800"
    assert visible("Zürich 東京 ✓\tx\ny") == "Zürich 東京 ✓\tx\ny"
    assert one_line("a\nb\tc") == r"a\nb\tc"
    assert indented("a\nERROR b") == "a\n  ERROR b"


def test_lines_of_a_command_are_what_they_seem(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"error: {HOSTILE}")
    write_line(HOSTILE)
    results().print(jobs_table([job(HOSTILE)]))
    results().print(job_details(job(HOSTILE)))
    results().print(HOSTILE)
    said = capsys.readouterr()
    assert not steers(said.out + said.err)
    assert "[red]x[/red]" in said.out  # no markup
    assert ":smile:" in said.out
    assert all(line.startswith(("error: ", "  ")) for line in said.err.splitlines())
    write_json({"name": HOSTILE})
    assert capsys.readouterr().out.isascii()


def test_what_moves_in_a_terminal_holds_colours_of_ours_alone() -> None:
    written = io.StringIO()
    console = PlainConsole(written, width=200)
    worker = a_worker(HOSTILE, host=HOSTILE, version=HOSTILE, reason=HOSTILE, straggler=HOSTILE)
    screen = LiveScreen(lambda: (job(HOSTILE), [worker]), console)
    screen.line(HOSTILE)
    screen.close()
    console.print(load_table(job(HOSTILE), [worker]))
    assert not steers(written.getvalue()) - {"\r"}
    assert isinstance(console.render_str(HOSTILE), Text)


def test_a_log_has_no_line_that_others_wrote() -> None:
    record = logging.LogRecord("gradloom", logging.INFO, __file__, 1, "worker %s joined", (HOSTILE,), None)
    first, *others = TextFormatter(TEXT).format(record).splitlines()
    assert "worker [red]x" in first
    assert others
    assert all(line.startswith("  ") for line in others)
    assert not steers("".join(others) + first)
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    record.exc_info = caught._excinfo
    assert "\nTraceback" in TextFormatter(TEXT).format(record)
