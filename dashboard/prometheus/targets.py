"""Tells Prometheus where the pages of a cluster are that has no DNS, as ``gradloom up`` starts it: files for file_sd.

    python dashboard/prometheus/targets.py --cluster localhost:50051 --coordinator localhost:9464

asks the coordinator for its workers every few seconds until it is interrupted; ``--once`` asks once.
"""

import argparse
import json
import time
from pathlib import Path

from gradloom.client import Client
from gradloom.whole_files import PUBLIC, write_whole

FOLDER = Path(__file__).parent / "targets"
EVERY_S = 5.0


def write_targets(client: Client, coordinator: str, folder: Path) -> None:
    """Write both files; each appears whole."""
    workers = sorted(worker.metrics_address for worker in client.workers() if worker.metrics_address)
    folder.mkdir(parents=True, exist_ok=True)
    for name, addresses in (("coordinator", [coordinator]), ("worker", workers)):
        text = json.dumps([{"targets": addresses}], indent=2) + "\n"
        write_whole(folder / f"{name}.json", text.encode(), PUBLIC)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cluster", default="localhost:50051")
    parser.add_argument("--coordinator", default="localhost:9464", help="host:port of its metrics")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    with Client.from_environment(options.cluster) as client:
        while True:
            write_targets(client, options.coordinator, options.out)
            if options.once:
                return
            time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
