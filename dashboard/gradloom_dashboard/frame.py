"""What surrounds every page: the bar at the top, whether the cluster answers, and the parts that pages are made of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import ui

from gradloom_dashboard.lanes import Row, clock
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room

STYLE = Path(__file__).with_name("style.css")
REFRESH_EVERY_S = 0.5
PAGES = (("/", "Cluster"), ("/new", "New job"))


@contextmanager
def page(room: Room, here: str) -> Iterator[Callable[[Moment], None]]:
    """The frame; what is made within stands in the page. Gives what must be called with each new moment."""
    ui.add_css(STYLE)
    ui.colors(primary="#2f6fde", positive="#2f9e63", negative="#d64545", warning="#d9822b")
    with ui.element("header").classes("gl-top"), ui.element("div").classes("gl-bar"):
        ui.link("gradloom", "/").classes("gl-brand")
        with ui.element("nav").classes("gl-nav"):
            for path, name in PAGES:
                if not (room.viewer and path == "/new"):
                    ui.link(name, path).classes("gl-here" if path == here else "")
        with ui.element("div").classes("gl-where gl-small"):
            if room.viewer:
                ui.label("viewer").classes("gl-pill").props("data-testid=viewer")
            dot = ui.element("span").classes("gl-dot")
            ui.label(room.client.address)
    with ui.element("main").classes("gl-page"):
        banner = ui.label().classes("gl-banner").props("data-testid=banner role=status")
        banner.set_visibility(False)
        troubled = False

        def show(moment: Moment) -> None:
            nonlocal troubled
            tone = "gl-bad" if moment.trouble else ("gl-good" if moment.at else "gl-quiet")
            dot.classes(replace=f"gl-dot {tone}")
            banner.set_visibility(bool(moment.trouble))
            banner.set_text(banner_words(moment))
            if troubled and not moment.trouble:
                ui.notify("The coordinator answers again.", type="positive", position="bottom")
            troubled = bool(moment.trouble)

        yield show


def banner_words(moment: Moment) -> str:
    """What people are told while the cluster does not answer."""
    if not moment.trouble:
        return ""
    seen = f" What you see is of {clock(moment.at)}." if moment.at else ""
    since = clock(moment.trouble_since)
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


def rows(template: str, testid: str, empty: str, *, page_size: int = 0) -> ui.table:
    """Rows that look as a Vue template says; ``props.row`` is one of them. ``page_size`` 0 = all at once."""
    table = ui.table(rows=[], columns=[], row_key="id", pagination=page_size)
    table.classes("gl-rows").props(f"grid hide-header flat hide-pagination data-testid={testid}")
    table.props(":rows-per-page-options=[0]" if not page_size else f":rows-per-page-options=[{page_size},0]")
    table.add_slot("item", template)
    table.add_slot("no-data", f'<div class="gl-empty">{empty}</div>')
    return table


def fill(table: ui.table, found: list[Row]) -> None:
    """Show these rows, and a way to turn pages where there are more than fit on one."""
    if table.rows == found:
        return
    page_size = int(table.pagination.get("rowsPerPage", 0))
    table.props.set_bool("hide-pagination", not page_size or len(found) <= page_size)
    table.rows = found


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
    """Call ``refresh`` with the newest moment, now and again and again while the page is open."""
    refresh(room.feed.moment)
    ui.timer(REFRESH_EVERY_S, lambda: refresh(room.feed.moment))
