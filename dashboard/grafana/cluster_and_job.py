"""The dashboard to begin with: the whole cluster, for all jobs or those that are chosen."""

from boards import Board
from rows_of_jobs import NETWORK, RETRIES, TRAINING
from rows_of_machines import COORDINATOR, RESOURCES
from rows_of_work import HEALTH, LOAD, STRAGGLERS

CLUSTER_AND_JOB = Board(
    "gradloom-cluster-and-job",
    "gradloom / Cluster and job",
    "Is work balanced, who is slow and why, what was retried and what it cost, how does training go.",
    (HEALTH, LOAD, STRAGGLERS, RETRIES, TRAINING, NETWORK, COORDINATOR, RESOURCES),
)
