"""Draws the curves of a run: losses, whole answers right, speed.

python -m training.plot OUT curves.png
"""

import argparse
import itertools
import pathlib
import sys

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from training.errors import TrainingError, exit_code_of
from training.train.log import LOG, read_log

POOLED = 12  # records whose answers make a point: one has a handful of some tasks
LOSSES = {"text": "text", "answers": "answers", "index": "indexers", "mtp": "MTP block"}


def draw(run: pathlib.Path, picture: pathlib.Path) -> None:
    path = run / LOG
    records = read_log(path) if path.exists() else []
    if not records:
        raise TrainingError(f"{path}: want the log of a run, found no record")
    figure, axes = plt.subplots(3, 1, figsize=(10, 11), sharex=True, constrained_layout=True)
    tokens = [record["tokens"] / 1e6 for record in records]
    for name, label in LOSSES.items():
        values = [record.get(name, float("nan")) for record in records]
        axes[0].plot(tokens, values, label=label)
    axes[0].set(ylabel="nats", title="Losses")
    for i, task in enumerate(sorted({task for one in records for task in one["answers_right"]})):
        points = _shares(task, records, tokens)
        style = "-" if i < len(plt.rcParams["axes.prop_cycle"]) else "--"
        axes[1].plot(*zip(*points, strict=True), style, label=task.replace("_", " "))
    axes[1].set(ylabel="%", title="Whole answers right", ylim=(0, 101))
    axes[2].plot(tokens, [record["tokens_per_s"] / 1e3 for record in records])
    axes[2].set(xlabel="million tokens", ylabel="thousand tokens / s", title="Speed")
    _mark_stages(axes, records, tokens)
    axes[0].legend(fontsize="small", ncols=4)
    axes[1].legend(fontsize="small", bbox_to_anchor=(1, 1), loc="upper left")
    figure.savefig(picture, dpi=120)


def _shares(task: str, records: list[dict], tokens: list[float]) -> list[tuple[float, float]]:  # type: ignore[type-arg]
    counts = [record["answers_right"].get(task, [0, 0]) for record in records]
    points = []
    for last, x in enumerate(tokens):
        pooled = counts[max(0, last + 1 - POOLED) : last + 1]
        n = sum(asked for _, asked in pooled)
        if n:
            points.append((x, 100 * sum(right for right, _ in pooled) / n))
    return points


def _mark_stages(axes: list[Axes], records: list[dict], tokens: list[float]) -> None:  # type: ignore[type-arg]
    for (before, after), x in zip(itertools.pairwise(records), tokens[1:], strict=True):
        if before["stage"] != after["stage"]:
            for axis in axes:
                axis.axvline(x, color="grey", linewidth=0.8)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draws the curves of a run.")
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path, help="name ending in .png or .svg")
    args = parser.parse_args()
    return exit_code_of("plot", lambda: draw(args.run, args.picture))


if __name__ == "__main__":
    sys.exit(main())
