"""The cluster of an estimator: an address, a Client, a LocalCluster, or one of this process that all others share.

Clients are kept as long as the process lives, for making a connection takes longer than training on little data.
A process that was forked starts anew: it can't speak over its parent's connections and does not end what is not its.
"""

import atexit
import os
import threading
import weakref
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing.util import Finalize

from gradloom.client import Client
from gradloom.errors import InvalidParameter
from gradloom.local import LocalCluster

MAX_EMBEDDED_WORKERS = 4


@dataclass(slots=True)
class _Connections:
    """The clients of this process, and the cluster that it shares."""

    embedded: LocalCluster | None = None
    by_address: dict[str, Client] = field(default_factory=dict)
    by_cluster: "weakref.WeakKeyDictionary[LocalCluster, Client]" = field(
        default_factory=weakref.WeakKeyDictionary
    )
    lock: threading.RLock = field(default_factory=threading.RLock)

    def to_address(self, address: str) -> Client:
        """The client of an address."""
        with self.lock:
            if address not in self.by_address:
                self.by_address[address] = Client.from_environment(address)
            return self.by_address[address]

    def to_cluster(self, cluster: LocalCluster) -> Client:
        """The client of a cluster on this machine. Raises Conflict if that is not started."""
        with self.lock:
            if cluster not in self.by_cluster:
                self.by_cluster[cluster] = cluster.client()
            return self.by_cluster[cluster]

    def to_embedded(self) -> Client:
        """The client of the shared cluster, which is started first if there is none, or if it has died."""
        with self.lock:
            if self.embedded is not None and self.embedded.coordinator.poll() is not None:
                self.close_embedded()
            if self.embedded is None:
                self.embedded = LocalCluster(_embedded_workers(), durable=False).start()
            return self.to_cluster(self.embedded)

    def close_embedded(self) -> None:
        """Stop the shared cluster, if there is one."""
        with self.lock:
            cluster, self.embedded = self.embedded, None
            if cluster is not None:
                if (client := self.by_cluster.pop(cluster, None)) is not None:
                    client.close()
                cluster.close()

    def close(self) -> None:
        """Before the process ends."""
        with self.lock:
            for client in (*self.by_address.values(), *self.by_cluster.values()):
                client.close()
            self.close_embedded()


_of_parents: list[_Connections] = []


def client_of(cluster: object) -> Client:
    """The client of what an estimator's ``cluster`` names.

    Raises InvalidParameter for anything else, Conflict for a LocalCluster that is not started, Unavailable if the
    shared cluster can't be started.
    """
    match cluster:
        case None:
            return _connections().to_embedded()
        case str():
            return _connections().to_address(cluster)
        case Client():
            return cluster
        case LocalCluster():
            return _connections().to_cluster(cluster)
    raise InvalidParameter(
        "cluster",
        f"{cluster!r} is not allowed; a host:port, a gradloom.Client, a gradloom.LocalCluster are, or None for one"
        " that all estimators of this process share",
    )


def address_of(cluster: object) -> object:
    """What stands for a cluster in another process: its address; None stays None."""
    match cluster:
        case Client() | LocalCluster():
            return cluster.address
    return cluster


def close_embedded() -> None:
    """Stop the cluster that the estimators of this process share; the next one that needs it starts another."""
    _connections().close_embedded()


@cache
def _connections() -> _Connections:
    """Those of this process, made when they are first needed."""
    atexit.register(_close_at_exit, os.getpid())
    Finalize(
        None, _close_at_exit, (os.getpid(),), exitpriority=0
    )  # processes of multiprocessing end without atexit
    connections = _Connections()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(_leave_behind, connections))
    return connections


def _leave_behind(connections: _Connections) -> None:
    """In a process that was forked: begin anew, and never touch what is the parent's, not even to collect it."""
    _of_parents.append(connections)
    _connections.cache_clear()


def _close_at_exit(pid: int) -> None:
    if os.getpid() == pid:
        _connections().close()


def _embedded_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(cores, MAX_EMBEDDED_WORKERS))
