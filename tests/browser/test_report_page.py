"""The report in a real browser: on paper, on a phone, by day and by night; it asks nobody and runs nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from builders.runs import NASTY, completed, even_trace, facts, numbered, view
from gradloom.jobs import JobState, Note, StateChanged
from gradloom.reports.page import page_of


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which somebody typed nasty things."""
    events = numbered(
        StateChanged(JobState.RUNNING, NASTY),
        *(completed(n) for n in range(1, 60)),
        Note(NASTY),
        Note("x" * 3000),
    )
    shown = replace(view(), reason=f"{NASTY} {'y' * 500}", job_id="logistic-0123456789")
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(facts(shown, events, even_trace(rounds=20, workers=8))), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_and_is_readable(browser: Browser, report: Path, width: int, scheme: str) -> None:
    viewport = {"width": width, "height": 800}
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"it ran: {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        ground, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        assert (brightness(ground) > brightness(ink)) == (scheme == "light")
        assert abs(brightness(ground) - brightness(ink)) > 150
        assert page.locator("svg .curve").count() >= 2
        assert page.locator("h2").all_inner_texts()[0] == "Curves"
        assert complaints == []
        assert asked == [report.as_uri()]


def test_it_prints_in_black_on_white(browser: Browser, report: Path) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(report.as_uri())
        page.emulate_media(media="print")
        ground, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        assert (brightness(ground), brightness(ink)) == (255, 0)
        assert page.pdf().startswith(b"%PDF")


def brightness(colour: str) -> float:
    """Of ``rgb(r, g, b)``."""
    parts = [float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(parts) / 3
