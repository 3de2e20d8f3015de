"""The ``gradloom`` command.

Results go to stdout, progress and everything else that is said goes to stderr; with ``--json`` stdout holds one
JSON object (a list for the commands that list) and nothing else. Exit statuses:

======  =============================================================================
status  meaning
======  =============================================================================
0       done
1       the job failed, also over data it can't be trained on; or the cluster refused
2       bad input: a wrong option, value or file
3       the cluster can't be reached, or could not be started
4       no such job or file
5       the job was cancelled
130     interrupted by Ctrl-C
======  =============================================================================

Nothing heavy is imported before a command needs it, so that ``gradloom --help`` answers at once.
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; ``arguments`` default to those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["health"]:  # a container's probe, every few seconds
        from gradloom.cli.health import health

        return health(words[1:])
    from gradloom.cli.app import app
    from gradloom.cli.refusals import run

    return run(app, words)
