"""The `gateway` command.

Commands only parse, call `gateway.operations` (through the running gateway or offline) and print. What is heavy
is imported inside the command that needs it, so that `gateway --help` and completion answer at once.
"""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """The console script."""
    from gateway.cli.root import run  # noqa: PLC0415 - see above

    sys.exit(run(sys.argv[1:]))
