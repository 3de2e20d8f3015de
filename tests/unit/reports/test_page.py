"""The report as a page: it needs nothing else, says what is not known, and runs nobody's script."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from builders.runs import BEGAN, NASTY, completed, even_trace, facts, numbered, round_span, trace, view
from gradloom.jobs import JobState, Note, StateChanged, SteeringRecord, WorkerShare
from gradloom.reports.page import MAX_HAPPENINGS, page_of
from gradloom.specs import DataSpec, JobSpec
from gradloom.traces import CopyTotals, WorkerTotals

VOID = {"meta"}


class Reader(HTMLParser):
    """Checks that elements nest, and keeps their names, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = page_of(facts(traced=even_trace()))
    read = Reader(page)
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in read.tags:
        assert not set(attributes) & {"src", "href", "srcset", "action", "xlink:href"}
        assert not any(name.startswith("on") for name in attributes)
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style
    assert re.findall(r"https?://[^\"<> ]+", page.replace("http://www.w3.org/2000/svg", "")) == []


def test_what_people_typed_is_shown_and_not_run() -> None:
    spec = JobSpec(
        "logistic",
        DataSpec((f"/data/{NASTY}.csv",), target=NASTY),
        {"x": NASTY},
        placement=NASTY,
        codec=NASTY,
    )
    shown = replace(
        view(),
        job_id=f"job{NASTY}",
        spec=spec,
        reason=NASTY,
        scores={NASTY: 1.0},
        steering=(SteeringRecord(2, NASTY, 0.0, NASTY, NASTY, NASTY),),
        workers=(WorkerShare(NASTY, 1, 1, 0.5, 0, True),),
    )
    totals = WorkerTotals(NASTY, 0.0, 1.0, lost_s={NASTY: 0.5}, slow_rounds={NASTY: 1})
    events = numbered(StateChanged(JobState.RUNNING, NASTY), Note(NASTY), completed(1), completed(2))
    page = page_of(facts(shown, events, trace([], [], totals)))
    read = Reader(page)
    assert "script" not in {tag for tag, _ in read.tags}
    assert "<script>alert('x')</script> & \"quoted\"" in read.text
    assert "\x00" not in page
    assert "\x1b" not in page


def test_every_part_is_there() -> None:
    text = Reader(page_of(facts(traced=even_trace()))).text
    for heading in (
        "Curves",
        "Round time",
        "Balance",
        "The last rounds",
        "Stragglers and what they cost",
        "Retries",
        "Bytes",
        "From how many workers on it beats one machine",
        "Steering log",
        "Events",
        "Specification",
    ):
        assert heading in text
    assert "80.0 %" in text, "goodput"
    assert "nonfinite" in text
    assert "4 MB" in text
    assert "4.00" in text, "how much smaller"
    assert "settings.learning_rate" in text
    assert "T(n) = r·C/n + H" in text


def test_waiting_is_set_against_the_rounds_in_which_it_was_counted() -> None:
    waits = WorkerTotals("w-0", BEGAN, 9.0, rounds_last=2, awaited_s=3.0)
    rounds = [round_span(1, 0, 4, "profile"), round_span(2, 4, 6), round_span(3, 6, 90, "query")]
    whole = trace(rounds, [], waits)
    said = Reader(page_of(facts(traced=whole))).text
    assert "waited for one worker: 3 s in all, 50.0 % of the time of all rounds." in said
    cut = replace(whole, head=replace(whole.head, dropped_rounds=1))
    assert "of the time of all rounds" not in Reader(page_of(facts(traced=cut))).text


def test_without_a_trace_it_says_so_and_shows_the_rest() -> None:
    text = Reader(page_of(facts())).text
    assert "Where workers' time went is not known: there is no trace of job job-1." in text
    assert "That can't be known: there is no trace of job job-1." in text
    assert "Goodput" not in text
    assert "goodput" not in text
    assert "w-1" in text


def test_a_job_that_has_only_begun_is_a_page_too() -> None:
    bare = replace(
        view(JobState.QUEUED, ""),
        rounds=0,
        max_rounds=0,
        loss=None,
        scores={},
        compression=None,
        steering=(),
        workers=(),
    )
    text = Reader(page_of(facts(bare, []))).text
    assert "This job has told no loss." in text
    assert "Nobody has changed anything." in text
    assert "No task had to be tried again." in text


def test_what_copies_came_to_is_told() -> None:
    copies = CopyTotals(5, 3, 1, 1, 2.5, 0.5)
    text = Reader(page_of(facts(traced=trace([], [], WorkerTotals("w", 0.0, 1.0), copies=copies)))).text
    assert "5 made, 3 won, 1 lost, 1 called off. They saved at least 2.5 s and cost 500 ms." in text


def test_long_runs_make_no_long_pages() -> None:
    many = numbered(*(completed(n) for n in range(1, 20_000)), *(Note(f"note {n}") for n in range(2000)))
    page = page_of(facts(events=many, traced=even_trace(rounds=3000, workers=4)))
    assert len(page) < 600_000
    assert f"The last {MAX_HAPPENINGS} of 2000." in Reader(page).text


def test_events_that_are_gone_are_mentioned() -> None:
    events = numbered(*(completed(n) for n in range(1, 9)))[3:]
    assert "what is drawn begins with round 4" in Reader(page_of(facts(events=events))).text


@pytest.mark.parametrize("state", list(JobState))
def test_any_state_has_its_colour(state: JobState) -> None:
    page = page_of(facts(view(state, "why")))
    assert f'class="state {state}"' in page
    assert f".state.{state}" in page
