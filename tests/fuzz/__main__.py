"""Fuzz with atheris for as long as wanted: ``python -m fuzz --seconds 60 [TARGET ...]``; each target gets that long.

A target that fails leaves the bytes in ``build/fuzz``; ``python -m fuzz TARGET --replay FILE`` shows what they do.
"""

# ruff: noqa: T201 - it talks to a person

import argparse
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

OUT = Path("build/fuzz")
TIMEOUT_S, MALLOC_MIB, RSS_MIB = 10, 256, 2048
MOST_BYTES = 4096


def fuzz_here(name: str, arguments: list[str]) -> None:
    """In a process of its own: libFuzzer never returns."""
    import atheris

    with atheris.instrument_imports(include=["gradloom", "gradloom_coordinator", "gradloom_worker"]):
        from fuzz.targets import TARGETS
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    for seed in target.seeds():
        target(seed)  # what the first use imports must not count as a leak
    atheris.Setup([name, *arguments], target)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> tuple[int, bool]:
    """How often a target was executed, and whether it held."""
    from fuzz.targets import TARGETS

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(TARGETS[name].seeds()):
            Path(corpus, str(number)).write_bytes(seed)
        OUT.mkdir(parents=True, exist_ok=True)
        limits = [f"-timeout={TIMEOUT_S}", f"-malloc_limit_mb={MALLOC_MIB}", f"-rss_limit_mb={RSS_MIB}"]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz", "--here", name, "--", corpus, *limits),
                *(f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-print_final_stats=1"),
                f"-artifact_prefix={OUT}/{name}-",
            ],
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    found = re.search(r"number_of_executed_units:\s+(\d+)", done.stdout)
    if done.returncode:
        (OUT / f"{name}.log").write_text(done.stdout)
        shown = [line for line in done.stdout.splitlines() if not line.startswith("INFO: Instrumenting")]
        print("\n".join(shown[-60:]), file=sys.stderr)
    return int(found[1]) if found else 0, done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--replay", type=Path, help="read this file with the one target")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz_here(options.here, options.targets)
        return 0
    from fuzz.targets import TARGETS

    if options.replay:
        TARGETS[options.targets[0]](options.replay.read_bytes())
        return 0
    total, failed = 0, []
    for name in options.targets or TARGETS:
        executions, held = fuzz(name, options.seconds)
        total += executions
        failed += [] if held else [name]
        print(f"{name:20} {executions:10,} executions  {'held' if held else 'FAILED'}", flush=True)
    print(f"{total:,} executions in all; failed: {', '.join(failed) or 'none'}; see {OUT}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
