"""What the laboratory shows: a table, bars, a picture, JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from rich.table import Table

from gradloom.errors import JobFailed
from gradloom_coordinator.laboratory.outcomes import Outcome

BAR_WIDTH = 60
PARTS = " ▏▎▍▌▋▊▉█"


def table(outcomes: Mapping[str, Outcome], ideal_s: float, partial_bytes: int) -> Table:
    """Policies against the ideal round."""
    view = Table(title=f"a round takes at least {ideal_s:.3g} s: all work / all speed", title_justify="left")
    view.add_column("policy")
    heads = ("mean", "p50", "p99", "of the ideal", "in vain", "partials", "MB up", "copies", "won")
    for head in (*heads, "helped", "stolen", "moved"):
        view.add_column(head, justify="right")
    for name, one in outcomes.items():
        if one.ended_because:
            view.add_row(name, f"failed: {one.ended_because}")
            continue
        times = (one.round_s, one.quantile_s(0.5), one.quantile_s(0.99))
        counts = (
            one.copies.launched,
            one.copies.won,
            one.counts.helped,
            one.counts.stolen,
            one.counts.moved_shards,
        )
        view.add_row(
            name,
            *(f"{seconds / ideal_s:.2f}" for seconds in times),
            f"{ideal_s / one.round_s:.0%}",
            f"{one.waste:.1%}",
            f"{one.partials:.0f}",
            f"{one.partials * partial_bytes / 1e6:.3g}",
            *map(str, counts),
        )
    view.caption = "times over the ideal's; copies, helped, stolen and moved are sums over all rounds"
    view.caption_justify = "left"
    return view


def bars(outcomes: Mapping[str, Outcome], ideal_s: float) -> list[str]:
    """A line for each policy: the mean round, and up to the p99 in light."""
    done = {name: one for name, one in outcomes.items() if not one.ended_because}
    longest = max((one.quantile_s(0.99) for one in done.values()), default=0.0)
    width = max(map(len, [*done, "ideal"]))
    lines = [f"{'ideal':<{width}} {_bar(ideal_s, ideal_s, longest)} 1.00"]
    for name, one in done.items():
        drawn = _bar(one.round_s, one.quantile_s(0.99), longest)
        lines.append(f"{name:<{width}} {drawn} {one.round_s / ideal_s:.2f}")
    return lines


def _bar(dark: float, light: float, longest: float) -> str:
    eighths = round(8 * BAR_WIDTH * dark / max(longest, dark, 1e-12))
    bar = PARTS[8] * (eighths // 8) + PARTS[eighths % 8].strip()
    return bar.ljust(round(BAR_WIDTH * light / max(longest, light, 1e-12)), "░").ljust(BAR_WIDTH)


def values(outcomes: Mapping[str, Outcome], ideal_s: float) -> dict[str, object]:
    """The same for programs; seconds."""
    return {"ideal_round_s": ideal_s, "policies": {name: _values(one) for name, one in outcomes.items()}}


def _values(one: Outcome) -> dict[str, object]:
    if one.ended_because:
        return {"failed": one.ended_because}
    return {
        "round_s": one.round_s,
        "round_s_p50": one.quantile_s(0.5),
        "round_s_p99": one.quantile_s(0.99),
        "waste": one.waste,
        "partials": one.partials,
        "copies_launched": one.copies.launched,
        "copies_won": one.copies.won,
        "helped": one.counts.helped,
        "stolen": one.counts.stolen,
        "moved_shards": one.counts.moved_shards,
    }


# ---- the picture

WIDTH, HEIGHT, MARGIN = 900, 420, 60
COLOURS = ("#1b6ca8", "#c8553d", "#4f9d69", "#8e5ea2", "#d9a441", "#5d5d5d", "#2aa1a1", "#b0578d")


def draw(outcomes: Mapping[str, Outcome], ideal_s: float, path: Path) -> None:
    """Round times over the rounds, a line for each policy, as SVG."""
    curves = {name: [r.seconds / ideal_s for r in one.rounds] for name, one in outcomes.items() if one.rounds}
    if not curves:
        raise JobFailed("there is nothing to draw: no policy came to an end")
    top = 1.05 * max(map(max, curves.values()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="20">round time over the ideal, by round</text>',
        _line([1.0, 1.0], top, "#999", "ideal", 0),
    ]
    for i, (name, curve) in enumerate(curves.items()):
        parts.append(_line(curve, top, COLOURS[i % len(COLOURS)], name, i + 1))
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _line(curve: Sequence[float], top: float, colour: str, name: str, place: int) -> str:
    across, up = WIDTH - 4 * MARGIN, HEIGHT - 2 * MARGIN
    points = " ".join(
        f"{MARGIN + across * i / max(1, len(curve) - 1):.1f},{HEIGHT - MARGIN - up * value / top:.1f}"
        for i, value in enumerate(curve)
    )
    y = MARGIN + 16 * place
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}"/>'
        f'<text x="{WIDTH - 2.8 * MARGIN:.0f}" y="{y}" fill="{colour}">{escape(name)} {curve[-1]:.2f}</text>'
    )
