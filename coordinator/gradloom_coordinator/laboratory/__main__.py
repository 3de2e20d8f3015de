"""``gradloom simulate``: compares scheduling policies on speed traces, without a cluster."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gradloom.cli.output import results, say, write_json, write_line
from gradloom.cli.refusals import run
from gradloom.errors import InvalidInput
from gradloom_coordinator.laboratory import report
from gradloom_coordinator.laboratory.cluster import Cluster, Setting
from gradloom_coordinator.laboratory.contestants import CONTESTANTS, chosen
from gradloom_coordinator.laboratory.recorded import read_trace, recorded_workers
from gradloom_coordinator.laboratory.traces import TRACES, Trace, ideal_round, trace_named

WORKERS = 16
SHARDS_PER_WORKER = 16
RECORDED = "recorded"

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def gradloom() -> None:
    """Gives the command its full name."""


@app.command(
    epilog="Policies: " + "; ".join(f"{name} = {one.what}" for name, one in CONTESTANTS.items()) + "."
)
def simulate(
    workers: Annotated[
        int | None, typer.Option(help=f"Machines; as many as were {RECORDED}, else {WORKERS}.")
    ] = None,
    shards: Annotated[int, typer.Option(help=f"Shards; 0 = {SHARDS_PER_WORKER} a worker.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds that are measured.")] = 50,
    warmup: Annotated[int, typer.Option(help="Rounds before: speeds get known, shards get loaded.")] = 5,
    trace: Annotated[
        str, typer.Option(help=f"How fast the machines are: {', '.join(TRACES)}, or {RECORDED}.")
    ] = "mixed",
    trace_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For recorded: of gradloom trace, or .csv with worker, at_s, seconds_per_row.",
        ),
    ] = None,
    slow: Annotated[float, typer.Option(help="For one-slow: so many times slower.")] = 5.0,
    policy: Annotated[
        str, typer.Option(metavar="A,B,C", help="Policies, or all; the main ones if empty. See below.")
    ] = "",
    round_s: Annotated[
        float, typer.Option(help="Seconds a usual worker needs for its share of a round.")
    ] = 1.0,
    latency_ms: Annotated[float, typer.Option(help="Of a message, one way.")] = 0.5,
    load_s_per_shard: Annotated[float, typer.Option(help="Loading a shard that is not cached.")] = 0.2,
    partial_bytes: Annotated[int, typer.Option(help="Of one answer, for the sum of what goes up.")] = 8192,
    seed: Annotated[int, typer.Option(help="The same seed gives the same table.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw round times over rounds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON on stdout, and nothing else.")] = False,
) -> None:
    """Compare scheduling policies: the real scheduler, virtual time, machines that follow a speed trace."""
    contestants = chosen([name.strip() for name in policy.split(",") if name.strip()])
    if workers is None:
        workers = recorded_workers(trace_file) if trace_file is not None else WORKERS
    n_shards = shards or SHARDS_PER_WORKER * workers
    setting = Setting(workers, n_shards, rounds, warmup, round_s, latency_ms, load_s_per_shard, partial_bytes)
    speeds = _speeds(trace, trace_file, slow, setting, seed)
    ideal_s = ideal_round(speeds, workers, rounds + warmup) * round_s
    outcomes = {}
    for name, contestant in contestants.items():
        say(f"{name}: {contestant.what}")
        outcomes[name] = Cluster(setting, speeds, contestant).run()
    if plot is not None:
        report.draw(outcomes, ideal_s, plot)
    if as_json:
        write_json(report.values(outcomes, ideal_s))
        return
    results().print(report.table(outcomes, ideal_s, partial_bytes))
    for line in report.bars(outcomes, ideal_s):
        write_line(line)


def _speeds(name: str, file: Path | None, slow: float, setting: Setting, seed: int) -> Trace:
    if name == RECORDED and file is None:
        raise InvalidInput(
            "trace_file", f"--trace {RECORDED} needs one: what gradloom trace wrote, or a .csv"
        )
    if name != RECORDED and file is not None:
        raise InvalidInput("trace_file", f"it goes with --trace {RECORDED}, and with no other")
    if file is not None:
        return read_trace(file, setting.round_s)
    return trace_named(name, seed, setting.workers, slow)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; ``arguments`` default to those of the process."""
    return run(app, ["simulate", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
