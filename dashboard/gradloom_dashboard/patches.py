"""What is new of some rows. Pure."""

from collections.abc import Sequence

from gradloom_dashboard.lanes import Row


def patch_of(before: Sequence[Row], after: Sequence[Row]) -> tuple[list[Row], list[str] | None]:
    """Parts of the rows that have changed, each with its id; and the order of all rows, None if it is the same."""
    known = {row["id"]: row for row in before}
    changed = [part for row in after if (part := _part(known.get(row["id"]), row)) is not None]
    order = [row["id"] for row in after]
    return changed, None if order == [row["id"] for row in before] else order


def _part(before: Row | None, after: Row) -> Row | None:
    if before is None:
        return after
    if before == after:
        return None
    return {"id": after["id"]} | {name: value for name, value in after.items() if before.get(name) != value}
