"""What can go wrong outside the program: one sentence that names the thing, want and found."""


class TrainingError(Exception):
    """Ends a command with its message and exit code 1."""
