"""The run as data: recipe.toml, read and checked, and what each step of it is."""

import dataclasses
import pathlib
import tomllib
from typing import Any

from training.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    purpose: str
    tokens: float
    sequence: int
    n_best: list[int]
    jumps: float
    facts: list[int]
    questions: float
    mix: dict[str, float]
    families: dict[str, float]
    round_weights: bool
    mtp: bool
    rate: list[float]


@dataclasses.dataclass(frozen=True)
class Recipe:
    seed: int
    tokens_per_step: int
    warm_up_steps: int
    clip: float
    matrix_rate: float
    other_rate: float
    decay: float
    index_weight: float
    mtp_weight: float
    balance_rate: float
    save_minutes: float
    haystack: dict[str, float]
    stages: list[Stage]

    def n_steps(self, stage: Stage) -> int:
        return max(1, round(stage.tokens / self.tokens_per_step))

    @property
    def total_steps(self) -> int:
        return sum(self.n_steps(stage) for stage in self.stages)

    def at(self, step: int) -> tuple[Stage, float]:
        """The stage of a step, and how far it is in it, 0 … 1."""
        for stage in self.stages:
            n_steps = self.n_steps(stage)
            if step < n_steps:
                return stage, step / n_steps
            step -= n_steps
        raise TrainingError("the recipe has no further step")

    def rate(self, step: int) -> float:
        """Share of the peak rates."""
        stage, progress = self.at(step)
        first, last = stage.rate
        warm = min(1.0, (step + 1) / self.warm_up_steps)
        return warm * (first + (last - first) * progress)


def load_recipe(path: pathlib.Path) -> Recipe:
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist: want a recipe") from error
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path}: {error}") from error
    stages = [_checked(Stage, one, f"{path}, a stage") for one in fields.pop("stage", [])]
    recipe: Recipe = _checked(Recipe, {**fields, "stages": stages}, str(path))
    for stage in stages:
        if stage.sequence % 128 or recipe.tokens_per_step % stage.sequence:
            raise TrainingError(
                f"{path}, stage {stage.name}: want a sequence that is a multiple of 128 and "
                f"divides tokens_per_step, found {stage.sequence}"
            )
    return recipe


def _checked(kind: Any, fields: dict[str, Any], where: str) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    for name in sorted(names ^ fields.keys()):
        problem = "is unknown" if name in fields else "is missing"
        raise TrainingError(f"{where}: {name} {problem}")
    return kind(**fields)
