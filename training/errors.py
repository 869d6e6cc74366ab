"""What can go wrong outside the program: one sentence that names the thing, want and found."""

import sys
from collections.abc import Callable


class TrainingError(Exception):
    """Ends a command with its message and exit code 1."""


def exit_code_of(command: str, work: Callable[[], None]) -> int:
    """Does the work of a command; 0, or 1 and what went wrong on stderr."""
    try:
        work()
    except TrainingError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    return 0
