"""What surrounds every page: the bar at the top, whether the cluster answers, and the parts that pages are made of."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import ui

from gradloom.words import clock_text
from gradloom_dashboard.gates import login_path
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room

STYLE = Path(__file__).with_name("style.css")
REFRESH_EVERY_S = 0.5
LEGEND = (
    ("compute", "computing"),
    ("load", "data"),
    ("send", "talking"),
    ("wait", "waiting"),
    ("idle", "idle"),
)
PAGES = (("/", "Cluster"), ("/new", "New job"))


@contextmanager
def page(room: Room, here: str) -> Iterator[Callable[[Moment], None]]:
    """The frame; what is made within stands in the page. Gives what must be called again and again with the moment."""
    ui.add_css(STYLE)
    ui.colors(primary="#2f6fde", positive="#2f9e63", negative="#d64545", warning="#d9822b")
    dot = _bar(room, here)
    with ui.element("main").classes("gl-page"):
        banner = ui.label().classes("gl-banner").props("data-testid=banner role=status")
        banner.set_visibility(False)
        shown, troubled = "", False

        def show(moment: Moment) -> None:
            nonlocal shown, troubled
            words = banner_words(moment, time.time())
            if words != shown:
                banner.set_visibility(bool(words))
                banner.set_text(words)
                shown = words
            dot.classes(replace=f"gl-dot {_tone(moment, words)}")
            if troubled and not moment.trouble:
                ui.notify("The coordinator answers again.", type="positive", position="bottom")
            troubled = bool(moment.trouble)

        yield show


def _bar(room: Room, here: str) -> ui.element:
    """The bar at the top; gives the dot that says how the cluster is."""
    with ui.element("header").classes("gl-top"), ui.element("div").classes("gl-bar"):
        ui.link("gradloom", "/").classes("gl-brand")
        with ui.element("nav").classes("gl-nav"):
            for path, name in PAGES:
                if room.may_steer or path != "/new":
                    ui.link(name, path).classes("gl-here" if path == here else "")
        with ui.element("div").classes("gl-where gl-small"):
            if not room.may_steer:
                ui.label("viewer").classes("gl-pill").props("data-testid=viewer")
            dot = ui.element("span").classes("gl-dot")
            ui.label(room.client.address).classes("gl-address")
            if room.has_login:
                ui.label(room.who).classes("gl-who").props("data-testid=who")
                with ui.element("form").props("method=post action=/logout"):
                    out = ui.element("button").classes("gl-act").props("type=submit data-testid=logout")
                    with out:
                        ui.label("Log out")
    return dot


def _tone(moment: Moment, trouble: str) -> str:
    if trouble:
        return "gl-bad"
    return "gl-good" if moment.at else "gl-quiet"


def banner_words(moment: Moment, now: float) -> str:
    """What people are told while the cluster says nothing to us; empty = all is well."""
    seen = f" What you see is of {clock_text(moment.at)}." if moment.at else ""
    if silence_s := moment.silent_for(now):
        return f"The coordinator has said nothing for {silence_s:.0f} s.{seen}"
    if not moment.trouble:
        return ""
    if moment.unwelcome:
        return f"The coordinator does not let this page in.{seen} ({moment.trouble})"
    since = clock_text(moment.trouble_since)
    return f"The coordinator does not answer since {since}; this page reconnects by itself.{seen} ({moment.trouble})"


@contextmanager
def card(title: str, testid: str = "", *, soon: bool = False) -> Iterator[ui.element]:
    """A part of a page with a heading; gives the heading's line, for what stands at its right.

    ``soon``: on a narrow screen it comes before those that are not.
    """
    with ui.element("section").classes("gl-card gl-soon" if soon else "gl-card") as section:
        if testid:
            section.props(f"data-testid={testid}")
        with ui.element("div").classes("gl-card-head") as head:
            ui.label(title).classes("gl-h")
        yield head


def tile(name: str, testid: str) -> tuple[ui.label, ui.label]:
    """A number with its name; gives the labels of the number and of what stands below it."""
    with ui.element("div").classes("gl-tile"):
        ui.label(name).classes("gl-dim gl-small")
        value = ui.label("-").classes("gl-v").props(f"data-testid={testid}")
        below = ui.label().classes("gl-dim gl-small gl-wrap")
    return value, below


def legend() -> None:
    """What the colours of the bars of time mean."""
    with ui.element("div").classes("gl-legend gl-small gl-dim gl-push"):
        for phase, name in LEGEND:
            ui.element("i").classes(f"gl-p-{phase}")
            ui.label(name)


async def confirmed(question: str, deed: str, *, ask_reason: bool = False) -> str | None:
    """Ask before something that can hurt. The reason that was given (or empty), None = no."""
    with ui.dialog() as dialog, ui.card().classes("gl-card").props("data-testid=confirm"):
        ui.label(question).classes("gl-wrap")
        reason = ui.input("Why (for those who read it later)").props("outlined dense data-testid=reason")
        reason.classes("w-full").set_visibility(ask_reason)
        with ui.element("div").classes("gl-row gl-push"):
            ui.button("Leave it", on_click=lambda: dialog.submit(None)).props("flat no-caps")
            yes = ui.button(deed, on_click=lambda: dialog.submit(reason.value or ""))
            yes.props("unelevated no-caps data-testid=yes")
    answer = await closed(dialog)
    return None if answer is None else str(answer)


async def closed(dialog: ui.dialog) -> object:
    """Show a dialog until it is closed, and remove it; what it was closed with."""
    answer: object = await dialog
    if not dialog.is_deleted:  # or the page has been closed, and everything with it
        dialog.delete()
    return answer


def watching(room: Room, refresh: Callable[[Moment], None]) -> None:
    """Call ``refresh`` with the newest moment, now and again and again while the page is open.

    A page whose room is closed goes to the login; one that was made for another role is made anew.
    """
    may_steer, here = room.may_steer, ui.context.client.request.url.path
    refresh(room.feed.moment)

    def look() -> None:
        if room.closed:
            timer.deactivate()
            ui.navigate.to(login_path(here))
        elif room.may_steer != may_steer:
            timer.deactivate()
            ui.navigate.reload()
        else:
            refresh(room.feed.moment)

    timer = ui.timer(REFRESH_EVERY_S, look)
