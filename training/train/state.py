"""States from which a run goes on as if it had not stopped: weights, optimiser, step and recipe.

The schedule and the data follow from the step and the recipe; nothing else draws random numbers.
"""

import dataclasses
import os
import pathlib
import pickle

import torch

from training.errors import TrainingError
from training.model.network import Network
from training.train.optimiser import Optimiser
from training.train.recipe import Recipe

STATE = "state.pt"


def save_state(
    directory: pathlib.Path, network: Network, optimiser: Optimiser, recipe: Recipe, step: int
) -> None:
    """Replaces the last state at once: a run that is killed here finds the old or the new one."""
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "recipe": dataclasses.asdict(recipe),
        "step": step,
    }
    part = directory / (STATE + ".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(directory / STATE)


def resume(directory: pathlib.Path, network: Network, optimiser: Optimiser, recipe: Recipe) -> int:
    """The step to go on with; 0 where there is no state."""
    path = directory / STATE
    if not path.exists():
        return 0
    state = _load(path)
    _require_same_recipe(path, state["recipe"], dataclasses.asdict(recipe))
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def load_weights(path: pathlib.Path, network: Network) -> None:
    """Weights alone, for a run with another recipe or for the export."""
    network.load_state_dict(_load(path)["network"])


def _load(path: pathlib.Path) -> dict:  # type: ignore[type-arg]
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist: want the state of a run") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is damaged: want the state of a run, found {error}") from error


def _require_same_recipe(path: pathlib.Path, was: dict, now: dict) -> None:  # type: ignore[type-arg]
    for name in now:
        if was.get(name) != now[name]:
            raise TrainingError(
                f"{path} was made with another recipe: {name} was {was.get(name)}, is {now[name]}; "
                "start a new directory with --weights to go on from its weights"
            )
