"""Writes the dashboards as JSON: ``make dashboards``, or ``python dashboard/grafana/generate.py [--out FOLDER]``."""

import argparse
import json
from pathlib import Path

from boards import built
from cluster_and_job import CLUSTER_AND_JOB
from drill_downs import JOB, WORKER
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = (CLUSTER_AND_JOB, WORKER, JOB)


def texts() -> dict[str, str]:
    """The file of each dashboard, by name."""
    encoder = JSONEncoder(sort_keys=True)
    return {
        f"{board.uid}.json": json.dumps(json.loads(encoder.encode(built(board))), indent=2, sort_keys=True)
        + "\n"
        for board in BOARDS
    }


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
