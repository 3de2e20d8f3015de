"""``gradloom up``: a cluster on this machine for as long as the command runs."""

from gradloom.cli.interrupts import terminate_as_interrupt
from gradloom.cli.output import say, write_json, write_line
from gradloom.errors import GradloomError
from gradloom.local import LocalCluster


def up(cluster: LocalCluster, *, as_json: bool) -> None:
    """Run the cluster until Ctrl-C or SIGTERM. Raises GradloomError if its coordinator ends by itself."""
    with terminate_as_interrupt():
        try:
            with cluster:
                _announce(cluster, as_json)
                _stay(cluster)
        except KeyboardInterrupt:
            say("stopped")


def _announce(cluster: LocalCluster, as_json: bool) -> None:
    if as_json:
        values = {
            "address": cluster.address,
            "metrics_address": cluster.metrics_address,
            "workers": len(cluster.workers),
            "data_dir": str(cluster.data_dir),
        }
        write_json(values)
        return
    write_line(f"cluster  {cluster.address}")
    write_line(f"metrics  http://{cluster.metrics_address}/metrics")
    write_line(f"workers  {len(cluster.workers)}")
    write_line(f"data     {cluster.data_dir}")
    say(f"train on it:  gradloom train ... --cluster {cluster.address}      stop it:  Ctrl-C")


def _stay(cluster: LocalCluster) -> None:
    while True:
        name = cluster.wait_for_end()
        assert name is not None
        words = cluster.last_words(name)
        if name == "coordinator":
            raise GradloomError(
                f"the coordinator ended with status {cluster.coordinator.returncode}: {words}"
            )
        say(f"{name} ended; the others go on. Its last words: {words}")
