"""``python -m gradloom.cli`` is the ``gradloom`` command."""

import sys

from gradloom.cli import main

if __name__ == "__main__":
    sys.exit(main())
