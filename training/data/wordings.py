"""Sentences and words of the tasks, as the evaluation program prints them (`precis eval wordings`).

The program is their only home.  Preparing the data asks it once; training reads the file that this
left.  Forms that only training uses are in tasks/forms.py.
"""

import json
import pathlib
import subprocess

from training.errors import TrainingError

Wordings = dict[str, list[str]]


def ask_program(precis: pathlib.Path) -> Wordings:
    command = [str(precis), "eval", "wordings", "--json"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise TrainingError(
            f"`{' '.join(command)}` failed: want the engine's program, built by `make` ({error})"
        ) from error
    return dict(json.loads(done.stdout))


def load_wordings(path: pathlib.Path) -> Wordings:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: want the wordings of the tasks, found {error}") from error
